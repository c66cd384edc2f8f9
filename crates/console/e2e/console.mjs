// Everything that the console does, on one director with traffic.

import assert from "node:assert/strict";
import { TOKEN, URL_OF, VIP, api, clean, contrasts, have, open, run, said, until } from "./browser.mjs";

const WEB = `tcp:${VIP}:80`;
const DNS = `udp:${VIP}:53`;
const SERVER = "10.9.0.11";

const go = async (page, place) => {
  await page.evaluate((to) => { location.hash = to; }, place);
};
const text = (page, selector) => page.locator(selector).first().innerText();
const rows = (page) => page.locator(".rows tbody tr[data-key]");

run(async (browser) => {
  const page = await open(browser);
  await page.goto(URL_OF);
  await segment(page);
  await services(page);
  await keyboard(page);
  await explain(page);
  await connections(page);
  await liveEvent(page);
  clean(page);
  await readsOnly(page);
  await signedIn(page);
  await trace(page);
  await claimed(page);
  await columns(page);
  const refused = /401 \(Unauthorized\)/;
  clean(page, [refused]);
  await otherDaemon(page);
  clean(page, [refused, /ERR_CONNECTION_REFUSED/, /ERR_INCOMPLETE_CHUNKED_ENCODING/, /ERR_CONNECTION_RESET/, /ERR_EMPTY_RESPONSE/, /ERR_SOCKET_NOT_CONNECTED/]);
  await shades(browser);
  await narrow(browser);
});

async function segment(page) {
  await page.waitForSelector(".map svg");
  await until("both real servers are drawn", async () => (await page.locator(".map a.card").count()) === 2);
  const map = await page.locator(".map svg").textContent();
  for (const word of [SERVER, "10.9.0.12", VIP, "eth0", "02:00:00:09:00:0b", "director, eth0"]) assert.ok(map.includes(word), `${word} is on the map: ${map}`);
  assert.ok(await page.evaluate(() => {
    const [box, drawing] = [document.querySelector(".map"), document.querySelector(".map svg")].map((one) => one.getBoundingClientRect());
    return drawing.height > 100 && drawing.bottom <= box.bottom && drawing.right <= box.right;
  }), "all of the map is seen");
  await until("it is live", async () => (await text(page, "#live")) === "Live");
  await until("the total has points", async () => Number(await page.locator(".chart").first().getAttribute("data-points")) >= 3);
  const link = page.locator(".map a.card").first();
  await link.focus();
  await page.keyboard.press("Enter");
  await page.waitForURL(/#\/servers\?filter=/);
  await until("that server alone is listed", async () => (await rows(page).count()) === 1);
  said("the map shows director, virtual address and real servers");
}

async function services(page) {
  await go(page, "#/services");
  await until("two services are listed", async () => (await rows(page).count()) === 2);
  const known = await api("/v1/services");
  assert.deepEqual((await rows(page).evaluateAll((all) => all.map((row) => row.dataset.key))).sort(), known.map((one) => one.service).sort());
  const web = rows(page).filter({ hasText: WEB });
  await until("traffic is seen in the table", async () => Number((await web.locator("td.c-packets").innerText()).replace(/\D/g, "")) > 0);
  assert.equal(await web.locator(".state .words").innerText(), "ok");

  await page.fill("input[type=search]", "udp mh");
  await until("one row is left", async () => (await rows(page).count()) === 1);
  assert.match(await text(page, ".seen"), /1 of 2 services/);
  await page.fill("input[type=search]", "nothing is so");
  await until("no row is left", async () => (await rows(page).count()) === 0);
  assert.match(await text(page, ".rows .empty"), /Esc empties the filter/);
  await page.keyboard.press("Escape");
  await until("all are there again", async () => (await rows(page).count()) === 2);

  // Sorted by another column, by mouse.
  await page.click("th.c-packets .sorter");
  await until("the busy one is first", async () => (await rows(page).first().getAttribute("data-key")) === WEB);
  assert.equal(await page.locator("th.c-packets").getAttribute("aria-sort"), "descending");

  await web.click();
  await page.waitForURL(new RegExp(`#/services/${encodeURIComponent(WEB)}`));
  const points = async () => Number(await page.locator(".chart").first().getAttribute("data-points"));
  await until("its chart has points", async () => (await points()) >= 2);
  const before = await points();
  await until("more come", async () => (await points()) >= before + 2);
  await until("its value is above 0", async () => Number(await text(page, ".chart .value")) > 0);
  assert.ok(await page.locator(".chart canvas").first().evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) colours.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
    return colours.size > 1;
  }), "something is drawn");
  await until("its destinations are listed", async () => (await rows(page).count()) === 2);
  const weights = await rows(page).locator("td.c-weight").allInnerTexts();
  assert.deepEqual(weights, ["1", "3"]);
  await until("a destination's figures are live", async () => (await rows(page).locator("td.c-packets").allInnerTexts()).some((one) => Number(one) > 0));
  assert.match(await text(page, ".checks-of"), /web \(tcp\)/);
  said("services, filter, live charts, destinations and checks");
}

