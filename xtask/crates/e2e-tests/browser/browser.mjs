// What every script here needs: a browser, its complaints, pictures, and a word with the test that runs it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";

const { LLORCH_NODE_MODULES, LLORCH_CHROMIUM, LLORCH_SCREENSHOTS } = process.env;
const require = createRequire(path.join(LLORCH_NODE_MODULES, "_.js"));
const { chromium } = require("playwright-core");
const AXE = require.resolve("axe-core/axe.min.js");

/** Longer than anything the page waits for, on a busy machine. */
const TIMEOUT_MS = 60_000;
const DESK = { width: 1360, height: 900 };
const PHONE = { width: 390, height: 844 };
// No sandbox, because CI runs as root; and nothing that asks other servers.
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export const LOOKS = {
  light: { viewport: DESK, colorScheme: "light" },
  dark: { viewport: DESK, colorScheme: "dark" },
  phone: { viewport: PHONE, colorScheme: "light" },
};

/** Runs `script({ open })`, where `open(look)` gives a page; closes the browser whatever happens. */
export async function withBrowser(script) {
  const browser = await chromium.launch({ executablePath: LLORCH_CHROMIUM, args: FLAGS });
  const complaints = [];
  try {
    await script({
      async open(look = "light") {
        const context = await browser.newContext(LOOKS[look]);
        const page = await context.newPage();
        page.setDefaultTimeout(TIMEOUT_MS);
        page.on("pageerror", (error) => complaints.push(error.stack));
        // Refused scripts and styles are told here; requests that fail are part of what is tested.
        page.on("console", (message) => message.text().includes("Content Security Policy") && complaints.push(message.text()));
        return page;
      },
    });
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
  }
}

export async function picture(page, name) {
  await page.screenshot({ path: path.join(LLORCH_SCREENSHOTS, `${name}.png`) });
}

/** No finding of axe that keeps somebody from using the page. */
export async function accessible(page, where) {
  // The page's policy allows no foreign script, so it is brought in by the debugger.
  if (!(await page.evaluate(() => "axe" in window))) {
    const { readFile } = await import("node:fs/promises");
    await page.evaluate(await readFile(AXE, "utf8"));
  }
  const { violations } = await page.evaluate(() => window.axe.run(document));
  const grave = violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, help, nodes }) => `${where}: ${id}: ${help}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`);
  assert.deepEqual(grave, []);
}

/** Presses Tab until the element has the focus, as somebody without a mouse does. */
export async function tabTo(page, locator, most = 80) {
  await locator.waitFor();
  for (let press = 0; press < most; press += 1) {
    if (await locator.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${most} times Tab do not lead to ${locator}`);
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Asks the test to do something to the cluster, and waits until it has. */
export async function need(what) {
  console.log(`need ${what}`);
  const { value } = await lines.next();
  assert.equal(value, "done", `the test did not do: ${what}`);
}

/** Ends the script: the standard input is open still. */
export function finish() {
  process.stdin.destroy();
}
