// The page before a scripted fleet: larger than any real cluster of a test, and in every state at once.

import assert from "node:assert/strict";

import { LOOKS, accessible, finish, picture, withBrowser } from "./browser.mjs";
import { Fleet, serve } from "./feed.mjs";

const VIEWS = ["overview", "nodes", "events", "playground", "placement"];
const NODES = 200;
const EVENTS = 10_000;
/** 200 closed lines of nodes, one page of events and the rest of the page; not 10 000 of anything. */
const MOST_ELEMENTS = 12_000;

await withBrowser(async ({ open }) => {
  const small = await serve(new Fleet(14, { events: 60 }));
  for (const look of Object.keys(LOOKS)) {
    const page = await open(look);
    for (const view of VIEWS) {
      await page.goto(`${small.url}/#/${view}`);
      await page.locator("#link[data-state=open]").waitFor();
      await page.locator(`.view:not([hidden]) h1`).waitFor();
      await picture(page, `${look}-${view}`);
      await accessible(page, `${look}, ${view}`);
    }
    await page.context().close();
  }
  small.close();

  const large = await serve(new Fleet(NODES, { events: EVENTS }));
  const page = await open();
  await page.goto(`${large.url}/#/nodes`);
  await page.locator(".node").nth(NODES - 1).waitFor();
  assert.equal(await page.locator(".node").count(), NODES);
  const online = page.locator(".node").filter({ hasText: "online" }).first();
  await online.locator("[aria-expanded=false]").click();
  await online.locator(".gpus li").first().getByText(/ GiB.*\d % busy · \d+ °C · \d+ W/).waitFor();
  await page.getByRole("link", { name: "Events", exact: true }).click();
  await page.locator(".log li").first().waitFor();
  // All of them have come, and are found; drawn are only the newest.
  await page.getByRole("status").filter({ hasText: /^10\D?000 events$/ }).waitFor();
  const elements = await page.evaluate(() => document.getElementsByTagName("*").length);
  assert.ok(elements < MOST_ELEMENTS, `${elements} elements`);
  console.log(`${elements} elements with ${NODES} nodes and ${EVENTS} events`);
  large.close();
});
finish();
