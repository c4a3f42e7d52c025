// Removing a node that is gone for good.

import { confirmation } from "./dialog.js";
import { h, show } from "./dom.js";
import { ask } from "./server.js";

export function forgetButton(id) {
  const button = h("button", { type: "button", class: "small", "aria-label": `Forget ${id}`, onclick: () => confirm(id) }, "Forget");
  return {
    element: h("span", { class: "action" }, button),
    /** A node that lives would be back with its next heartbeat. */
    update(node) {
      show(button, node.status === "offline" || node.status === "unreachable");
    },
  };
}

function confirm(id) {
  confirmation({
    title: `Forget ${id}?`,
    words: "The node is removed from the list. If it comes back, it registers again.",
    verb: "Forget",
    warns: true,
    async act() {
      await ask(`/v2/nodes/${encodeURIComponent(id)}`, { method: "DELETE" });
      return `${id} is forgotten.`;
    },
  });
}
