// What keys have used, by day, key and model.

import { h, keyed, show, text } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { empty, field } from "./parts.js";
import { ask } from "./server.js";

/** How many rows are asked for, and how many of them are drawn: the newest. The CSV has all. */
const MOST_ROWS = 5000;
const DRAWN_ROWS = 500;
const DAY_MS = 24 * 3600_000;
/** How many days are shown at first, today included. */
const DAYS = 7;

const FIGURES = [
  ["Requests", "requests", count],
  ["Tokens read", "input_tokens", count],
  ["Tokens generated", "output_tokens", count],
  ["Time on slots", "slot_ms", duration],
];

function dayBefore(days) {
  return new Date(Date.now() - days * DAY_MS).toISOString().slice(0, 10);
}

export function usage() {
  const from = h("input", { type: "date", value: dayBefore(DAYS - 1), onchange: refresh });
  const to = h("input", { type: "date", value: "", onchange: refresh });
  const search = h("input", { type: "search", autocomplete: "off", spellcheck: "false", placeholder: "key or model", oninput: redraw });
  const csv = h("a", { download: "usage.csv" }, "CSV");
  const summary = h("p", { class: "faint", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const body = h("tbody");
  const table = h(
    "div",
    { class: "scroll", hidden: true },
    h(
      "table",
      { class: "stack" },
      h("caption", { class: "unseen" }, "Usage by day, key and model"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ...["Day", "Key", "Model"].map((label) => h("th", { scope: "col" }, label)),
          ...FIGURES.map(([label]) => h("th", { scope: "col", class: "number" }, label)),
        ),
      ),
      body,
    ),
  );
  const nothing = empty("No usage", "Requests of keys are counted; those with the API token are not.");
  const element = h(
    "div",
    { class: "panel" },
    h("h2", {}, "Usage"),
    h("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() }, field("Find", search), field("From (UTC)", from), field("To (UTC)", to), h("p", { class: "field buttons" }, csv), summary),
    problem,
    table,
    nothing,
  );
  let rows = [];
  let more = false;

  function query(format) {
    const of = new URLSearchParams({ format });
    if (from.value) of.set("from", from.value);
    if (to.value) of.set("to", to.value);
    return of;
  }

  async function refresh() {
    csv.setAttribute("href", `/v2/usage?${query("csv")}`);
    try {
      const answer = await ask(`/v2/usage?${query("json")}&limit=${MOST_ROWS}`);
      rows = answer.usage;
      more = Boolean(answer.next_after);
      show(problem, false);
    } catch (error) {
      // The stream says whether the server is there, and asks for the sign-in.
      text(problem, error.message);
      show(problem, error.status !== 0 && error.status !== 401);
    }
    redraw();
  }

  function redraw() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter((row) => words.every((word) => `${row.key_name} ${row.key_id} ${row.model}`.toLowerCase().includes(word)));
    keyed(body, found.slice(-DRAWN_ROWS).reverse(), (row) => `${row.date} ${row.key_id} ${row.model}`, usageRow);
    const sum = (name) => found.reduce((all, row) => all + row[name], 0);
    const hidden = found.length > DRAWN_ROWS ? `; the newest ${DRAWN_ROWS} rows are shown` : "";
    const rest = more ? `; not all of these days, choose fewer or take the CSV` : hidden;
    text(summary, `${plural(sum("requests"), "request")}, ${plural(sum("input_tokens") + sum("output_tokens"), "token")}${rest}`);
    show(table, found.length > 0);
    show(nothing, found.length === 0);
  }

  return { element, refresh };
}

function usageRow(first) {
  const name = h("td", { "data-label": "Key", title: first.key_id });
  const figures = FIGURES.map(([label]) => h("td", { "data-label": label, class: "number" }));
  return {
    element: h("tr", {}, h("th", { scope: "row" }, first.date), name, h("td", { "data-label": "Model", class: "id" }, first.model), ...figures),
    update(row) {
      text(name, row.key_name);
      FIGURES.forEach(([, field, shown], place) => text(figures[place], shown(row[field])));
    },
  };
}
