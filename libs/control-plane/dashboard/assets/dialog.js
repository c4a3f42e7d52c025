// A dialog that asks before it acts, and shows why the server refused.

import { announce, h, show, text } from "./dom.js";

/**
 * `act` sends the request and returns what to announce; `field` is an element between the words and the buttons.
 * `first` has the focus, else the button. `after` is called when the dialog is closed because all went well.
 */
export function confirmation({ title, words, field, first, verb, cancel: no = "Cancel", warns, act, after }) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const cancel = h("button", { type: "button", onclick: close }, no);
  const go = h("button", { type: "submit", class: warns ? "primary warn" : "primary" }, verb);
  const form = h(
    "form",
    { method: "dialog", onsubmit: submit },
    h("h2", { id: "dialog-title" }, title),
    h("p", {}, words),
    field,
    problem,
    h("p", { class: "dialog-buttons" }, cancel, go),
  );
  const dialog = h("dialog", { "aria-labelledby": "dialog-title", onclose: () => dialog.remove() }, form);
  document.body.append(dialog);
  dialog.showModal();
  (first ?? go).focus();

  // At once: the event comes later, and the dialog may show a token.
  function close() {
    dialog.close();
    dialog.remove();
  }

  async function submit(event) {
    event.preventDefault();
    go.disabled = true;
    try {
      announce(await act());
      close();
      after?.();
    } catch (error) {
      text(problem, error.message);
      show(problem, true);
      go.disabled = false;
    }
  }
}
