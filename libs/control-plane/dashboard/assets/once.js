// A dialog with a text that is shown once and copied: a token, or a line with one.

import { confirmation } from "./dialog.js";
import { h } from "./dom.js";
import { field } from "./parts.js";

export function showOnce({ title, words, label, value }) {
  const shown = h("input", { type: "text", readonly: true, class: "id", value, autocomplete: "off", spellcheck: "false" });
  confirmation({
    title,
    words,
    field: field(label, shown),
    first: shown,
    verb: "Copy and close",
    async act() {
      shown.select();
      // Pages over plain HTTP have no clipboard of the newer kind.
      const copied = await (navigator.clipboard?.writeText(value) ?? Promise.reject()).then(
        () => true,
        () => document.execCommand("copy"),
      );
      if (!copied) throw new Error("The browser does not copy: copy the selected text, and close.");
      return "It is copied.";
    },
    cancel: "Close",
  });
}