async function keyboard(page) {
  await page.goto(`${URL_OF}/#/segment`);
  await page.reload();
  await page.waitForSelector(".map svg");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip", "the first Tab offers to skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");

  await page.keyboard.press("2");
  await page.waitForSelector(".view.services");
  await until("rows are there", async () => (await rows(page).count()) === 2);
  const focused = () => page.evaluate(() => document.activeElement.dataset.key);
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), WEB);
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), DNS);
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement.cells[0]).boxShadow), "none", "the focus is seen");
  await page.keyboard.press("End");
  assert.equal(await focused(), DNS);
  await page.keyboard.press("Home");
  assert.equal(await focused(), WEB);
  assert.equal(await page.locator(".rows tbody tr[tabindex='0']").count(), 1, "one row has the place");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".view.services .chart");
  await page.keyboard.press("Escape");
  await page.waitForSelector(".view.services input[type=search]");
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.type), "search");
  await page.keyboard.type("mh");
  await until("one row is left", async () => (await rows(page).count()) === 1);
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  assert.equal(await focused(), DNS, "Esc leads from the filter to the row that was left");

  await page.keyboard.press("?");
  await page.waitForSelector("dialog[open]");
  for (let step = 0; step < 4; step += 1) {
    await page.keyboard.press("Tab");
    const outside = await page.evaluate(() => document.activeElement !== document.body && !document.activeElement.closest("dialog"));
    assert.ok(!outside, "the focus stays in the dialog");
  }
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("dialog").count(), 0);
  assert.equal(await focused(), DNS, "and comes back to where it was");
  for (const [key, name] of ["segment", "services", "servers", "connections", "events", "explain", "trace"].entries()) {
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press(String(key + 1));
    await page.waitForSelector(`.view.${name}`);
    assert.equal(await page.locator("#views a[aria-current=page]").getAttribute("data-name"), name);
  }
  said("every view, row and dialog by keyboard");
}

async function explain(page) {
  await go(page, "#/explain");
  const client = "203.0.113.7:40000";
  await page.selectOption("#e-protocol", "udp");
  await page.fill("#e-client", client);
  await page.fill("#e-virtual_address", `${VIP}:53`);
  await page.keyboard.press("Enter");
  await page.waitForSelector(".rules");
  const found = await api(`/v1/explain?protocol=udp&client=${client}&virtual_address=${VIP}:53`);
  const answer = await text(page, ".answer");
  for (const word of [`to ${found.fate.destination}`, found.fate.mac, `(${found.fate.counter})`, `slot ${found.decision.slot} of ${found.decision.slots}`, "scheduler mh", found.otherwise.counter]) {
    assert.ok(answer.includes(word), `${word}: ${answer}`);
  }
  await page.click(".answer summary");
  assert.deepEqual(JSON.parse(await text(page, ".answer pre")), found);
  // The reverse.
  await page.fill("#e-server", SERVER);
  await page.keyboard.press("Enter");
  await until("what goes to a real server is said", async () => (await text(page, ".verdict")).includes(`What goes to ${SERVER}`));
  const { services: shares } = await api(`/v1/explain/server?server=${SERVER}`);
  assert.equal(shares.length, 2);
  const table = await text(page, ".answer table");
  for (const one of shares) assert.ok(table.includes(one.service) && table.includes(one.scheduler), table);
  assert.equal(shares.find((one) => one.service === WEB).share, 2500, "weight 1 of 4");
  assert.match(table, /25 %/);

  await page.fill("#e-client", "nobody");
  await page.keyboard.press("Enter");
  await until("what is wrong is said", async () => /nobody|invalid|socket address/i.test(await text(page, ".answer")));
  page.complaints = page.complaints.filter((one) => !/400 \(Bad Request\)/.test(one));
  said("explain says what the API says, and what is wrong");
}

