// The event log.

import { h, keyed, show, text } from "./dom.js";
import { moment, plural } from "./format.js";
import { badge, empty, field, options } from "./parts.js";
import { state, subscribe } from "./store.js";

/** How many are drawn at first, and more with each press of the button. The rest is in memory only. */
const PAGE = 200;

const KINDS = {
  node_joined: ["good", "joined"],
  node_online: ["good", "online"],
  node_undrained: ["good", "undrained"],
  pool_ready: ["good", "pool ready"],
  pool_undrained: ["good", "pool undrained"],
  readmitted: ["good", "readmitted"],
  node_drained: ["busy", "drained"],
  pool_drained: ["busy", "pool drained"],
  node_left: ["idle", "left"],
  node_unreachable: ["warn", "unreachable"],
  pool_not_ready: ["warn", "pool not ready"],
  quarantined: ["warn", "quarantined"],
  node_offline: ["bad", "offline"],
  node_refused: ["warn", "node refused"],
  handoff_refused: ["warn", "handoff refused"],
  gpu_problem: ["warn", "GPU problem"],
};

function kindOf(kind) {
  return KINDS[kind] ?? ["idle", String(kind ?? "event").replaceAll("_", " ")];
}

/** Events never change, so a row is made once. */
export function eventRow(event) {
  const [kind, word] = kindOf(event.kind);
  const mark = badge();
  mark.set(kind, word);
  const where = [event.node_id, event.pool_id].filter(Boolean).join(" / ") || event.model || "";
  return {
    element: h(
      "li",
      {},
      h("time", {}, moment(event.at)),
      mark.element,
      h("span", { class: "id" }, where),
      h("span", { class: "wide" }, event.message ?? ""),
    ),
  };
}

export function events() {
  const search = h("input", { type: "search", autocomplete: "off", spellcheck: "false", placeholder: "node, pool, model or words", oninput: redraw });
  const kind = h("select", { onchange: redraw });
  const list = h("ol", { class: "log" });
  const summary = h("p", { class: "faint", role: "status" });
  const nothing = empty("Nothing has happened yet", "Nodes that join, leave, drain or fail are written down here.");
  const more = h("button", { type: "button", onclick: () => ((shown += PAGE), redraw()) }, "Show older");
  const element = h(
    "section",
    { class: "view", "aria-labelledby": "events-title" },
    h("h1", { id: "events-title" }, "Events"),
    h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() }, field("Find", search), field("Kind", kind), summary),
    h("div", { class: "panel" }, list, nothing, h("p", { class: "more" }, more)),
  );
  let shown = PAGE;

  function matching() {
    const words = search.value.trim().toLowerCase();
    const wanted = kind.value;
    if (!words && !wanted) return state.events;
    return state.events.filter((event) => {
      if (wanted && kindOf(event.kind)[0] !== wanted) return false;
      if (!words) return true;
      const all = `${event.kind} ${event.node_id ?? ""} ${event.pool_id ?? ""} ${event.model ?? ""} ${event.message ?? ""}`;
      return all.toLowerCase().includes(words);
    });
  }

  function redraw() {
    if (element.offsetParent === null) return;
    const found = matching();
    keyed(list, found.slice(0, shown), (event) => `${event.id} ${event.at}`, eventRow);
    const all = found.length === state.events.length;
    text(summary, all ? plural(found.length, "event") : `${plural(found.length, "event")} of ${state.events.length}`);
    show(nothing, state.events.length === 0);
    show(more.parentElement, found.length > shown);
  }

  options(kind, [
    ["", "all"],
    ["bad", "offline"],
    ["warn", "trouble"],
    ["busy", "drains"],
    ["good", "good news"],
  ]);
  subscribe((topics) => {
    if (topics.has("events") || topics.has("view")) redraw();
  });
  return element;
}
