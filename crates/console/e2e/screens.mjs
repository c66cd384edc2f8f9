// The screens of the documentation. `cargo xtask screenshots` runs it.

import { join } from "node:path";
import { TOKEN, URL_OF, VIP, api, clean, have, open, run, said, until } from "./browser.mjs";

const FOLDER = process.env.CONSOLE_SCREENS;
const WEB = `tcp:${VIP}:80`;
const WIDE = { width: 1280, height: 800 };

run(async (browser) => {
  const light = await page(browser, { colorScheme: "light", viewport: WIDE });
  const dark = await page(browser, { colorScheme: "dark", viewport: WIDE });
  const narrow = await page(browser, { colorScheme: "light", viewport: { width: 390, height: 844 } });
  const narrowDark = await page(browser, { colorScheme: "dark", viewport: { width: 390, height: 844 } });
  for (const one of [light, dark, narrow, narrowDark]) {
    await one.goto(`${URL_OF}/#/services/${encodeURIComponent(WEB)}`);
    await one.evaluate((token) => sessionStorage.setItem("dirigo-token", token), TOKEN);
    await one.reload();
  }
  // Something has happened, and charts have a shape.
  await api("/v1/maintenance", { order: "drain", server: "10.9.0.12", deadline_s: 3600 });
  await have("unplug server 6");
  await until("the lost server is seen", async () => (await api("/v1/health")).some((service) => service.destinations.some((one) => one.health === "down")));
  await claimed();
  await light.waitForTimeout(Number(process.env.CONSOLE_WARM_MS ?? 90_000));

  await shot(light, "service");
  await shot(dark, "service-dark");
  await shot(narrow, "service-narrow");
  // The first claim may have ended: it was not repeated.
  await claimed();
  for (const one of [light, dark, narrow, narrowDark]) await one.evaluate(() => { location.hash = "#/segment"; });
  await light.waitForTimeout(2500);
  await shot(light, "segment", true);
  await shot(dark, "segment-dark", true);
  await shot(narrowDark, "segment-narrow-dark", true);
  for (const [view, name] of [["services", "services"], ["servers", "servers"], ["events", "events"]]) {
    for (const one of [light, dark, narrow]) await one.evaluate((to) => { location.hash = `#/${to}`; }, view);
    await light.waitForTimeout(1500);
    await shot(light, name);
    if (view !== "servers") await shot(narrow, `${name}-narrow`);
    if (view === "services") await shot(dark, `${name}-dark`);
  }
  await to(light, "#/connections?state=ESTABLISHED&limit=100", ".rows tbody tr[data-key]");
  await shot(light, "connections");
  await to(dark, `#/explain?protocol=tcp&client=203.0.113.7:40000&virtual_address=${VIP}:443`, ".rules");
  await shot(dark, "explain-dark");
  await to(light, "#/explain?server=10.9.0.13", ".answer table");
  await shot(light, "explain-server");
  await to(light, "#/servers", ".rows tbody tr[data-key]");
  await light.locator("tr[data-key='10.9.0.11']").focus();
  await light.keyboard.press("d");
  await light.waitForSelector("dialog[open] summary");
  await until("its shares are said", async () => /\d %/.test(await light.locator(".preview").innerText()));
  await shot(light, "drain");
  await light.keyboard.press("Escape");
  await narrow.evaluate(() => { location.hash = "#/servers"; });
  await narrow.locator("tr[data-key='10.9.0.11']").focus();
  await narrow.keyboard.press("d");
  await narrow.waitForSelector("dialog[open] summary");
  await shot(narrow, "drain-narrow");
  await narrow.keyboard.press("Escape");
  await to(light, "#/trace", "form.asks");
  await light.fill("#t-service", WEB);
  await light.click("form.asks button[type=submit]");
  await until("frames come", async () => (await light.locator(".rows tbody tr[data-key]").count()) > 12);
  await until("they are counted", async () => /^[1-9]/.test(await light.locator(".seen").innerText()));
  await light.click("form.asks button[type=submit]");
  await light.locator(".rows tbody tr[data-key]").nth(2).click();
  await light.waitForSelector(".detail table");
  await shot(light, "trace");
  await light.evaluate(() => document.activeElement.blur());
  await light.keyboard.press("?");
  await shot(light, "keys");
  await light.keyboard.press("Escape");

  await api("/v1/maintenance", { order: "enable", server: "10.9.0.12" });
  await have("forget all");
  await to(light, "#/services", ".rows tbody tr[data-key]");
  await until("a thousand are listed", async () => (await light.locator(".seen").innerText()) === "1,000 services");
  await light.waitForTimeout(3000);
  await shot(light, "thousand");
  // The browser is on the director's host, which got other virtual addresses.
  for (const one of [light, dark, narrow, narrowDark]) clean(one, [/ERR_NETWORK_CHANGED/]);
  said(`screens in ${FOLDER}`);
});

async function claimed() {
  await until("the claim is heard", async () => {
    await have("claim the virtual address");
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return (await api("/v1/segment")).vips.some((one) => one.claims.length > 0);
  });
}

async function page(browser, options) {
  return open(browser, { ...options, reducedMotion: "reduce" });
}

async function to(one, place, selector) {
  await one.evaluate((to) => { location.hash = to; }, place);
  await one.waitForSelector(selector);
  await one.waitForTimeout(500);
}

/** `whole`: the view with all that is below. */
async function shot(one, name, whole = false) {
  const before = one.viewportSize();
  if (whole) {
    const height = await one.evaluate(() => {
      const view = document.querySelector(".view");
      return innerHeight - view.clientHeight + view.scrollHeight;
    });
    await one.setViewportSize({ width: before.width, height: Math.min(height, 2400) });
    await one.waitForTimeout(300);
  }
  await one.screenshot({ path: join(FOLDER, `${name}.png`), animations: "disabled" });
  if (whole) await one.setViewportSize(before);
}