async function connections(page) {
  await go(page, `#/connections?service=${encodeURIComponent(WEB)}&state=ESTABLISHED`);
  await until("connections are listed", async () => (await rows(page).count()) > 0);
  for (const line of await rows(page).allInnerTexts()) assert.ok(line.includes("ESTABLISHED") && line.includes(`${VIP}:80`), line);
  await page.fill("#c-destination", SERVER);
  await page.keyboard.press("Enter");
  await until("only that server's are left", async () => {
    // They come and go: each asking is of its moment.
    await page.click("form.asks button[type=submit]");
    await page.waitForTimeout(200);
    const lines = await rows(page).locator("td.c-destination").allInnerTexts();
    return lines.length > 0 && lines.every((line) => line === `${SERVER}:80`);
  });
  await page.fill("#c-client", "not-an-address");
  await page.keyboard.press("Enter");
  await until("the refusal is shown", async () => (await page.locator(".wrong").innerText()).includes("not-an-address"));
  page.complaints = page.complaints.filter((one) => !/400 \(Bad Request\)/.test(one));
  said("connections by condition, and the API's own words when one is wrong");
}

async function liveEvent(page) {
  await go(page, "#/events");
  await until("what is remembered is there", async () => (await page.locator(".rows").innerText()).includes("daemon started"));
  const service = `tcp:${VIP}:8081`;
  await api("/v1/changes", { change: "add-service", service, settings: { scheduler: "rr" } });
  await until("the event comes by itself", async () => {
    const first = await rows(page).first().innerText();
    return first.includes("service added") && first.includes(service) && first.includes("by api");
  });
  await page.fill("input[type=search]", "service added");
  await until("one is left", async () => (await rows(page).count()) === 1);
  await page.keyboard.press("Escape");
  await rows(page).first().click();
  await page.waitForSelector(".detail dl");
  assert.match(await text(page, ".detail"), /service-added|info/);
  await page.check("input[type=checkbox]");
  await until("no info is left", async () => !(await page.locator(".rows").innerText()).includes("service added"));
  await go(page, "#/services");
  await until("the new service is listed, and that nobody serves", async () => (await rows(page).filter({ hasText: service }).innerText().catch(() => "")).includes("no destination"));
  assert.equal(await text(page, "[data-badge=services]"), "1");
  await api("/v1/changes", { change: "delete-service", service });
  await until("and gone again", async () => (await rows(page).count()) === 2);
  said("an event and its service appear, live");
}

async function openDrain(page) {
  await go(page, "#/servers");
  const row = rows(page).filter({ hasText: SERVER });
  await row.focus();
  await page.keyboard.press("d");
  await page.waitForSelector("dialog.drain[open]");
}

async function readsOnly(page) {
  await openDrain(page);
  const preview = await text(page, ".preview");
  for (const word of [WEB, DNS, "10.9.0.12:80", "10.9.0.12:53"]) assert.ok(preview.includes(word), `${word}: ${preview}`);
  await until("its shares are said", async () => /25 %/.test(await text(page, ".preview")));
  assert.match(await text(page, ".may"), /sign in/i);
  await page.click("dialog button[type=submit]");
  await until("the refusal is said", async () => /Not done: .*token/.test(await page.locator("dialog .wrong").innerText()));
  assert.deepEqual(await api("/v1/maintenance"), [], "nothing was changed");
  // Nothing of the page's storage is a token, and there is no cookie.
  assert.deepEqual(await page.evaluate(() => [Object.keys(sessionStorage), document.cookie]), [[], ""]);
  said("without a token it reads, and says why it does not change");
}

