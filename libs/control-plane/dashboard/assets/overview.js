// The first view: is all well, how busy is it, what went wrong.

import { chart } from "./chart.js";
import { h, keyed, show, text } from "./dom.js";
import { NONE, count, duration, moment, plural, rate } from "./format.js";
import { eventRow } from "./events.js";
import { empty, slotBar } from "./parts.js";
import { state, subscribe } from "./store.js";

/** How many events and errors are shown here; all of them have views of their own, or a log. */
const LATEST_EVENTS = 8;
const LATEST_ERRORS = 12;

export function overview() {
  const concerns = h("ul", { class: "concerns", "aria-label": "Needs attention" });
  const tiles = h("dl", { class: "tiles" });
  const nodes = tile(tiles, "Nodes");
  const slots = tile(tiles, "Slots free");
  const waiting = tile(tiles, "Requests waiting");
  const requests = tile(tiles, "Requests per second");
  const tokens = tile(tiles, "Tokens per second");
  const first = tile(tiles, "First token, median");

  const models = modelsTable();
  const failures = errorsTable();
  const latest = h("ol", { class: "log" });
  const noEvents = empty("Nothing has happened yet");

  const element = h(
    "section",
    { class: "view", "aria-labelledby": "overview-title" },
    h("h1", { id: "overview-title", class: "unseen" }, "Overview"),
    concerns,
    tiles,
    h(
      "div",
      { class: "charts" },
      chart("Tokens per second", [["tokens_per_s", ""]], rate),
      chart("Requests per second", [["requests_per_s", "all"], ["errors_per_s", "failed"]], rate),
      chart("Time to first token", percentiles("first_token"), duration, "queue included"),
      chart("Time between tokens", percentiles("inter_token"), duration),
    ),
    h("section", { class: "panel", "aria-labelledby": "models-title" }, h("h2", { id: "models-title" }, "Models"), models.element),
    h("section", { class: "panel", "aria-labelledby": "errors-title" }, h("h2", { id: "errors-title" }, "Recent errors"), failures.element),
    h(
      "section",
      { class: "panel", "aria-labelledby": "latest-title" },
      h("div", { class: "panel-head" }, h("h2", { id: "latest-title" }, "Latest events"), h("a", { href: "#/events" }, "All events")),
      latest,
      noEvents,
    ),
  );

  subscribe((topics) => {
    if (topics.has("status") && state.status) {
      const { slots: all = {}, traffic = {}, models: served = [], recent_errors = [] } = state.status;
      const queued = served.reduce((sum, model) => sum + (model.queued_interactive ?? 0) + (model.queued_batch ?? 0), 0);
      const running = served.reduce((sum, model) => sum + (model.running ?? 0), 0);
      slots(count(all.free), all.total == null ? "" : `of ${count(all.total)}, ${count(running)} running`);
      const failing = traffic.errors_per_s > 0;
      requests(rate(traffic.requests_per_s), failing ? `${rate(traffic.errors_per_s)} of them failed` : windowed(traffic), failing ? "bad" : null);
      tokens(rate(traffic.tokens_per_s), windowed(traffic));
      first(duration(traffic.first_token_ms?.p50), traffic.first_token_ms?.p99 == null ? "none lately" : `99 %: ${duration(traffic.first_token_ms.p99)}`);
      waiting(count(queued), queued ? longest(served) : "no request", queued ? "warn" : null);
      models.set(served);
      failures.set(recent_errors);
    }
    if (topics.has("nodes") || topics.has("status")) {
      const [value, note] = nodesInWords();
      nodes(value, note);
      keyed(concerns, found(), (concern) => concern.key, concernItem);
      show(concerns, concerns.childElementCount > 0);
    }
    if (topics.has("events")) {
      keyed(latest, state.events.slice(0, LATEST_EVENTS), (event) => `${event.id} ${event.at}`, eventRow);
      show(noEvents, state.events.length === 0);
    }
  });
  return element;
}

function percentiles(name) {
  return [
    [`${name}_p50`, "50 %"],
    [`${name}_p90`, "90 %"],
    [`${name}_p99`, "99 %"],
  ];
}

function windowed(traffic) {
  return traffic.window_ms ? `over ${Math.round(traffic.window_ms / 1000)} s` : "";
}

function longest(models) {
  const queued = (model) => (model.queued_interactive ?? 0) + (model.queued_batch ?? 0);
  const most = models.reduce((a, b) => (queued(b) > queued(a) ? b : a));
  return `${count(queued(most))} for ${most.model}`;
}

function tile(list, label) {
  const value = h("span", { class: "tile-value" }, NONE);
  const note = h("span", { class: "tile-note" });
  const mark = h("i", { class: "glyph", "aria-hidden": "true" });
  const box = h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, h("span", { class: "tile-line" }, mark, value), note));
  list.append(box);
  return (figure, words, kind) => {
    text(value, figure);
    text(note, words);
    box.dataset.kind = kind ?? "";
  };
}

function nodesInWords() {
  const by = state.status?.nodes;
  if (!by) return [count(state.nodes.length), ""];
  const all = by.online + by.draining + by.unreachable + by.offline;
  const others = [
    [by.draining, "draining"],
    [by.unreachable, "unreachable"],
    [by.offline, "offline"],
  ].filter(([number]) => number > 0);
  const words = others.map(([number, word]) => `${number} ${word}`);
  return [`${count(by.online)}${others.length ? ` of ${count(all)}` : ""}`, words.length ? words.join(", ") : "all online"];
}

