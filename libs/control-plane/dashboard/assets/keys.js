// Keys: who may use the service, for what, and how much of it. And what they have used.

import { attribute, h, keyed, show, text } from "./dom.js";
import { ago, plural } from "./format.js";
import { changeLimits, createKey, revokeKey, rotateKey } from "./key-dialogs.js";
import { limitsInWords } from "./key-limits.js";
import { badge, empty, field, options } from "./parts.js";
import { ask, session } from "./server.js";
import { subscribe } from "./store.js";
import { usage } from "./usage.js";

/** How often the view asks while it is shown: keys change when people change them. */
const REFRESH_MS = 15_000;

export function keys() {
  const list = keyPanel();
  const used = usage();
  const element = h(
    "section",
    { class: "view", "aria-labelledby": "keys-title" },
    h("h1", { id: "keys-title" }, "Keys"),
    list.element,
    used.element,
  );

  function refresh() {
    // The server shows keys to operators only. Who signs in after one must not see them either.
    const mayChange = session.may("operator");
    show(list.element, mayChange);
    if (!mayChange) list.forget();
    if (element.offsetParent === null) return;
    if (mayChange) list.refresh();
    used.refresh();
  }
  setInterval(refresh, REFRESH_MS);
  subscribe((topics) => {
    if (topics.has("view")) refresh();
  });
  return element;
}

/** The keys of the server, and the buttons that change them. */
function keyPanel() {
  const which = h("select", { onchange: redraw });
  const create = h("button", { type: "button", class: "primary", onclick: () => createKey(refresh) }, "Create key");
  const summary = h("p", { class: "faint", role: "status" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const body = h("tbody");
  const heads = ["Name", "Id", "Scopes", "State", "Ends", "Limits"].map((label) => h("th", { scope: "col" }, label));
  const table = h(
    "div",
    { class: "scroll", hidden: true },
    h(
      "table",
      { class: "stack" },
      h("caption", { class: "unseen" }, "Keys of this server"),
      h("thead", {}, h("tr", {}, ...heads, h("td", {}))),
      body,
    ),
  );
  const nothing = empty("No key is in use", "A key gives a client, a node, an observer or an operator a token of its own, with limits if you like.");
  const element = h(
    "div",
    { class: "panel" },
    h("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, field("Show", which), h("p", { class: "field buttons action" }, create), summary),
    problem,
    table,
    nothing,
  );
  options(which, [
    ["valid", "keys in use"],
    ["all", "all, those included that have ended"],
  ]);
  let all = [];

  async function refresh() {
    try {
      const found = await everyKey();
      if (session.may("operator")) all = found;
      show(problem, false);
    } catch (error) {
      // The stream says whether the server is there, and asks for the sign-in.
      text(problem, error.message);
      show(problem, error.status !== 0 && error.status !== 401);
    }
    redraw();
  }

  function redraw() {
    const shown = all.filter((key) => which.value === "all" || key.valid);
    shown.sort((a, b) => a.name.localeCompare(b.name) || a.created_at_ms - b.created_at_ms);
    keyed(
      body,
      shown,
      (key) => key.key_id,
      () => keyRow(refresh),
    );
    text(summary, plural(shown.length, "key"));
    show(table, shown.length > 0);
    show(nothing, shown.length === 0);
  }

  function forget() {
    all = [];
    redraw();
  }

  return { element, refresh, forget };
}

/** All keys, page by page. */
async function everyKey() {
  const all = [];
  let after = "";
  do {
    const page = await ask(`/v2/keys${after && `?after=${encodeURIComponent(after)}`}`);
    all.push(...page.keys);
    after = page.next_after ?? "";
  } while (after);
  return all;
}

function keyRow(changed) {
  let key = null;
  const mark = badge();
  const cell = (label) => h("td", { "data-label": label });
  const name = h("th", { scope: "row" });
  const [id, scopes, ends, limits] = ["Id", "Scopes", "Ends", "Limits"].map(cell);
  id.classList.add("id");
  const button = (verb, act) => h("button", { type: "button", class: "small", onclick: () => act(key, changed) }, verb);
  const buttons = [
    ["Limits", button("Limits", changeLimits)],
    ["Rotate", button("Rotate", rotateKey)],
    ["Revoke", button("Revoke", revokeKey)],
  ];
  const actions = h("td", { class: "wide" }, h("span", { class: "actions action" }, ...buttons.map(([, button]) => button)));
  return {
    element: h("tr", {}, name, id, scopes, h("td", { "data-label": "State" }, mark.element), ends, limits, actions),
    update(now) {
      key = now;
      text(name, now.name);
      text(id, now.key_id);
      text(scopes, now.scopes.join(", ") + (now.node ? ` (${now.node})` : ""));
      mark.set(...stateOf(now));
      text(ends, endOf(now));
      attribute(ends, "title", now.expires_at_ms == null ? null : new Date(now.expires_at_ms).toISOString());
      text(limits, limitsInWords(now.limits));
      for (const [verb, button] of buttons) button.setAttribute("aria-label", `${verb}: ${now.name}`);
      const isRevoked = now.revoked_at_ms != null;
      for (const [, button] of buttons) show(button, !isRevoked);
      // Only a key that may use models has limits.
      const mayUse = now.scopes.some((scope) => scope === "client" || scope === "operator");
      if (!mayUse) show(buttons[0][1], false);
    },
  };
}

function endOf(key) {
  if (key.expires_at_ms == null) return "never";
  const left = key.expires_at_ms - Date.now();
  return left > 0 ? `in ${ago(left)}` : `${ago(-left)} ago`;
}

function stateOf(key) {
  if (key.revoked_at_ms != null) return ["bad", "revoked"];
  if (!key.valid) return ["idle", "expired"];
  const left = (key.previous_valid_until_ms ?? 0) - Date.now();
  return left > 0 ? ["busy", `valid, old token for ${ago(left)}`] : ["good", "valid"];
}
