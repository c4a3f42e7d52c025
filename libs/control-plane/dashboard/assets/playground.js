// A chat with any model, to see that it works, where it runs and how long each part takes.

import { chat } from "./chat.js";
import { announce, attribute, h, show, text } from "./dom.js";
import { NONE, count, duration, rate } from "./format.js";
import { empty, field, options, style } from "./parts.js";
import { state, subscribe } from "./store.js";

const STRATEGIES = [
  ["", "as configured"],
  ["least-loaded", "least loaded"],
  ["round-robin", "round robin"],
  ["weighted", "weighted"],
  ["session", "session"],
  ["prefix", "prefix"],
];

export function playground() {
  const model = h("select", { required: true });
  const node = h("select", {});
  const strategy = h("select", {});
  const priority = h("select", {});
  const tokens = h("input", { type: "number", min: 1, max: 100_000, step: 1, value: 256, inputmode: "numeric" });
  const temperature = h("input", { type: "number", min: 0, max: 2, step: 0.1, value: 0.7, inputmode: "decimal" });
  const system = h("textarea", { rows: 2, placeholder: "none" });
  options(strategy, STRATEGIES);
  options(priority, [["", "interactive"], ["batch", "batch"]]);

  const talk = h("ol", { class: "talk", "aria-label": "Conversation" });
  const hint = empty("Ask something", "The answer streams in, and below it stands where it ran and how long each part took.");
  const input = h("textarea", { id: "prompt", rows: 3, required: true, placeholder: "Write a message. Enter sends it, Shift+Enter begins a new line.", onkeydown: key });
  const send = h("button", { type: "submit", class: "primary" }, "Send");
  const stop = h("button", { type: "button", hidden: true, onclick: () => running?.abort() }, "Stop");
  const clear = h("button", { type: "button", class: "quiet", onclick: forget }, "Clear");
  const form = h(
    "form",
    { class: "composer", onsubmit: (event) => (event.preventDefault(), run()) },
    h("label", { for: "prompt", class: "unseen" }, "Message"),
    input,
    h("p", { class: "composer-buttons" }, clear, stop, send),
  );
  const settings = h(
    "details",
    { class: "panel settings", open: matchMedia("(min-width: 60rem)").matches },
    h("summary", {}, "Settings"),
    field("Node", node, "Only this one will do: the request waits or fails when it cannot."),
    field("Placement", strategy),
    field("Priority", priority),
    field("Most tokens", tokens),
    field("Temperature", temperature),
    field("System message", system),
  );
  const element = h(
    "section",
    { class: "view playground", "aria-labelledby": "playground-title" },
    h("h1", { id: "playground-title" }, "Playground"),
    h("div", { class: "filters" }, field("Model", model)),
    h("div", { class: "play" }, h("div", { class: "panel conversation" }, hint, talk, form), settings),
  );

  let history = [];
  let running = null;

  function key(event) {
    // While an input method puts a character together, Enter is its own.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  }

  function forget() {
    running?.abort();
    history = [];
    talk.replaceChildren();
    show(hint, true);
    input.focus();
  }

  async function run() {
    const question = input.value.trim();
    if (!question || running) return;
    const abort = (running = new AbortController());
    const conversation = history;
    conversation.push({ role: "user", content: question });
    talk.append(h("li", { class: "said" }, h("span", { class: "who" }, "You"), h("p", { class: "words" }, question)));
    const answer = answerItem(model.value);
    talk.append(answer.element);
    show(hint, false);
    input.value = "";
    show(send, false);
    show(stop, true);
    answer.element.scrollIntoView({ block: "end" });
    const messages = system.value.trim() ? [{ role: "system", content: system.value.trim() }, ...conversation] : conversation;
    const request = {
      body: { model: model.value, messages, stream: true, stream_options: { include_usage: true }, ...numbers() },
      headers: { "x-llorch-pin-node": node.value, "x-llorch-strategy": strategy.value, "x-priority": priority.value },
      signal: abort.signal,
    };
    const result = await chat(request, answer.update);
    answer.update(result);
    if (result.text) conversation.push({ role: "assistant", content: result.text });
    announce(result.error ? `The request failed: ${result.error.message}` : `Answer complete, ${duration(result.totalMs)}.`);
    running = null;
    show(send, true);
    show(stop, false);
    if (element.offsetParent !== null) input.focus();
  }

  function numbers() {
    const most = Number(tokens.value);
    const heat = Number(temperature.value);
    return {
      ...(Number.isInteger(most) && most > 0 ? { max_tokens: most } : {}),
      ...(temperature.value !== "" && heat >= 0 ? { temperature: heat } : {}),
    };
  }

  subscribe((topics) => {
    if (topics.has("status") || topics.has("view")) {
      const models = (state.status?.models ?? []).map((one) => [one.model, one.model]);
      options(model, models.length ? models : [["", "no model yet"]]);
      send.disabled = models.length === 0;
    }
    if (topics.has("nodes") || topics.has("view")) {
      options(node, [["", "any"], ...state.nodes.map((one) => [one.node_id, one.node_id])]);
    }
  });
  return element;
}

function answerItem(model) {
  const words = h("p", { class: "words" });
  const waiting = h("span", { class: "faint" }, "Waiting for a slot and the first token");
  const problem = h("p", { class: "problem", hidden: true });
  const where = h("p", { class: "ran" });
  const line = timeline();
  let shown = 0;
  return {
    element: h("li", { class: "said answer" }, h("span", { class: "who" }, model), waiting, words, problem, line.element, where),
    update(now) {
      // The text only grows: what is there stays, so nothing that is selected is lost.
      if (now.text.length > shown) {
        words.append(now.text.slice(shown));
        shown = now.text.length;
      }
      show(waiting, !now.done && shown === 0);
      if (now.error) {
        text(problem, now.error.code ? `${now.error.code}: ${now.error.message}` : now.error.message);
        show(problem, true);
      }
      line.update(now);
      if (now.headers) text(where, whereInWords(now));
    },
  };
}

function whereInWords({ headers, tokens, totalMs, firstMs, stopped }) {
  const where = [headers.node, headers.pool, headers.replica].filter(Boolean).join(" / ");
  const seconds = (totalMs - firstMs) / 1000;
  const words = [
    where && `ran on ${where}`,
    headers.attempts > 1 ? `${headers.attempts} tries` : null,
    tokens ? `${count(tokens)} tokens` : null,
    tokens > 1 && seconds > 0 ? `${rate((tokens - 1) / seconds)} tokens/s` : null,
    stopped ? "stopped by you" : null,
    headers.requestId && `request ${headers.requestId}`,
  ];
  return words.filter(Boolean).join(" · ");
}

/** Queue, first token and the rest as one line whose parts are as long as they took. */
function timeline() {
  const part = (kind, label) => {
    const value = h("b", {}, NONE);
    const stretch = h("i", { "data-part": kind, "aria-hidden": "true" });
    return { stretch, value, item: h("li", {}, h("i", { class: "key", "data-part": kind, "aria-hidden": "true" }), `${label} `, value) };
  };
  const parts = { queue: part("queue", "queue"), first: part("first", "first token"), rest: part("rest", "generating") };
  const all = h("b", {}, NONE);
  const total = h("li", {}, "total ", all);
  const track = h("div", { class: "timeline" }, parts.queue.stretch, parts.first.stretch, parts.rest.stretch);
  const list = h("ul", { class: "legend" }, parts.queue.item, parts.first.item, parts.rest.item, total);
  const element = h("div", { class: "timing", hidden: true }, track, list);
  return {
    element,
    update({ queueMs, firstMs, totalMs, done }) {
      const known = firstMs ?? (done ? totalMs : null);
      show(element, known != null && queueMs != null);
      if (known == null || queueMs == null) return;
      const queue = Math.min(queueMs, known);
      const lengths = { queue, first: known - queue, rest: Math.max(0, totalMs - known) };
      for (const [name, ms] of Object.entries(lengths)) {
        style(parts[name].stretch, "--ms", String(Math.max(0, ms).toFixed(1)));
        attribute(parts[name].stretch, "title", duration(ms));
      }
      text(parts.queue.value, duration(queueMs));
      text(parts.first.value, firstMs == null ? NONE : duration(firstMs));
      text(parts.rest.value, firstMs == null ? NONE : duration(lengths.rest));
      text(all, duration(totalMs));
    },
  };
}
