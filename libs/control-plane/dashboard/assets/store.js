// What the page knows, and who wants to hear of it.

/** How many events are kept: more than anybody scrolls through, and a few MB at most. */
const MAX_EVENTS = 10_000;
/** How long the charts look back, and how far apart their points are. */
export const HISTORY_MS = 30 * 60_000;
const POINT_MS = 5000;

export const state = {
  /** "waiting" for the first answer, "out" (a token is needed), "in". */
  session: "waiting",
  /** How the stream is: `{ state: "connecting" | "open" | "waiting" | "paused", until, reason }`. */
  link: { state: "connecting" },
  /** When something was heard last. */
  heardAt: null,
  status: null,
  nodes: [],
  nodesAt: 0,
  selfSuspicion: false,
  /** Nodes that want to join and may not. */
  refusedNodes: [],
  /** Newest first. */
  events: [],
  /** False when this server keeps no event log. */
  hasEvents: true,
  /** Rows of numbers, oldest first, by name of the column. */
  history: { columns: [], rows: [] },
};

const listeners = new Set();
const changed = new Set();
let scheduled = false;

/** `hear(topics)` is called once per frame at most, with the set of what has changed, and never while hidden. */
export function subscribe(hear) {
  listeners.add(hear);
}

export function tell(...topics) {
  for (const topic of topics) changed.add(topic);
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    const topics = new Set(changed);
    changed.clear();
    for (const hear of listeners) hear(topics);
  });
}

/** How many nodes there are that the stream does not list: it names those that are not online first. */
export function notListed() {
  const by = state.status?.nodes;
  const all = by ? by.online + by.draining + by.unreachable + by.offline : 0;
  return Math.max(0, all - state.nodes.length);
}

export function takeNodes(answer) {
  state.nodes = answer.nodes ?? [];
  state.selfSuspicion = Boolean(answer.self_suspicion);
  state.refusedNodes = answer.refused_nodes ?? [];
  state.nodesAt = Date.now();
  tell("nodes");
}

export function takeStatus(status) {
  state.status = status;
  state.heardAt = Date.now();
  const traffic = status.traffic ?? {};
  const at = new Date(status.now ?? Date.now()).getTime();
  point({
    at,
    requests_per_s: traffic.requests_per_s,
    errors_per_s: traffic.errors_per_s,
    tokens_per_s: traffic.tokens_per_s,
    ...percentiles("first_token", traffic.first_token_ms),
    ...percentiles("inter_token", traffic.inter_token_ms),
    ...percentiles("queue", traffic.queue_ms),
    slots_free: status.slots?.free,
  });
  tell("status");
}

function percentiles(name, figures) {
  return { [`${name}_p50`]: figures?.p50, [`${name}_p90`]: figures?.p90, [`${name}_p99`]: figures?.p99 };
}

/** The last point is always now; it stays when it is old enough for another one. */
function point(values) {
  const { columns, rows } = state.history;
  if (columns.length === 0) columns.push(...Object.keys(values));
  const row = columns.map((name) => values[name] ?? null);
  const before = rows.at(-2)?.[0];
  if (rows.length > 1 && row[0] - before < POINT_MS) rows.pop();
  rows.push(row);
  while (rows.length > 2 && row[0] - rows[0][0] > HISTORY_MS) rows.shift();
  tell("history");
}

export function takeHistory({ columns, rows }) {
  const times = rows.map((row) => [new Date(row[0]).getTime(), ...row.slice(1)]);
  state.history = { columns: [...columns], rows: times };
  tell("history");
}

/** One column as `[time, value or null]`. */
export function series(name) {
  const { columns, rows } = state.history;
  const place = columns.indexOf(name);
  return rows.map((row) => [row[0], place < 0 ? null : row[place]]);
}

/** How long events are gathered before the list changes: they come one by one, and in thousands. */
const GATHER_MS = 50;

let gathered = [];

export function takeEvent(event) {
  if (gathered.length === 0) setTimeout(keep, GATHER_MS);
  gathered.push(event);
}

function keep() {
  // A server that was started again counts from the beginning, but its clock goes on.
  let newest = state.events[0];
  const isNew = (event) => {
    const fresh = !newest || event.id > newest.id || new Date(event.at) > new Date(newest.at);
    if (fresh) newest = event;
    return fresh;
  };
  const fresh = gathered.filter(isNew).reverse();
  gathered = [];
  if (fresh.length === 0) return;
  state.events = fresh.concat(state.events).slice(0, MAX_EVENTS);
  tell("events");
}
