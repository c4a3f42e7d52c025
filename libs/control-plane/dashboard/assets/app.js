// The page: who is signed in, which view is shown, and whether the server is there.

import { announce, attribute, h, show, text } from "./dom.js";
import { events } from "./events.js";
import { explain } from "./explain.js";
import { ago } from "./format.js";
import { nodes } from "./nodes.js";
import { overview } from "./overview.js";
import { playground } from "./playground.js";
import { Listener, token } from "./server.js";
import { state, subscribe, takeEvent, takeHistory, takeNodes, takeStatus, tell } from "./store.js";

/** The state comes every second: after this long without it something is wrong. */
const SILENCE_MS = 10_000;
/** A hidden page closes its connections after this time; the charts lose nothing. */
const HIDDEN_MS = 60_000;

const VIEWS = { overview, nodes, events, playground, placement: explain };
const TITLES = { overview: "Overview", nodes: "Nodes", events: "Events", playground: "Playground", placement: "Placement" };

const main = document.getElementById("main");
const built = new Map();
let current = null;

// ---- Signing in

const secret = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true, spellcheck: "false" });
const refusedNote = h("p", { class: "problem", role: "alert", hidden: true });
const signIn = h(
  "section",
  { class: "sign-in panel", hidden: true, "aria-labelledby": "sign-in-title" },
  h("h1", { id: "sign-in-title" }, "Sign in"),
  h("p", {}, "This server asks for its API token, the value of ", h("code", {}, "LLORCH_API_TOKEN"), "."),
  h(
    "form",
    {
      onsubmit(event) {
        event.preventDefault();
        token.set(secret.value.trim());
        secret.value = "";
        begin();
      },
    },
    // For password managers, which want to know whose secret it is.
    h("input", { type: "text", autocomplete: "username", value: "llorch", readonly: true, hidden: true }),
    h("p", { class: "field" }, h("label", { for: "token" }, "API token"), secret, h("span", { class: "hint" }, "It is kept in this tab only, until you close it.")),
    refusedNote,
    h("p", {}, h("button", { type: "submit", class: "primary" }, "Sign in")),
  ),
);
main.append(signIn);

function signedOut(reason) {
  live.stop();
  log.stop();
  const tried = token.get() !== null;
  token.forget();
  state.session = "out";
  // Without a token the first refusal only says that one is needed.
  text(refusedNote, reason && (tried || reason.status === 403) ? reason.message : "");
  show(refusedNote, refusedNote.textContent !== "");
  link({ state: "out" });
  view();
  secret.focus();
}

document.getElementById("sign-out").addEventListener("click", () => signedOut(null));

// ---- The streams

const live = new Listener("/v2/live", {
  silenceMs: SILENCE_MS,
  onEvent({ event, data }) {
    const value = JSON.parse(data);
    if (event === "status") takeStatus(value);
    else if (event === "nodes") takeNodes(value);
    else if (event === "history") takeHistory(value);
  },
  onLink(now, detail) {
    if (now === "open") {
      if (state.session !== "in") {
        state.session = "in";
        log.start();
        view();
      }
      link({ state: "open" });
    } else if (now === "refused") signedOut(detail.reason);
    else link({ state: "waiting", ...detail });
  },
});

const log = new Listener("/v2/events", {
  onEvent({ data }) {
    const event = JSON.parse(data);
    takeEvent(event);
    if (event.kind === "node_offline" || event.kind === "quarantined") announce(event.message);
  },
  onLink(now, { reason } = {}) {
    if (now === "refused" && reason.status !== 404) signedOut(reason);
  },
});

function begin() {
  state.session = "waiting";
  link({ state: "connecting" });
  live.start();
}

function link(now) {
  const before = state.link.state;
  state.link = now;
  if (before === "waiting" && now.state === "open") announce("Connected again.");
  // The log may have given up its connection with the other one.
  if (now.state === "open" && before !== "open") log.hurry();
  tell("link");
}

let hidden = null;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hidden);
  if (document.hidden) {
    hidden = setTimeout(() => {
      if (state.session !== "in") return;
      live.stop();
      log.stop();
      state.link = { state: "paused" };
    }, HIDDEN_MS);
  } else if (state.link.state === "paused") {
    live.start();
    log.start();
  } else live.hurry();
});
addEventListener("online", () => live.hurry());

// ---- Whether the server is there

const mark = document.getElementById("link");
const banner = document.getElementById("banner");
const bannerWords = h("span");
// Hidden from screen readers, because it changes every second.
const bannerCount = h("span", { "aria-hidden": "true" });
banner.append(bannerWords, bannerCount, h("button", { type: "button", class: "small", onclick: () => live.hurry() }, "Try now"));
const WORDS = { connecting: "Connecting", open: "Live", waiting: "Not connected", paused: "Paused", out: "Signed out" };

function drawLink() {
  const { state: now, reason, until } = state.link;
  attribute(mark, "data-state", now);
  text(mark.lastElementChild, WORDS[now]);
  show(banner, now === "waiting");
  main.classList.toggle("stale", now === "waiting" && state.heardAt !== null);
  if (now !== "waiting") return;
  text(bannerWords, reason.message);
  const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
  const age = state.heardAt === null ? "" : `What you see is ${ago(Date.now() - state.heardAt)} old. `;
  text(bannerCount, age + (seconds > 0 ? `Trying again in ${seconds} s.` : "Trying again."));
}
setInterval(() => state.link.state === "waiting" && drawLink(), 1000);

// ---- Views

function view() {
  const name = location.hash.replace(/^#\/?/, "").split("?")[0];
  if (location.hash === "#main") return main.focus();
  const wanted = Object.hasOwn(VIEWS, name) ? name : "overview";
  const signedIn = state.session === "in";
  show(signIn, state.session === "out");
  show(document.getElementById("sign-out"), signedIn && token.get() !== null);
  if (signedIn && !built.has(wanted)) {
    const element = VIEWS[wanted]();
    built.set(wanted, element);
    main.append(element);
  }
  for (const [other, element] of built) show(element, signedIn && other === wanted);
  for (const tab of document.querySelectorAll(".tabs a")) {
    attribute(tab, "aria-current", tab.getAttribute("href") === `#/${wanted}` ? "page" : null);
  }
  document.title = signedIn ? `${TITLES[wanted]} · llorch` : "llorch";
  if (signedIn && current !== null && current !== wanted) scrollTo(0, 0);
  if (signedIn) current = wanted;
  tell("view", "nodes", "status", "events", "history");
}
addEventListener("hashchange", view);

let version = null;
subscribe((topics) => {
  if (topics.has("link")) drawLink();
  if (topics.has("status") && state.status) {
    const { version: now, profile } = state.status;
    version ??= now;
    text(document.getElementById("build"), version === now ? `${profile ?? ""} ${now ?? ""}`.trim() : `${now}: load the page again`);
  }
});

// ---- Light and dark

const THEMES = ["auto", "light", "dark"];
const theme = document.getElementById("theme");

function applyTheme(name) {
  document.documentElement.dataset.theme = name;
  text(theme, { auto: "Auto", light: "Light", dark: "Dark" }[name]);
  theme.setAttribute("aria-label", `Colours: ${name}. Press to change.`);
}
theme.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  localStorage.setItem("llorch-theme", next);
  applyTheme(next);
});
const kept = localStorage.getItem("llorch-theme");
applyTheme(THEMES.includes(kept) ? kept : "auto");

view();
begin();
