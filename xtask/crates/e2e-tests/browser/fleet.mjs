// The page before a scripted fleet: larger than any real cluster of a test, and in every state at once.

import assert from "node:assert/strict";

import { LOOKS, accessible, finish, picture, withBrowser } from "./browser.mjs";
import { Fleet, serve } from "./feed.mjs";

const VIEWS = ["overview", "nodes", "events", "keys", "playground", "placement"];
const NODES = 200;
const EVENTS = 10_000;
/** More than the stream lists. */
const HUGE = 10_000;
const LISTED = 500;
/** 500 closed lines of nodes and the rest of the page. */
const MOST_ELEMENTS_OF_HUGE = 25_000;
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

  // Keys with all states, and the dialogs about them.
  const many = await serve(new Fleet(3));
  for (const look of Object.keys(LOOKS)) {
    const page = await open(look);
    await page.goto(`${many.url}/#/keys`);
    await page.getByLabel("Show", { exact: true }).selectOption("all");
    await page.getByRole("row").filter({ hasText: "expired" }).waitFor();
    for (const button of ["Create key", "Limits: team 2", "Rotate: team 2", "Revoke: team 2"]) {
      await page.getByRole("button", { name: button, exact: true }).click();
      await page.getByRole("dialog").waitFor();
      await accessible(page, `${look}, ${button}`);
      await picture(page, `${look}-${button.replaceAll(/\W+/g, "-")}`);
      await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    }
    await page.context().close();
  }
  many.close();

  const large = await serve(new Fleet(NODES, { events: EVENTS }));
  const page = await open();
  await page.goto(`${large.url}/#/nodes`);
  await page.locator(".node").nth(NODES - 1).waitFor();
  assert.equal(await page.locator(".node").count(), NODES);
  const online = page.locator(".node").filter({ hasText: "online" }).first();
  await online.locator("[aria-expanded=false]").click();
  await online.locator(".gpus li").first().getByText(/ GiB.*\d % busy · \d+ °C · \d+ W/).waitFor();
  // A replica of a pool of several is drained by itself.
  await page.getByRole("button", { name: "gpu-02", exact: true }).click();
  await page.getByRole("button", { name: "Drain gpu-02 / chat / r1", exact: true }).waitFor();
  await page.getByRole("link", { name: "Events", exact: true }).click();
  await page.locator(".log li").first().waitFor();
  // All of them have come, and are found; drawn are only the newest.
  await page.getByRole("status").filter({ hasText: /^10\D?000 events$/ }).waitFor();
  const elements = await page.evaluate(() => document.getElementsByTagName("*").length);
  assert.ok(elements < MOST_ELEMENTS, `${elements} elements`);
  console.log(`${elements} elements with ${NODES} nodes and ${EVENTS} events`);
  large.close();

  const huge = await serve(new Fleet(HUGE, { listed: LISTED }));
  const crowd = await open();
  await crowd.goto(`${huge.url}/#/nodes`);
  await crowd.getByRole("status").filter({ hasText: /^500 nodes; 9\D?500 nodes more not listed/ }).waitFor();
  assert.equal(await crowd.locator(".node").count(), LISTED);
  // One of the others is found by its id.
  await crowd.getByLabel("Find").fill("gpu-7000");
  await crowd.locator(".node").filter({ hasText: "gpu-7000" }).waitFor();
  assert.equal(await crowd.locator(".node").count(), 1);
  await crowd.getByLabel("Find").fill("gpu-10001");
  await crowd.getByText("No node fits").waitFor();
  await crowd.getByLabel("Find").fill("");
  await crowd.locator(".node").nth(LISTED - 1).waitFor();
  const drawn = await crowd.evaluate(() => document.getElementsByTagName("*").length);
  assert.ok(drawn < MOST_ELEMENTS_OF_HUGE, `${drawn} elements`);
  await crowd.getByRole("link", { name: "Overview", exact: true }).click();
  await crowd.locator(".tile").filter({ hasText: /9\D?997 of 10\D?000/ }).first().waitFor();
  huge.close();

  const home = await serve(new Fleet(1, { profile: "home" }));
  const alone = await open();
  await alone.goto(`${home.url}/#/nodes`);
  await alone.getByRole("button", { name: "Drain gpu-01", exact: true }).waitFor();
  await alone.getByRole("button", { name: "Drain gpu-01 / code", exact: true }).waitFor();
  home.close();
});
finish();
