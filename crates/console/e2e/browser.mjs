// A browser, what it complains of, and small helpers. A scenario fails by throwing.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

export const URL_OF = process.env.CONSOLE_URL;
export const TOKEN = process.env.CONSOLE_TOKEN;
export const VIP = process.env.CONSOLE_VIP;

/** Of a machine that has others to serve; nothing here is judged by its time. */
const PATIENCE_MS = 60_000;

const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
];

/** Opens a page that keeps account of everything that it should not do. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.complaints = [];
  page.failed = [];
  if (process.env.CONSOLE_ASSETS) await fromFolder(page, process.env.CONSOLE_ASSETS);
  /** Answers that a scenario provokes; the browser writes them to its console as errors. */
  page.expected = [];
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
    });
  });
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") page.complaints.push(message.text());
  });
  page.on("pageerror", (error) => page.complaints.push(`uncaught: ${error.stack}`));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== URL_OF && protocol !== "data:") page.complaints.push(`asked elsewhere: ${request.url()}`);
  });
  page.on("requestfailed", (request) => page.failed.push(request.url()));
  page.on("dialog", (dialog) => page.complaints.push(`a dialog of the browser: ${dialog.message()}`));
  return page;
}

/** While somebody works on them: files as they are in a folder, with the headers of those that are embedded. */
async function fromFolder(page, folder) {
  await page.route((url) => url.origin === URL_OF && (url.pathname === "/" || url.pathname.startsWith("/console/")), async (route) => {
    const { pathname } = new URL(route.request().url());
    const there = await route.fetch().catch(() => undefined);
    if (!there) return;
    const name = pathname === "/" ? "index.html" : pathname.slice("/console/".length);
    const kind = { js: "text/javascript", css: "text/css", svg: "image/svg+xml", html: "text/html; charset=utf-8" }[name.split(".").pop()];
    await route.fulfill({ status: 200, headers: { ...there.headers(), "content-type": kind, etag: "" }, body: readFileSync(join(folder, name)) });
  });
}

/** Nothing was complained of but what the scenario provoked. */
export function clean(page, expected = []) {
  const bad = page.complaints.filter((text) => !expected.some((one) => one.test(text)));
  assert.deepEqual(bad, [], "the browser complains");
}

export async function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: ARGUMENTS });
}

/** Waits until something is so, and returns it. */
export async function until(what, is) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await is();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the test that started us do something. */
export async function have(what) {
  console.log(`do: ${what}`);
  assert.equal((await answers.next()).value, "done");
}

/** Asks the API, past the page. */
export async function api(path, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(URL_OF + path, { ...options, headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" } });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

export function said(text) {
  console.log(`console: ${text}`);
}

/** Runs a scenario; the process ends as it ended. */
export async function run(scenario) {
  const browser = await launch();
  try {
    await scenario(browser);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
  await browser.close();
  process.exit();
}

/** Relative luminance and contrast. Source: WCAG 2.2, 1.4.3. */
export function contrasts() {
  const channels = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const of = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * of(r) + 0.7152 * of(g) + 0.0722 * of(b);
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = channels(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility() || element.closest("svg, .skip, .hidden, [disabled], noscript")) continue;
    if (element.closest("[aria-hidden=true]") && !element.matches(".shape")) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    seen += 1;
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.className} ${walk.currentNode.data.slice(0, 30)}`);
  }
  return { poor, seen };
}
