// A thousand services: few elements, and every one of them found.

import assert from "node:assert/strict";
import { URL_OF, api, clean, open, run, said, until } from "./browser.mjs";

const SERVICES = 1000;
/** Rows that fit on a screen, and some beyond it. */
const ROWS = 60;

run(async (browser) => {
  const page = await open(browser);
  const known = await api("/v1/services");
  assert.equal(known.length, SERVICES);
  const begun = performance.now();
  await page.goto(`${URL_OF}/#/services`);
  await page.waitForSelector(".rows tbody tr[data-key]");
  const first = performance.now() - begun;
  await until("all are counted", async () => (await page.locator(".seen").innerText()) === "1,000 services");
  const rows = page.locator(".rows tbody tr[data-key]");
  const count = await rows.count();
  assert.ok(count > 10 && count <= ROWS, `${count} rows are elements`);
  assert.equal(await page.locator(".rows table").getAttribute("aria-rowcount"), String(SERVICES + 1));
  assert.ok((await page.evaluate(() => document.querySelectorAll("*").length)) < 2500);
  said(`the first of ${SERVICES} services were seen after ${Math.round(first)} ms, in ${count} rows`);

  // To the end and back, every key once.
  const order = [...known.map((one) => one.service)].sort(new Intl.Collator("en", { numeric: true }).compare);
  const focused = () => page.evaluate(() => document.activeElement.dataset.key);
  await rows.first().focus();
  await page.keyboard.press("End");
  assert.equal(await focused(), order.at(-1));
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-rowindex")), String(SERVICES + 1));
  assert.ok(await page.evaluate(() => {
    const [row, box] = [document.activeElement, document.querySelector(".rows")].map((one) => one.getBoundingClientRect());
    return row.top >= box.top && row.bottom <= box.bottom;
  }), "the focus is on the screen");
  await page.keyboard.press("Home");
  assert.equal(await focused(), order[0]);
  const seen = new Set();
  while (seen.size < SERVICES) {
    const before = seen.size;
    for (const key of await rows.evaluateAll((all) => all.map((row) => row.dataset.key))) seen.add(key);
    assert.ok((await rows.count()) <= ROWS);
    await page.keyboard.press("PageDown");
    await page.waitForTimeout(30);
    if (seen.size === before && (await focused()) === order.at(-1)) break;
  }
  assert.equal(seen.size, SERVICES, "every service was an element once");

  await page.keyboard.press("/");
  const typed = performance.now();
  await page.keyboard.type("10.9.0.103:1249");
  await until("one is left", async () => (await rows.count()) === 1);
  said(`and one of them found after ${Math.round(performance.now() - typed)} ms of typing`);
  assert.equal(await rows.first().getAttribute("data-key"), "udp:10.9.0.103:1249");

  // While figures come each second, the page has time for people: no task is longer than they notice.
  await page.keyboard.press("Escape");
  const longest = await page.evaluate(() => new Promise((resolve) => {
    let most = 0;
    new PerformanceObserver((list) => {
      for (const one of list.getEntries()) most = Math.max(most, one.duration);
    }).observe({ type: "longtask" });
    setTimeout(() => resolve(most), 5000);
  }));
  said(`the longest task in 5 s of figures took ${Math.round(longest)} ms`);
  clean(page);
});
