// What an operator does on a real cluster of three nodes: `node cluster.mjs URL TOKEN WORDS`.

import assert from "node:assert/strict";

import { accessible, finish, need, picture, tabTo, withBrowser } from "./browser.mjs";

const [url, token, words] = process.argv.slice(2);
/** Far more words than are generated while a person drains a node. */
const MANY_WORDS = "7000";
const FIRST_RENDER_BYTES = 100_000;

await withBrowser(async ({ open }) => {
  const page = await open();
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Network.enable");
  let received = 0;
  devtools.on("Network.loadingFinished", ({ encodedDataLength }) => (received += encodedDataLength));
  const row = (name) => page.locator(".node").filter({ has: page.getByRole("button", { name, exact: true }) });
  const link = page.locator("#link");
  const live = () => page.locator("#link[data-state=open]").waitFor();
  const view = (name) => page.getByRole("link", { name, exact: true }).click();

  // Sign in: first with a wrong token.
  await page.goto(url);
  const field = page.getByLabel("Token", { exact: true });
  await field.waitFor();
  assert.ok(received > 0 && received < FIRST_RENDER_BYTES, `${received} bytes for the first render`);
  await accessible(page, "sign-in");
  await picture(page, "sign-in");
  await page.keyboard.type("wrong-token-0000");
  await page.keyboard.press("Enter");
  await page.locator(".sign-in .problem").waitFor();
  await tabTo(page, field);
  await page.keyboard.type(token);
  await page.keyboard.press("Enter");
  await live();
  const [cookie] = await page.context().cookies();
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], ["llorch_session", true, "Strict"]);
  assert.ok(!JSON.stringify(await page.evaluate(() => [{ ...localStorage }, { ...sessionStorage }, document.cookie])).includes(token));

  // Three nodes.
  await view("Nodes");
  for (const name of ["node-a", "node-b", "node-c"]) await row(name).locator(".node-head .state[data-kind=good]").waitFor();
  assert.equal(await page.locator(".node").count(), 3);
  await picture(page, "nodes");

  // A chat.
  const settings = async (label, value) => page.getByLabel(label, { exact: true }).fill(value);
  const answer = () => page.locator(".answer").last();
  await view("Playground");
  await page.getByLabel("Model", { exact: true }).selectOption("tiny");
  await page.getByLabel("Node", { exact: true }).selectOption("node-b");
  await settings("Most tokens", "12");
  await settings("Temperature", "0");
  await page.getByLabel("Message", { exact: true }).fill("count");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Send" }).waitFor();
  await answer().locator(".ran").filter({ hasText: "ran on node-b / pool-0 / r0" }).filter({ hasText: "12 tokens" }).waitFor();
  assert.equal((await answer().locator(".words").textContent()).trim(), words.trim());
  await answer().locator(".timing").waitFor();
  await picture(page, "playground");

  // A key: made, shown once, used, limited, rotated and revoked.
  const press = async (button) => {
    await page.getByRole("button", { name: button, exact: true }).click();
    return page.getByRole("dialog");
  };
  const shownToken = async () => {
    const dialog = page.getByRole("dialog").filter({ hasText: "Token of shop" });
    const shown = await dialog.getByLabel("Token", { exact: true }).inputValue();
    await dialog.getByRole("button", { name: "Close", exact: true }).click();
    // A closed one has no role any more, and may still be in the page.
    await page.locator("dialog").filter({ hasText: "Token of shop" }).waitFor({ state: "detached" });
    assert.match(shown, /^llorch_/);
    assert.ok(!(await page.content()).includes(shown));
    return shown;
  };
  const chat = async (key) => {
    const body = JSON.stringify({ model: "tiny", max_tokens: 4, messages: [{ role: "user", content: "count" }] });
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    return (await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body })).status;
  };
  await view("Nodes");
  await tabTo(page, page.getByRole("button", { name: "Add a node", exact: true }));
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByRole("button", { name: "Make the line", exact: true }).click();
  const joining = page.getByRole("dialog").filter({ hasText: "Run this on the new machine" });
  const line = await joining.getByLabel("Line", { exact: true }).inputValue();
  assert.ok(line.startsWith(`pool-managerd join ${url} --token llorch_`) && line.endsWith(" --start"), line);
  await picture(page, "add-node");
  await joining.getByRole("button", { name: "Close", exact: true }).click();
  await view("Keys");
  const shop = page.getByRole("row").filter({ hasText: "shop" });
  await tabTo(page, page.getByRole("button", { name: "Create key", exact: true }));
  await page.keyboard.press("Enter");
  await page.getByLabel("Name", { exact: true }).fill("shop");
  await page.getByText("Limits", { exact: true }).last().click();
  await page.getByLabel("Requests a minute").fill("60");
  await picture(page, "create-key");
  await page.getByRole("dialog").getByRole("button", { name: "Create", exact: true }).click();
  const first = await shownToken();
  assert.equal(await chat(first), 200);
  await shop.filter({ hasText: "60 rpm" }).filter({ hasText: "valid" }).waitFor();
  const limits = await press("Limits: shop");
  await limits.getByLabel("Requests a minute").fill("");
  await limits.getByLabel("Models, separated by commas").fill("other");
  await limits.getByRole("button", { name: "Change", exact: true }).click();
  await shop.filter({ hasText: "other" }).waitFor();
  assert.equal(await chat(first), 403);
  const rotation = await press("Rotate: shop");
  await rotation.getByLabel("The old token stays valid").selectOption("no longer");
  await rotation.getByRole("button", { name: "Rotate", exact: true }).click();
  const second = await shownToken();
  assert.equal(await chat(first), 401);
  assert.equal(await chat(second), 403);
  // Its usage comes with the next look.
  await page.getByRole("row").filter({ hasText: "tiny" }).filter({ hasText: "shop" }).waitFor();
  await picture(page, "keys");
  await (await press("Revoke: shop")).getByRole("button", { name: "Revoke", exact: true }).click();
  await page.getByRole("button", { name: "Revoke: shop", exact: true }).waitFor({ state: "detached" });
  assert.equal(await chat(second), 401);

  // A drain under a stream, by keyboard alone.
  await view("Playground");
  await settings("Most tokens", MANY_WORDS);
  await page.getByLabel("Message", { exact: true }).fill("count");
  await page.keyboard.press("Enter");
  await answer().locator(".words").filter({ hasText: "one two" }).waitFor();
  await view("Nodes");
  await tabTo(page, page.getByRole("button", { name: "Drain node-b", exact: true }));
  await page.keyboard.press("Enter");
  await tabTo(page, page.getByRole("dialog").getByRole("button", { name: "Drain", exact: true }));
  await picture(page, "drain-dialog");
  await page.keyboard.press("Enter");
  await row("node-b").locator(".drain").filter({ hasText: "1 request left" }).first().waitFor();
  await picture(page, "draining");
  await view("Playground");
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await answer().locator(".ran").filter({ hasText: "stopped by you" }).waitFor();
  await view("Nodes");
  await row("node-b").locator(".drain").filter({ hasText: "Drained: nothing runs here" }).first().waitFor();
  await picture(page, "drained");
  await tabTo(page, page.getByRole("button", { name: "Undrain node-b", exact: true }));
  await page.keyboard.press("Enter");
  await tabTo(page, page.getByRole("dialog").getByRole("button", { name: "Undrain", exact: true }));
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await row("node-b").locator(".node-head .state[data-kind=good]").waitFor();

  // A node dies.
  await need("kill node-c");
  await row("node-c").locator(".node-head").getByText(/^(unreachable|offline)$/).waitFor();
  await picture(page, "node-gone");

  // It is gone for good.
  await tabTo(page, page.getByRole("button", { name: "Forget node-c", exact: true }));
  await page.keyboard.press("Enter");
  await tabTo(page, page.getByRole("dialog").getByRole("button", { name: "Forget", exact: true }));
  await picture(page, "forget-dialog");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await row("node-c").waitFor({ state: "detached" });

  // The server goes, and comes back.
  await need("stop");
  await page.locator("#banner").filter({ hasText: /server/ }).waitFor();
  assert.equal(await link.textContent(), "Not connected");
  await picture(page, "server-gone");
  await need("start");
  // Sessions end with the server that keeps them.
  await field.waitFor();
  await page.locator(".sign-in .problem").filter({ hasText: "session has ended" }).waitFor();
  await field.fill(token);
  await page.keyboard.press("Enter");
  await live();
  await page.locator("#banner").waitFor({ state: "hidden" });
  await row("node-a").locator(".node-head .state[data-kind=good]").waitFor();
  assert.equal(await row("node-c").count(), 0);

  // Who may only look sees nothing to press.
  const authorization = `Bearer ${token}`;
  const made = await fetch(`${url}/v2/keys`, {
    method: "POST",
    headers: { authorization, "content-type": "application/json" },
    body: JSON.stringify({ name: "viewer", scopes: ["observer"] }),
  });
  const viewer = await made.json();
  await page.getByRole("button", { name: "Sign out" }).click();
  await field.fill(viewer.token);
  await page.keyboard.press("Enter");
  await live();
  await view("Nodes");
  await row("node-a").locator(".node-head .state[data-kind=good]").waitFor();
  assert.equal(await page.getByRole("button", { name: /^Drain/ }).count(), 0);
  assert.equal(await page.getByRole("link", { name: "Playground" }).count(), 0);
  await view("Keys");
  await page.getByRole("row").filter({ hasText: "shop" }).filter({ hasText: "tiny" }).waitFor();
  assert.equal(await page.getByRole("button", { name: /Create key|Rotate|Revoke|Limits/ }).count(), 0);
  assert.equal(await page.getByRole("table", { name: "Keys of this server" }).count(), 0);
  await picture(page, "viewer");
});
finish();
