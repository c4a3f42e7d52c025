// Where a request would go, and why not elsewhere. Nothing is sent to an engine.

import { h, keyed, show, text } from "./dom.js";
import { NONE, count, gibibytes, plural } from "./format.js";
import { badge, field, options, slotBar } from "./parts.js";
import { ask } from "./server.js";
import { state, subscribe } from "./store.js";

export function explain() {
  const model = h("select", { onchange: run });
  const strategy = h("select", { onchange: run });
  const pin = h("select", { onchange: run });
  const session = h("input", { type: "text", autocomplete: "off", placeholder: "none", onchange: run });
  const prompt = h("textarea", { rows: 2, placeholder: "for the strategy prefix", onchange: run });
  const verdict = h("p", { class: "verdict", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const body = h("tbody");
  const heads = ["Endpoint", "Verdict", "Slots taken", "VRAM free", "Score"];
  const table = h(
    "div",
    { class: "scroll panel", hidden: true },
    h(
      "table",
      { class: "stack" },
      h("caption", { class: "unseen" }, "Endpoints that may serve the model"),
      h("thead", {}, h("tr", {}, ...heads.map((label) => h("th", { scope: "col" }, label)))),
      body,
    ),
  );
  const element = h(
    "section",
    { class: "view", "aria-labelledby": "placement-title" },
    h("h1", { id: "placement-title" }, "Placement"),
    h("p", { class: "faint" }, "Where a request would go now, and why not elsewhere. Nothing is sent to an engine."),
    h(
      "form",
      { class: "filters", onsubmit: (event) => (event.preventDefault(), run()) },
      field("Model", model),
      field("Strategy", strategy),
      field("Pinned to", pin),
      field("Session", session),
      field("Prompt", prompt),
      h("p", { class: "field buttons" }, h("button", { type: "submit", class: "primary" }, "Explain")),
    ),
    problem,
    verdict,
    table,
    h("p", { class: "faint" }, "Scores are compared part by part, the first one first; of equal ones the first in the list is chosen."),
  );
  options(strategy, [
    ["", "as configured"],
    ["least-loaded", "least loaded"],
    ["round-robin", "round robin"],
    ["weighted", "weighted"],
    ["session", "session"],
    ["prefix", "prefix"],
  ]);
  let asked = 0;

  async function run() {
    if (!model.value) return;
    const number = (asked += 1);
    const question = { model: model.value };
    if (strategy.value) question.strategy = strategy.value;
    if (pin.value) question.pin_node = pin.value;
    if (session.value.trim()) question.session_id = session.value.trim();
    if (prompt.value) question.prompt = prompt.value;
    try {
      const answer = await ask("/v2/placement/explain", { method: "POST", body: question });
      if (number === asked) tellAnswer(answer);
    } catch (error) {
      if (number !== asked) return;
      text(problem, error.message);
      show(problem, true);
    }
  }

  function tellAnswer(answer) {
    show(problem, false);
    const chosen = answer.candidates.find((candidate) => candidate.chosen);
    const line = answer.waiting ? ` ${plural(answer.waiting, "request waits", "requests wait")} for it already.` : "";
    text(
      verdict,
      chosen
        ? `A request for ${model.value} would go to ${where(chosen)}, by ${answer.strategy}.${line}`
        : `A request for ${model.value} would not be served at once: ${answer.no_place ?? "no endpoint may serve it"}.${line}`,
    );
    const order = (a, b) => Number(b.chosen) - Number(a.chosen) || Number(Boolean(a.skipped)) - Number(Boolean(b.skipped)) || a.score[0] - b.score[0] || a.score[1] - b.score[1];
    keyed(body, [...answer.candidates].sort(order), where, row);
    show(table, answer.candidates.length > 0);
  }

  subscribe((topics) => {
    if (topics.has("status") || topics.has("view")) {
      const models = (state.status?.models ?? []).map((one) => [one.model, one.model]);
      const before = model.value;
      options(model, models.length ? models : [["", "no model yet"]]);
      if (element.offsetParent !== null && model.value !== before) run();
    }
    if (topics.has("nodes") || topics.has("view")) {
      options(pin, [["", "any node"], ...state.nodes.map((one) => [one.node_id, one.node_id])]);
    }
    if (topics.has("view") && element.offsetParent !== null) run();
  });
  return element;
}

function where(candidate) {
  return [candidate.node_id, candidate.pool_id, candidate.replica_id].filter(Boolean).join(" / ");
}

function row(candidate) {
  const mark = badge();
  const slots = slotBar(`slots taken of ${where(candidate)}`);
  const memory = h("td", { "data-label": "VRAM free" });
  const score = h("td", { "data-label": "Score", class: "number" });
  const element = h(
    "tr",
    {},
    h("th", { scope: "row", class: "id" }, where(candidate)),
    h("td", { "data-label": "Verdict" }, mark.element),
    h("td", { "data-label": "Slots taken" }, slots.element),
    memory,
    score,
  );
  return {
    element,
    update(now) {
      if (now.chosen) mark.set("good", "chosen");
      else if (now.skipped) mark.set("bad", now.skipped);
      else mark.set("idle", "possible");
      slots.set(now.slots_used, now.slots_total);
      text(memory, now.vram_free_bytes ? gibibytes(now.vram_free_bytes) : NONE);
      text(score, now.score_in_words ?? now.score.map(count).join(" · "));
    },
  };
}
