// Lines over time.

import { attribute, h, svg, text } from "./dom.js";
import { HISTORY_MS, series, state, subscribe } from "./store.js";
import { NONE, hourAndMinute, moment } from "./format.js";

const HEIGHT = 132;
const LEFT = 46;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;
/** Points further apart than this are not joined: nothing is known in between. */
const GAP_MS = 20_000;

/** Where the pointer is, as a time, for all charts alike. */
const pointer = { at: null, hear: new Set() };

function point(at) {
  pointer.at = at;
  for (const hear of pointer.hear) hear();
}

/** A step of 1, 2 or 5 times a power of ten, so that about three of them reach `most`. */
function step(most) {
  const raw = most / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
}

/**
 * A chart of some columns: `lines` are `[column, label]`, `format` writes a value. Every line has a dash pattern and
 * a place in the legend, which holds the figures of now, or of where the pointer is.
 */
export function chart(title, lines, format, note) {
  const values = lines.map(() => h("b"));
  const when = h("span", { class: "chart-when" });
  const legend = h(
    "ul",
    { class: "legend" },
    ...lines.map(([, label], place) =>
      h("li", { "data-line": place }, h("i", { class: "stroke", "aria-hidden": "true" }), label && h("span", {}, label), values[place]),
    ),
  );
  const grid = svg("g", { class: "grid" });
  const paths = lines.map((_, place) => svg("path", { class: "line", "data-line": place }));
  const area = svg("path", { class: "area" });
  const cross = svg("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM });
  const drawing = svg("svg", { class: "plot", "aria-hidden": "true", height: HEIGHT }, grid, lines.length === 1 ? area : null, ...paths, cross);
  const element = h(
    "figure",
    { class: "panel chart" },
    h("figcaption", {}, h("span", { class: "chart-title" }, title), note && h("span", { class: "chart-note" }, note), when),
    legend,
    drawing,
  );

  let width = 0;
  let scale = null;
  new ResizeObserver(([entry]) => {
    width = Math.round(entry.contentRect.width);
    attribute(drawing, "viewBox", `0 0 ${width} ${HEIGHT}`);
    draw();
  }).observe(drawing);

  const move = (event) => {
    if (!scale) return;
    const box = drawing.getBoundingClientRect();
    point(scale.time(event.clientX - box.left));
  };
  drawing.addEventListener("pointermove", move);
  drawing.addEventListener("pointerdown", move);
  drawing.addEventListener("pointerleave", () => point(null));

  function draw() {
    if (width === 0) return;
    const all = lines.map(([column]) => series(column));
    const last = state.history.rows.at(-1)?.[0] ?? Date.now();
    const first = last - HISTORY_MS;
    const most = Math.max(0, ...all.flat().map(([, value]) => value ?? 0));
    const unit = step(most || 1);
    const top = Math.max(unit, Math.ceil((most * 1.02) / unit) * unit);
    const x = (at) => LEFT + ((at - first) / HISTORY_MS) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
    scale = { x, time: (place) => first + ((place - LEFT) / (width - LEFT - RIGHT)) * HISTORY_MS };

    const marks = [];
    for (let value = 0; value <= top + unit / 2; value += unit) {
      marks.push(svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
      marks.push(label(LEFT - 6, y(value) + 3.5, "end", format(value)));
    }
    const every = (width < 420 ? 15 : 10) * 60_000;
    for (let at = last; at >= first; at -= every) {
      const anchor = at === last ? "end" : x(at) < LEFT + 20 ? "start" : "middle";
      marks.push(label(x(at), HEIGHT - 5, anchor, at === last ? "now" : hourAndMinute(new Date(at))));
    }
    grid.replaceChildren(...marks);

    all.forEach((points, place) => attribute(paths[place], "d", line(points, x, y)));
    if (lines.length === 1) attribute(area, "d", under(all[0], x, y));
    read();
  }

  /** Writes the figures of now, or of where the pointer is. */
  function read() {
    const at = pointer.at;
    const shown = lines.map(([column]) => nearest(series(column), at));
    shown.forEach((found, place) => text(values[place], found?.[1] == null ? NONE : format(found[1])));
    const found = at !== null && shown.find(Boolean);
    text(when, found ? moment(found[0]) : "");
    if (found && scale) {
      attribute(cross, "x1", scale.x(found[0]));
      attribute(cross, "x2", scale.x(found[0]));
    }
    attribute(cross, "visibility", found ? "visible" : "hidden");
  }

  pointer.hear.add(read);
  subscribe((topics) => {
    // A view that is not shown has no width, and is drawn when it gets one.
    if (topics.has("history") && element.offsetParent !== null) draw();
  });
  return element;
}

function label(x, y, anchor, words) {
  return svg("text", { x, y, "text-anchor": anchor }, words);
}

/** The point closest to a time; the last one without a time. */
function nearest(points, at) {
  if (at === null) return points.at(-1);
  let best = null;
  for (const one of points) {
    if (best === null || Math.abs(one[0] - at) < Math.abs(best[0] - at)) best = one;
  }
  return best;
}

/** The pieces between gaps. */
function pieces(points) {
  const all = [];
  let before = null;
  for (const [at, value] of points) {
    if (value == null) {
      before = null;
      continue;
    }
    if (before === null || at - before > GAP_MS) all.push([]);
    all.at(-1).push([at, value]);
    before = at;
  }
  return all;
}

function line(points, x, y) {
  const draw = (piece) => {
    const [[at, value]] = piece;
    // A point alone is drawn as a dot: a line of no length with round ends.
    if (piece.length === 1) return `M${x(at).toFixed(1)},${y(value).toFixed(1)}h0.01`;
    return piece.map(([at, value], place) => `${place ? "L" : "M"}${x(at).toFixed(1)},${y(value).toFixed(1)}`).join("");
  };
  return pieces(points).map(draw).join("") || null;
}

function under(points, x, y) {
  const draw = (piece) => {
    const top = piece.map(([at, value]) => `L${x(at).toFixed(1)},${y(value).toFixed(1)}`).join("");
    return `M${x(piece[0][0]).toFixed(1)},${y(0)}${top}L${x(piece.at(-1)[0]).toFixed(1)},${y(0)}Z`;
  };
  return pieces(points).map(draw).join("") || null;
}
