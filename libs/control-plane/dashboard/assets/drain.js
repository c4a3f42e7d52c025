// Drains of a node, a pool or a replica: the button, the question, and the progress.

import { confirmation } from "./dialog.js";
import { announce, h, show, text } from "./dom.js";
import { ago, plural } from "./format.js";
import { busySlots } from "./parts.js";
import { ask } from "./server.js";

const DEADLINES = [
  ["", "as long as they need"],
  ["60000", "1 minute"],
  ["300000", "5 minutes"],
  ["1800000", "30 minutes"],
];

/** `target` is `{ kind, path, name }`. */
export function drainButton(target) {
  let draining = false;
  const button = h("button", { type: "button", class: "small", onclick: () => confirm(target, draining) });
  return {
    element: h("span", { class: "action" }, button),
    update(drain, cannot) {
      draining = Boolean(drain);
      text(button, draining ? "Undrain" : "Drain");
      button.setAttribute("aria-label", `${draining ? "Undrain" : "Drain"} ${target.name}`);
      show(button, !(cannot && !draining));
    },
  };
}

function confirm(target, draining) {
  const deadline = h("select", { id: "drain-deadline" }, ...DEADLINES.map(([value, label]) => h("option", { value }, label)));
  const verb = draining ? "Undrain" : "Drain";
  confirmation({
    title: `${verb} ${target.name}?`,
    words: draining
      ? `The ${target.kind} gets requests again.`
      : `The ${target.kind} gets no new requests, those that run may finish. It can be undone at any time, and is remembered across restarts.`,
    field: draining ? null : h("p", { class: "field" }, h("label", { for: "drain-deadline" }, "Running requests may take"), deadline),
    verb,
    warns: !draining,
    async act() {
      const ms = Number(deadline.value);
      const body = draining || !ms ? undefined : { deadline_ms: ms };
      await ask(`${target.path}/${draining ? "undrain" : "drain"}`, { method: "POST", body });
      return draining ? `${target.name} gets requests again.` : `${target.name} drains.`;
    },
  });
}

/** How far a drain is: shown for as long as it lasts. */
export function drainProgress(name) {
  const words = h("span", {});
  const progress = h("progress", { "aria-label": `drain of ${name}` });
  const element = h("p", { class: "drain", hidden: true }, progress, words);
  let most = 0;
  let done = false;
  return {
    element,
    update(drain, pools) {
      show(element, Boolean(drain));
      if (!drain) {
        most = 0;
        done = false;
        return;
      }
      const reported = Math.max(drain.slots_busy ?? 0, pools.reduce((sum, pool) => sum + busySlots(pool), 0));
      const ours = pools.every((pool) => pool.requests_running != null)
        ? pools.reduce((sum, pool) => sum + pool.requests_running, 0)
        : null;
      // What we count is as of now; a report may be seconds old, and knows of the requests of others.
      const left = ours || reported;
      most = Math.max(most, left);
      progress.max = Math.max(1, most);
      progress.value = most === 0 ? 1 : most - left;
      text(words, inWords(left, ours, drain));
      if (left === 0 && !done) announce(`${name} is drained.`);
      done = left === 0;
    },
  };
}

function inWords(left, ours, drain) {
  const since = `for ${ago(drain.for_ms)}`;
  if (left === 0) return `Drained: nothing runs here. Draining ${since}.`;
  const limit = drain.deadline_ms == null ? "" : drain.deadline_ms > 0 ? `; ${ago(drain.deadline_ms)} until the deadline` : "; the deadline is over";
  if (ours === 0) return `Draining ${since}: nothing of ours runs here any more; waiting for the node to say so too${limit}`;
  return `Draining ${since}: ${plural(left, "request")} left${limit}`;
}