/** What a person should look at, the worst first. */
function found() {
  const concerns = [];
  // More of them may be among the nodes that are not listed: the status counts all.
  const named = (kind, nodes, words, all = nodes.length) => {
    if (nodes.length === 0) return;
    const number = Math.max(all, nodes.length);
    const names = nodes.slice(0, 4).map((node) => node.node_id);
    const rest = number - names.length;
    const list = rest > 0 ? `${names.join(", ")} and ${count(rest)} more` : names.join(", ");
    concerns.push({ key: words, kind, text: `${plural(number, "node is", "nodes are")} ${words}: ${list}`, href: "#/nodes" });
  };
  const by = state.status?.nodes ?? {};
  if (state.selfSuspicion) {
    concerns.push({ key: "self", kind: "bad", text: "Most nodes fell silent together. The trouble may be here: requests still go to all of them.", href: "#/nodes" });
  }
  named("bad", state.nodes.filter((node) => node.status === "offline"), "offline", by.offline);
  named("warn", state.nodes.filter((node) => node.status === "unreachable"), "unreachable", by.unreachable);
  const quarantined = (pool) => pool.quarantine || pool.replicas?.some((replica) => replica.quarantine);
  const held = state.nodes.filter((node) => node.pools?.some(quarantined));
  named("warn", held, "kept from requests after failures");
  const idle = (pool) => !pool.ready && !pool.quarantine && !pool.draining && (pool.last_error || pool.slots_total > 0);
  named("warn", state.nodes.filter((node) => node.status === "online" && node.pools?.some(idle)), "with a pool that is not ready");
  for (const model of state.status?.models ?? []) {
    const queued = (model.queued_interactive ?? 0) + (model.queued_batch ?? 0);
    if (queued > 0 && model.slots_total === 0) {
      concerns.push({ key: `m ${model.model}`, kind: "bad", text: `${plural(queued, "request waits", "requests wait")} for ${model.model}, which no endpoint serves now`, href: "#/placement" });
    }
  }
  return concerns;
}

function concernItem() {
  const link = h("a", {});
  const element = h("li", {}, h("i", { class: "glyph", "aria-hidden": "true" }), link);
  return {
    element,
    update(concern) {
      element.dataset.kind = concern.kind;
      link.href = concern.href;
      text(link, concern.text);
    },
  };
}

function table(caption, headings) {
  const body = h("tbody");
  const heads = headings.map(([label, kind]) => h("th", { scope: "col", class: kind }, label));
  const element = h("table", { class: "stack" }, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, ...heads)), body);
  return { element: h("div", { class: "scroll" }, element), body, labels: headings.map(([label]) => label) };
}

function modelsTable() {
  const parts = table("Models and who waits for them", [["Model"], ["Slots taken"], ["Running", "number"], ["Waiting", "number"], ["Batch waiting", "number"], ["Endpoints", "number"]]);
  const nothing = empty("No model yet", "A model appears here as soon as a node announces an engine that serves it.");
  const make = () => {
    const name = h("th", { scope: "row", class: "id" });
    const bar = slotBar();
    const cells = parts.labels.slice(2).map((label) => h("td", { class: "number", "data-label": label }));
    return {
      element: h("tr", {}, name, h("td", { "data-label": "Slots taken" }, bar.element), ...cells),
      update(model) {
        text(name, model.model);
        bar.set((model.slots_total ?? 0) - (model.slots_free ?? 0), model.slots_total, model.model);
        [model.running, model.queued_interactive, model.queued_batch, model.endpoints].forEach((value, place) => text(cells[place], count(value)));
        cells[1].classList.toggle("strong", model.queued_interactive > 0);
        cells[2].classList.toggle("strong", model.queued_batch > 0);
      },
    };
  };
  return {
    element: h("div", {}, parts.element, nothing),
    set(models) {
      keyed(parts.body, models, (model) => model.model, make);
      show(parts.element, models.length > 0);
      show(nothing, models.length === 0);
    },
  };
}

function errorsTable() {
  const parts = table("Errors, newest first", [["When"], ["Code"], ["What"], ["Model"], ["Node"], ["Request"]]);
  const nothing = empty("None", "Requests that fail are listed here with the reason.");
  const make = (error) => {
    const cell = (label, value, kind) => h("td", { "data-label": label, class: kind }, value ?? NONE);
    return {
      element: h(
        "tr",
        {},
        h("td", { "data-label": "When", class: "when" }, moment(error.at)),
        cell("Code", error.code, "code"),
        cell("What", error.message, "wide"),
        cell("Model", error.model, "id"),
        cell("Node", error.node_id, "id"),
        cell("Request", error.request_id, "id faint"),
      ),
    };
  };
  return {
    element: h("div", {}, parts.element, nothing),
    set(errors) {
      const newest = [...errors].sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : 0)).slice(0, LATEST_ERRORS);
      keyed(parts.body, newest, (error) => `${error.at} ${error.request_id}`, make);
      show(parts.element, newest.length > 0);
      show(nothing, newest.length === 0);
    },
  };
}
