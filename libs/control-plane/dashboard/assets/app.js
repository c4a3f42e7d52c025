// The page: who is signed in, which view is shown, and whether the server is there.

import { announce, attribute, h, show, text } from "./dom.js";
import { events } from "./events.js";
import { explain } from "./explain.js";
import { ago } from "./format.js";
import { keys } from "./keys.js";
import { nodes } from "./nodes.js";
import { overview } from "./overview.js";
import { playground } from "./playground.js";
import { Listener, Refused, session } from "./server.js";
import { state, subscribe, takeEvent, takeHistory, takeNodes, takeStatus, tell } from "./store.js";

/** The state comes every second: after this long without it something is wrong. */
const SILENCE_MS = 10_000;
/** A hidden page closes its connections after this time; the charts lose nothing. */
const HIDDEN_MS = 60_000;

const VIEWS = { overview, nodes, events, keys, playground, placement: explain };
/** Which scopes a view needs: one of them. */
const NEEDS = { overview: ["observer"], nodes: ["observer"], events: ["observer"], keys: ["observer"], playground: ["client"], placement: ["client", "observer"] };
const TITLES = { overview: "Overview", nodes: "Nodes", events: "Events", keys: "Keys", playground: "Playground", placement: "Placement" };

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
  h("p", {}, "This server asks for a token: that of a key, or the value of ", h("code", {}, "LLORCH_API_TOKEN"), "."),
  h(
    "form",
    {
      onsubmit(event) {
        event.preventDefault();
        const token = secret.value.trim();
        secret.value = "";
        session.open(token).then(begin, signedOut);
      },
    },
    // For password managers, which want to know whose secret it is.
    h("input", { type: "text", autocomplete: "username", value: "llorch", readonly: true, hidden: true }),
    h("p", { class: "field" }, h("label", { for: "token" }, "Token"), secret, h("span", { class: "hint" }, "It is sent once. You stay signed in for twelve hours, or until you sign out.")),
    refusedNote,
    h("p", {}, h("button", { type: "submit", class: "primary" }, "Sign in")),
  ),
);
main.append(signIn);

let tried = false;

function signedOut(reason) {
  live.stop();
  log.stop();
  const said = reason && (tried || reason.status === 403);
  session.close();
  state.session = "out";
  // The first refusal only says that a token is needed.
  text(refusedNote, said ? reason.message : "");
  tried = true;
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
      if (state.session !== "in") enter();
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

/** Asks who is signed in, and shows what they may see. */
async function begin() {
  state.session = "waiting";
  link({ state: "connecting" });
  try {
    await session.look();
  } catch (reason) {
    if (reason.status === 401) return signedOut(reason);
    // The stream says that the server does not answer, and tries again.
  }
  if (session.scopes === null || session.may("observer")) return live.start();
  if (!session.may("client")) return signedOut(new Refused(403, "FORBIDDEN", "This token is for a node, and not for people."));
  link({ state: "open" });
  enter();
}

async function enter() {
  state.session = "in";
  if (session.scopes === null) await session.look().catch(() => {});
  if (session.may("observer")) log.start();
  view();
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
  const signedIn = state.session === "in";
  const allowed = Object.keys(VIEWS).filter((view) => session.may(...NEEDS[view]));
  const wanted = allowed.includes(name) ? name : (allowed[0] ?? "overview");
  attribute(document.body, "data-may", (session.scopes ?? []).join(" "));
  show(signIn, state.session === "out");
  show(document.getElementById("sign-out"), signedIn && session.isCookie);
  if (signedIn && !built.has(wanted)) {
    const element = VIEWS[wanted]();
    built.set(wanted, element);
    main.append(element);
  }
  for (const [other, element] of built) show(element, signedIn && other === wanted);
  for (const tab of document.querySelectorAll(".tabs a")) {
    const of = tab.getAttribute("href").slice(2);
    attribute(tab, "aria-current", of === wanted ? "page" : null);
    show(tab, !signedIn || allowed.includes(of));
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