async function signedIn(page) {
  await page.click("dialog .wrong button");
  await page.waitForSelector("#token");
  await page.fill("#token", "wrong-0123456789abcdef");
  await page.keyboard.press("Enter");
  await until("a wrong token is refused", async () => /not the token/.test(await page.locator("#wrong").innerText()));
  await page.fill("#token", TOKEN);
  await page.keyboard.press("Enter");
  await until("the dialog is closed", async () => (await page.locator("#token").count()) === 0);

  await page.selectOption("#drain-scope", WEB);
  await until("the preview is of that service", async () => !(await text(page, ".preview")).includes(DNS));
  await page.selectOption("#drain-deadline", "600");
  await page.click("dialog button[type=submit]");
  await until("the dialog is closed", async () => (await page.locator("dialog").count()) === 0);
  const [order] = await api("/v1/maintenance");
  assert.equal(order.server, SERVER);
  assert.equal(order.service, WEB);
  assert.ok(order.deadline_s > 500 && order.deadline_s <= 600, String(order.deadline_s));
  const held = (await api("/v1/services")).find((one) => one.service === WEB).destinations.find((one) => one.destination === `${SERVER}:80`);
  assert.equal(held.settings.weight, 0);
  assert.equal(held.held_weight, 1);
  const row = rows(page).filter({ hasText: SERVER });
  await until("the table says so", async () => /maintenance/.test(await row.innerText()));
  await until("the badge says so", async () => (await text(page, "[data-badge=servers]")) === "1");

  await row.focus();
  await page.keyboard.press("e");
  await page.waitForSelector("dialog[open]");
  assert.match(await text(page, "dialog"), new RegExp(WEB));
  await page.click("dialog button[type=submit]");
  await until("it serves again", async () => /serves/.test(await row.innerText()));
  assert.deepEqual(await api("/v1/maintenance"), []);
  said("with the token it drains one service, as previewed, and enables again");
}

async function trace(page) {
  await go(page, "#/trace");
  await page.fill("#t-service", WEB);
  await page.click("form.asks button[type=submit]");
  await until("frames come", async () => (await rows(page).count()) > 3);
  const line = await rows(page).first().innerText();
  assert.match(line, /sent/);
  assert.match(line, /TCP/);
  assert.match(line, /10\.9\.0\.1[12]:80/);
  await until("the tally is told", async () => /told of/.test(await text(page, ".seen")));
  await rows(page).first().click();
  await page.waitForSelector(".detail table");
  const hops = await text(page, ".detail");
  assert.match(hops, /02:00:00:09:00:02/, "the director's MAC");
  assert.match(hops, /02:00:00:09:00:0[bc]/, "the real server's");
  const before = page.failed.filter((url) => url.endsWith("/v1/trace")).length;
  await go(page, "#/segment");
  await until("leaving the view ends the trace", () => page.failed.filter((url) => url.endsWith("/v1/trace")).length > before);
  // Four fit: all four places are free.
  const stops = [];
  await until("its place is free", async () => {
    while (stops.length < 4) {
      const stop = new AbortController();
      const answer = await fetch(`${URL_OF}/v1/trace`, { method: "POST", body: "{}", headers: { authorization: `Bearer ${TOKEN}` }, signal: stop.signal });
      if (!answer.ok) return false;
      stops.push(stop);
    }
    return true;
  });
  for (const stop of stops) stop.abort();
  said("a trace is shown frame by frame, and ends with its view");
}

