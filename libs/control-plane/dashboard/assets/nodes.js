// All nodes: found by words, sorted, each one line until it is opened.

import { h, keyed, show, text } from "./dom.js";
import { plural } from "./format.js";
import { nodeLine } from "./node.js";
import { busySlots, empty, field, options, poolState } from "./parts.js";
import { isHome, state, subscribe } from "./store.js";

/** Up to so many nodes are open from the start: they fit a screen or two. */
const OPEN_FROM_THE_START = 4;

const SORTS = {
  name: (a, b) => (a.node_id < b.node_id ? -1 : 1),
  trouble: (a, b) => trouble(b) - trouble(a) || SORTS.name(a, b),
  busy: (a, b) => share(b) - share(a) || SORTS.name(a, b),
};

const ORDER = { offline: 4, unreachable: 3, draining: 1 };

/** How much a node needs to be looked at. */
function trouble(node) {
  const pools = node.pools?.some((pool) => poolState(pool)[0] !== "good") ? 2 : 0;
  return Math.max(ORDER[node.status] ?? 0, pools);
}

function share(node) {
  const total = node.pools?.reduce((sum, pool) => sum + pool.slots_total, 0) ?? 0;
  return total ? node.pools.reduce((sum, pool) => sum + busySlots(pool), 0) / total : 0;
}

export function nodes() {
  const search = h("input", { type: "search", autocomplete: "off", spellcheck: "false", placeholder: "node, model, GPU or engine", oninput: redraw });
  const which = h("select", { onchange: redraw });
  const sort = h("select", { onchange: redraw });
  const open = h("button", { type: "button", class: "quiet", onclick: () => setAll(true) }, "Open all");
  const close = h("button", { type: "button", class: "quiet", onclick: () => setAll(false) }, "Close all");
  const summary = h("p", { class: "faint", role: "status" });
  const list = h("ul", { class: "nodes" });
  const nothing = h("div", { class: "panel" });
  const element = h(
    "section",
    { class: "view", "aria-labelledby": "nodes-title" },
    h("h1", { id: "nodes-title" }, "Nodes"),
    h(
      "form",
      { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      field("Find", search),
      field("Show", which),
      field("Sort by", sort),
      h("p", { class: "field buttons" }, open, close),
      summary,
    ),
    list,
    nothing,
  );
  options(which, [
    ["all", "all"],
    ["trouble", "those in trouble"],
    ["draining", "draining"],
  ]);
  options(sort, [
    ["name", "name"],
    ["trouble", "trouble first"],
    ["busy", "busy first"],
  ]);
  const lines = new Map();

  function setAll(opened) {
    for (const line of lines.values()) line.open(opened);
  }

  function matches(node, words) {
    if (which.value === "trouble" && trouble(node) < 2) return false;
    if (which.value === "draining" && node.status !== "draining" && !node.pools?.some((pool) => pool.draining)) return false;
    return words.every((word) => haystack(node).includes(word));
  }

  function redraw() {
    if (element.offsetParent === null) return;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = state.nodes.filter((node) => matches(node, words)).sort(SORTS[sort.value]);
    const opened = state.nodes.length <= OPEN_FROM_THE_START;
    keyed(
      list,
      found,
      (node) => node.node_id,
      (node) => {
        // A node that is filtered away and comes back is as it was left.
        const line = lines.get(node.node_id) ?? nodeLine(node.node_id, opened);
        lines.set(node.node_id, line);
        return line;
      },
    );
    const all = found.length === state.nodes.length;
    text(summary, all ? plural(found.length, "node") : `${found.length} of ${plural(state.nodes.length, "node")}`);
    show(nothing, found.length === 0);
    if (found.length === 0) nothing.replaceChildren(state.nodes.length ? empty("No node fits") : none());
  }

  subscribe((topics) => {
    if (topics.has("nodes") || topics.has("view")) redraw();
  });
  return element;
}

function none() {
  return isHome()
    ? empty("No engine yet", "Write a handoff file to the directory that this control plane watches; the engine appears here within a second.")
    : empty("No node yet", "Start pool-managerd on a GPU machine with ORCHESTRATORD_URL set to this server; it appears here by itself.");
}

function haystack(node) {
  const gpus = node.capabilities?.gpus?.map((gpu) => gpu.name) ?? [];
  const pools = node.pools?.flatMap((pool) => [pool.pool_id, pool.engine, ...(pool.models_available ?? [])]) ?? [];
  return [node.node_id, node.machine_id, node.address, node.status, ...gpus, ...pools].filter(Boolean).join(" ").toLowerCase();
}
