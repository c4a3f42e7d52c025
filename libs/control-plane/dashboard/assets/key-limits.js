// The limits of a key: the fields of a form, and words.

import { h } from "./dom.js";
import { count } from "./format.js";
import { field, options } from "./parts.js";

/** The numbers among them: the field of the API, its label, its unit in a list, and its largest value. */
const NUMBERS = [
  ["requests_per_minute", "Requests a minute", "rpm", 1_000_000],
  ["tokens_per_minute", "Tokens a minute", "tpm", 1_000_000_000],
  ["tokens_per_day", "Tokens a day (UTC)", "tpd", 1_000_000_000_000],
  ["concurrent_requests", "Requests at once", "at once", 100_000],
  ["weight", "Share where slots are scarce", "a turn", 100],
];

export function limitsInWords(limits = {}) {
  const words = NUMBERS.filter(([name]) => limits[name] != null).map(([name, , unit]) => `${count(limits[name])} ${unit}`);
  if (limits.highest_priority) words.push(limits.highest_priority);
  if (limits.models) words.push(limits.models.join(" "));
  return words.join(", ") || "none";
}

/** Fields for limits: `values()` gives those that are set, `change()` what differs from `before`, with null for none. */
export function limitFields(before = {}) {
  const numbers = NUMBERS.map(([name, label, , most]) => [name, label, h("input", { type: "number", min: 1, max: most, step: 1, placeholder: "none", value: before[name] })]);
  const models = h("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "all", value: before.models?.join(", ") });
  const priority = h("select", {});
  options(priority, [
    ["", "any"],
    ["batch", "batch"],
    ["interactive", "interactive"],
  ]);
  priority.value = before.highest_priority ?? "";

  function values() {
    const set = {};
    for (const [name, , input] of numbers) if (input.value !== "") set[name] = Number(input.value);
    const names = models.value.split(",").map((name) => name.trim());
    if (names.some(Boolean)) set.models = names.filter(Boolean);
    if (priority.value) set.highest_priority = priority.value;
    return set;
  }

  return {
    element: h("div", { class: "pairs" }, ...numbers.map(([, label, input]) => field(label, input)), field("Highest priority", priority), field("Models, separated by commas", models)),
    values,
    change() {
      const now = values();
      const all = [...NUMBERS.map(([name]) => name), "models", "highest_priority"];
      const differs = all.filter((name) => JSON.stringify(now[name]) !== JSON.stringify(before[name]));
      return Object.fromEntries(differs.map((name) => [name, now[name] ?? null]));
    },
  };
}