/** Every column that is shown has room for its content's beginning. */
async function columns(page) {
  for (const width of [1280, 1000, 800, 390]) {
    await page.setViewportSize({ width, height: 800 });
    for (const view of ["services", `services/${encodeURIComponent(WEB)}`, "servers", "connections", "events"]) {
      await go(page, `#/${view}`);
      await page.waitForTimeout(300);
      await page.waitForSelector(".rows tbody tr[data-key]");
      const thin = await page.evaluate(() => [...document.querySelectorAll(".rows th")].filter((one) => one.checkVisibility() && one.clientWidth < (one.matches(".c-state") ? 84 : 56)).map((one) => one.className));
      assert.deepEqual(thin, [], `${view} at ${width}`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  said("every column has its room, from 1280 to 390 pixels");
}

async function claimed(page) {
  await go(page, "#/segment");
  await until("the claim is on the map", async () => {
    await have("claim the virtual address");
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const map = await page.locator(".map svg").textContent();
    return map.includes("also claimed by") && map.includes("02:00:00:09:00:01") && map.includes(`claims ${VIP}`);
  });
  assert.equal(await text(page, "[data-badge=segment]"), "1");
  await have("unplug server 2");
  await until("the lost server is on the map, with the reason", async () => /10\.9\.0\.12.*■ (down:|no answer)/.test(await page.locator(".map svg").textContent()));
  await go(page, `#/services/${encodeURIComponent(WEB)}`);
  await until("and in its service", async () => /1 of 2 out/.test(await text(page, ".stand")));
  said("who else answers ARP, and who is lost, is on the map");
}

async function otherDaemon(page) {
  await go(page, `#/services/${encodeURIComponent(WEB)}`);
  const points = async () => Number(await page.locator(".chart").first().getAttribute("data-points"));
  await until("the chart has points", async () => (await points()) >= 2);
  await have("kill the daemon");
  await page.waitForSelector("#banner:not([hidden])");
  assert.match(await text(page, "#banner"), /Trying again/);
  assert.match(await text(page, "#live"), /Not connected/);
  const before = await points();
  await have("start the daemon");
  await until("the banner goes by itself", async () => page.locator("#banner").isHidden());
  await until("the chart goes on", async () => (await points()) >= before + 3);
  await go(page, "#/events");
  await until("the new daemon's events are there", async () => (await page.locator(".rows").innerText()).includes("took") || (await page.locator(".rows").innerText()).split("daemon started").length > 2);
  said("a daemon that goes away is said, and the next one is found");
}

async function shades(browser) {
  const grounds = [];
  for (const colorScheme of ["light", "dark"]) {
    const page = await open(browser, { colorScheme });
    await page.goto(URL_OF);
    await page.waitForSelector(".map svg");
    for (const view of ["segment", "services", `services/${encodeURIComponent(WEB)}`, "servers", "connections", "events", "explain", "trace"]) {
      await go(page, `#/${view}`);
      await page.waitForTimeout(400);
      const { poor, seen } = await page.evaluate(contrasts);
      assert.ok(seen > 10);
      assert.deepEqual(poor, [], `${colorScheme} ${view}: contrast below 4.5`);
    }
    grounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("t");
    await page.keyboard.press(colorScheme === "light" ? "t" : "Shift");
    const other = await page.evaluate(() => document.documentElement.dataset.shade);
    assert.notEqual(other, colorScheme, "t changes the shade");
    await page.reload();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.shade), other, "and it stays");
    clean(page);
    await page.context().close();
  }
  assert.notEqual(grounds[0], grounds[1]);
  said("light and dark have contrasts of 4.5 and more in every view");
}

async function narrow(browser) {
  const page = await open(browser, { viewport: { width: 390, height: 844 } });
  await page.goto(URL_OF);
  await page.waitForSelector(".map svg");
  for (const view of ["segment", "services", `services/${encodeURIComponent(WEB)}`, "servers", "connections", "events", "explain", "trace"]) {
    await go(page, `#/${view}`);
    await page.waitForTimeout(300);
    const width = await page.evaluate(() => Math.max(document.scrollingElement.scrollWidth, document.querySelector(".view").scrollWidth));
    assert.ok(width <= 390, `${view} is ${width} wide on a screen of 390`);
  }
  await go(page, "#/services");
  await page.waitForSelector(".rows tbody tr[data-key]");
  assert.ok(await page.locator("td.c-state .words").first().isVisible(), "the state is never left out");
  clean(page);
  await page.context().close();
  said("nothing is cut off on a screen of 390 pixels");
}
