// The line that makes a machine a node: what `llorch join-command` prints.

import { confirmation } from "./dialog.js";
import { h } from "./dom.js";
import { showOnce } from "./once.js";
import { field, options } from "./parts.js";
import { ask } from "./server.js";

const HOUR_MS = 3600_000;
const LIVES = [
  [HOUR_MS, "an hour"],
  [24 * HOUR_MS, "a day"],
  [7 * 24 * HOUR_MS, "a week"],
];

export function addNode() {
  const uses = h("input", { type: "number", min: 1, max: 10_000, value: 1, required: true });
  const life = h("select", {});
  options(life, LIVES);
  let made = null;
  confirmation({
    title: "Add a node",
    words: "This makes a line for the new machine, with a join token.",
    field: h("div", { class: "fields" }, field("Machines", uses), field("Valid for", life)),
    verb: "Make the line",
    async act() {
      const body = { uses: Number(uses.value), expires_in_ms: Number(life.value) };
      made = await ask("/v2/join-tokens", { method: "POST", body });
      return "The line is shown once.";
    },
    after() {
      showOnce({
        title: "Run this on the new machine",
        words: "As the user of the engines, with pool-managerd installed. It joins, and serves as a node until it is stopped.",
        label: "Line",
        value: joinLine(made),
      });
    },
  });
}

/** The address of this page, unless it is one of loopback, which means another machine there. */
function joinLine({ token, ca_sha256: pin, url }) {
  const { hostname, origin } = window.location;
  const isLoopback = hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
  let control = isLoopback && url ? url : origin;
  // One port has both, and with a CA machines join over TLS only.
  if (pin) control = control.replace(/^http:/, "https:");
  return ["pool-managerd join", control, "--token", token, ...(pin ? ["--ca-sha256", pin] : []), "--start"].join(" ");
}
