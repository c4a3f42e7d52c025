// Small parts that several views share: states, bars, messages.

import { attribute, h, text } from "./dom.js";

/**
 * A state as shape, word and colour, so that each of them is enough. `kind` is "good", "busy", "warn", "bad" or
 * "idle".
 */
export function badge() {
  const word = h("span");
  const element = h("span", { class: "state" }, h("i", { class: "glyph", "aria-hidden": "true" }), word);
  return {
    element,
    set(kind, label, title) {
      attribute(element, "data-kind", kind);
      attribute(element, "title", title);
      text(word, label);
    },
  };
}

/** How much of something is taken. Up to so many are drawn one by one. */
const MOST_CELLS = 32;

/** A bar of slots, with its figures beside it. */
export function slotBar(what = "slots taken") {
  return bar(`${what}`, (used, all) => `${used}/${all}`, "slots");
}

export function bar(what, figures, kind = "plain") {
  const fill = h("i");
  const track = h("span", { class: `meter ${kind}`, role: "meter", "aria-valuemin": 0 }, fill);
  const label = h("span", { class: "figures" });
  const element = h("span", { class: "bar-line" }, track, label);
  return {
    element,
    set(used, all, name) {
      const known = used != null && all > 0;
      const part = known ? Math.min(1, Math.max(0, used / all)) : 0;
      const words = known ? figures(used, all) : "none";
      attribute(track, "aria-valuenow", known ? Math.min(used, all) : 0);
      attribute(track, "aria-valuemax", known ? all : 1);
      attribute(track, "aria-valuetext", words);
      attribute(track, "aria-label", name ? `${what}, ${name}` : what);
      attribute(track, "data-full", part >= 1 ? "" : null);
      style(track, "--part", part.toFixed(4));
      style(track, "--cells", kind === "slots" && all > 1 && all <= MOST_CELLS ? String(all) : "1");
      text(label, words);
    },
  };
}

/** Sets a custom property, if it is not so already. The page's policy forbids style attributes, not this. */
export function style(element, name, value) {
  if (element.style.getPropertyValue(name) !== value) element.style.setProperty(name, value);
}

/** What a node is, for people. */
export function nodeState(node) {
  switch (node.status) {
    case "online":
      return ["good", "online"];
    case "draining":
      return ["busy", "draining"];
    case "unreachable":
      return ["warn", "unreachable"];
    case "offline":
      return ["bad", "offline"];
    default:
      return ["idle", node.status ?? "unknown"];
  }
}

/** What a pool is, the most important thing first. */
export function poolState(pool) {
  if (pool.quarantine) return ["warn", "quarantined"];
  if (pool.draining || pool.drain) return ["busy", "draining"];
  if (pool.ready && !pool.unavailable) return ["good", "ready"];
  return ["bad", "not ready"];
}

/** What a replica is, likewise. */
export function replicaState(replica) {
  if (replica.draining) return ["busy", "draining"];
  if (replica.quarantine) return ["warn", "quarantined"];
  return replica.ready ? ["good", "ready"] : ["bad", "not ready"];
}

/** Slots of a pool or replica that are taken: as it reported, or as we know better. */
export function busySlots(pool) {
  const reported = Math.max(0, (pool.slots_total ?? 0) - (pool.slots_free ?? 0));
  return Math.max(reported, pool.requests_running ?? 0);
}

/** The models of a node or pool, in a few words. */
export function modelNames(models, most = 3) {
  const names = [...new Set(models)].sort();
  const rest = names.length - most;
  return rest > 0 ? `${names.slice(0, most).join(", ")} and ${rest} more` : names.join(", ");
}

/** What is shown where there is nothing yet. */
export function empty(title, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), ...more.map((line) => h("p", {}, line)));
}

/** A field with its label. */
export function field(label, control, hint) {
  const id = `f-${(field.next = (field.next ?? 0) + 1)}`;
  control.id = id;
  const note = hint && h("span", { class: "hint", id: `${id}-hint` }, hint);
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("p", { class: "field" }, h("label", { for: id }, label), control, note);
}

/** Fills a select, and keeps what is chosen while it is still there. */
export function options(select, choices) {
  const wanted = choices.map(([value, label]) => `${value}\n${label}`).join("\n\n");
  if (select.dataset.choices === wanted) return;
  const chosen = select.value;
  select.dataset.choices = wanted;
  select.replaceChildren(...choices.map(([value, label]) => h("option", { value }, label)));
  if (choices.some(([value]) => value === chosen)) select.value = chosen;
}
