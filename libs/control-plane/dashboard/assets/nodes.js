// All nodes: found by words, sorted, each one line until it is opened.

import { addNode } from "./add-node.js";
import { h, keyed, show, text } from "./dom.js";
import { ago, plural } from "./format.js";
import { nodeLine } from "./node.js";
import { busySlots, empty, field, options, poolState } from "./parts.js";
import { ask, session } from "./server.js";
import { notListed, state, subscribe } from "./store.js";

/** Up to so many nodes are open from the start: they fit a screen or two. */
const OPEN_FROM_THE_START = 4;

/** What may be the id of a node. */
const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** How often a node that is not listed is asked for again. */
const LOOK_AGAIN_MS = 1000;

const SORTS = {
  name: (a, b) => (a.node_id < b.node_id ? -1 : 1),
  trouble: (a, b) => trouble(b) - trouble(a) || SORTS.name(a, b),
  busy: (a, b) => share(b) - share(a) || SORTS.name(a, b),
};

const ORDER = { offline: 4, unreachable: 3, draining: 1 };

/** How much a node needs to be looked at. */
function trouble(node) {
  const pools = node.pools?.some((pool) => poolState(pool)[0] !== "good") ? 2 : 0;
  const faults = node.refused_handoffs?.length || node.gpus?.some((gpu) => gpu.problem) ? 2 : 0;
  return Math.max(ORDER[node.status] ?? 0, pools, faults);
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
  const add = h("button", { type: "button", class: "primary", hidden: true, onclick: addNode }, "Add a node");
  const summary = h("p", { class: "faint", role: "status" });
  const refused = h("ul", { class: "refused", "aria-label": "Refused nodes", hidden: true });
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
      h("p", { class: "field buttons" }, open, close, add),
      summary,
    ),
    refused,
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

  /** The node with that id may be one that is not listed: then the server is asked for it, and again as time passes. */
  let looked = null;

  async function lookUp(found) {
    const id = search.value.trim();
    if (found.length > 0 || notListed() === 0 || !ID.test(id)) {
      looked = null;
      return;
    }
    if (looked?.id === id && Date.now() - looked.at < LOOK_AGAIN_MS) return;
    const mine = (looked = { id, at: Date.now(), node: looked?.id === id ? looked.node : null });
    try {
      mine.node = await ask(`/v2/nodes/${encodeURIComponent(id)}`);
    } catch {
      // There is none, or the stream will say what is wrong.
      mine.node = null;
    }
    if (looked === mine) redraw();
  }

  function redraw() {
    if (element.offsetParent === null) return;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = state.nodes.filter((node) => matches(node, words)).sort(SORTS[sort.value]);
    lookUp(found);
    if (looked?.node && found.length === 0) found.push(looked.node);
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
    show(add, mayAdd());
    keyed(refused, state.refusedNodes, (node) => `${node.from} ${node.node_id ?? ""}`, refusedLine);
    show(refused, state.refusedNodes.length > 0);
    const all = found.length === state.nodes.length;
    const hidden = notListed();
    const rest = hidden ? `; ${plural(hidden, "node")} more not listed, of which one is found by its whole id` : "";
    text(summary, (all ? plural(found.length, "node") : `${found.length} of ${plural(state.nodes.length, "node")}`) + rest);
    show(nothing, found.length === 0);
    if (found.length === 0) nothing.replaceChildren(state.nodes.length ? empty("No node fits") : none());
  }

  subscribe((topics) => {
    if (topics.has("nodes") || topics.has("view") || (topics.has("status") && looked)) redraw();
  });
  return element;
}

/** A node that wants to join and may not. */
function refusedLine() {
  const words = h("p", { class: "note" });
  return {
    element: h("li", { class: "panel" }, words),
    update(node) {
      const name = node.node_id ? `${node.node_id} at ${node.from}` : `A node at ${node.from}`;
      text(words, `${name} was refused ${ago(node.last_ms)} ago: ${node.reason}`);
    },
  };
}

function none() {
  const how = "“Add a node” makes a line to paste on a GPU machine. One with ORCHESTRATORD_URL set to this server appears here by itself.";
  return empty("No node yet", mayAdd() ? how : "A machine on which pool-managerd joins this server appears here.");
}

/** In the HOME profile this machine is the only node. */
function mayAdd() {
  return session.may("operator") && state.status?.profile === "cloud";
}

function haystack(node) {
  const gpus = node.capabilities?.gpus?.map((gpu) => gpu.name) ?? [];
  const pools = node.pools?.flatMap((pool) => [pool.pool_id, pool.engine, ...(pool.models_available ?? [])]) ?? [];
  return [node.node_id, node.machine_id, node.address, node.status, ...gpus, ...pools].filter(Boolean).join(" ").toLowerCase();
}
