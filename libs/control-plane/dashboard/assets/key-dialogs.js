// What an operator does with keys. A token is shown once, and kept nowhere.

import { confirmation } from "./dialog.js";
import { announce, h } from "./dom.js";
import { limitFields } from "./key-limits.js";
import { showOnce } from "./once.js";
import { field, options } from "./parts.js";
import { ask } from "./server.js";

const SCOPES = [
  ["client", "use models and tasks"],
  ["observer", "read the state of the fleet"],
  ["operator", "change the fleet and its keys"],
  ["node", "report one node"],
];

const DAY_MS = 24 * 3600_000;
const LIVES = [
  ["", "never"],
  [DAY_MS, "after a day"],
  [30 * DAY_MS, "after 30 days"],
  [90 * DAY_MS, "after 90 days"],
  [365 * DAY_MS, "after a year"],
];
const OVERLAPS = [
  [3600_000, "for an hour"],
  [0, "no longer"],
  [DAY_MS, "for a day"],
  [7 * DAY_MS, "for a week"],
];

const pathOf = (key) => `/v2/keys/${encodeURIComponent(key.key_id)}`;

export function createKey(changed) {
  const name = h("input", { type: "text", required: true, maxlength: 64, autocomplete: "off", spellcheck: "false" });
  const boxes = SCOPES.map(([scope, may]) => [scope, h("input", { type: "checkbox", value: scope, checked: scope === "client" }), may]);
  const node = h("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "only with the scope node" });
  const life = h("select", {});
  options(life, LIVES);
  const limits = limitFields();
  let made = null;
  confirmation({
    title: "Create a key",
    words: "Its token is shown once.",
    field: h(
      "div",
      { class: "fields" },
      field("Name", name),
      h("fieldset", {}, h("legend", {}, "It may"), ...boxes.map(([scope, box, may]) => h("label", { class: "check" }, box, h("span", {}, h("b", {}, scope), `: ${may}`)))),
      field("Node", node),
      field("It ends", life),
      h("details", {}, h("summary", {}, "Limits"), limits.element),
    ),
    first: name,
    verb: "Create",
    async act() {
      const body = { name: name.value.trim(), scopes: boxes.filter(([, box]) => box.checked).map(([scope]) => scope) };
      if (node.value.trim()) body.node = node.value.trim();
      if (life.value) body.expires_in_ms = Number(life.value);
      const set = limits.values();
      if (Object.keys(set).length > 0) body.limits = set;
      made = await ask("/v2/keys", { method: "POST", body });
      return `The key ${made.key.name} is created.`;
    },
    after() {
      changed();
      showToken(made);
    },
  });
}

export function rotateKey(key, changed) {
  const overlap = h("select", {});
  options(overlap, OVERLAPS);
  let made = null;
  confirmation({
    title: `Rotate ${key.name}?`,
    words: "The key gets a new token, which is shown once.",
    field: field("The old token stays valid", overlap),
    verb: "Rotate",
    async act() {
      made = await ask(`${pathOf(key)}/rotate`, { method: "POST", body: { overlap_ms: Number(overlap.value) } });
      return `The key ${key.name} has a new token.`;
    },
    after() {
      changed();
      showToken(made);
    },
  });
}

export function changeLimits(key, changed) {
  const limits = limitFields(key.limits);
  confirmation({
    title: `Limits of ${key.name}`,
    words: "They hold from its next request on. A field without a value is no limit.",
    field: limits.element,
    verb: "Change",
    async act() {
      await ask(pathOf(key), { method: "PATCH", body: { limits: limits.change() } });
      return `The limits of ${key.name} are changed.`;
    },
    after: changed,
  });
}

export function revokeKey(key, changed) {
  confirmation({
    title: `Revoke ${key.name}?`,
    words: "Its next request is refused, and those that run may finish. It cannot be undone.",
    verb: "Revoke",
    warns: true,
    async act() {
      await ask(pathOf(key), { method: "DELETE" });
      return `The key ${key.name} is revoked.`;
    },
    after: changed,
  });
}

/** Shows a token until the dialog is closed. */
function showToken({ key, token }) {
  showOnce({
    title: `Token of ${key.name}`,
    words: "Copy it now: it is not shown again, and the server keeps only its SHA-256.",
    label: "Token",
    value: token,
  });
  announce("The token is shown once.");
}
