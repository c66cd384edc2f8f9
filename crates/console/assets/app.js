// The frame around the views: where one is, keys, light and dark, signing in, and whether the director is heard.

import { get, setToken, token } from "./api.js";
import { announce, ask, h, put, say } from "./dom.js";
import { span } from "./format.js";
import { again, begin, on, store } from "./store.js";
import * as connections from "./views/connections.js";
import * as events from "./views/events.js";
import * as explain from "./views/explain.js";
import * as segment from "./views/segment.js";
import * as servers from "./views/servers.js";
import * as services from "./views/services.js";
import * as trace from "./views/trace.js";

const VIEWS = [
  ["segment", "Segment", segment],
  ["services", "Services", services],
  ["servers", "Real servers", servers],
  ["connections", "Connections", connections],
  ["events", "Events", events],
  ["explain", "Explain", explain],
  ["trace", "Trace", trace],
];

const main = document.getElementById("main");
let current;

// --- where one is: #/services/tcp:192.0.2.100:80?state=…

function place() {
  const text = location.hash.replace(/^#\/?/, "");
  const [path, conditions] = text.split("?");
  const [name, ...rest] = path.split("/");
  return { name: name || "segment", rest: rest.map(decodeURIComponent), conditions: new URLSearchParams(conditions) };
}

function show() {
  const { name, rest, conditions } = place();
  const [, label, view] = VIEWS.find(([one]) => one === name) ?? VIEWS[0];
  current?.leave?.();
  const root = h("div", { class: `view ${name}` });
  put(main, root);
  current = view.enter(root, { rest, conditions });
  document.title = `${[current.title ?? label, store.status?.instance].filter(Boolean).join(" · ")} · Dirigo`;
  for (const link of document.querySelectorAll("#views a")) {
    if (link.dataset.name === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.querySelector('#views a[aria-current="page"]')?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function navigation() {
  put(document.getElementById("views"), VIEWS.map(([name, label], index) =>
    h("a", { href: `#/${name}`, "data-name": name }, h("kbd", { "aria-hidden": "true" }, index + 1), label,
      h("span", { class: "badge", "data-badge": name, hidden: true }))));
}

/** What is wrong is seen from every view. */
function badges() {
  const bad = (lines) => lines.filter((line) => line.grade === "bad").length;
  const counts = {
    services: bad(store.lines),
    segment: store.segment?.vips.filter((vip) => vip.claims.length > 0).length ?? 0,
    servers: store.maintenance.length,
  };
  const words = { services: "not served as they should be", segment: "claimed by others", servers: "in maintenance" };
  for (const [name, count] of Object.entries(counts)) {
    const badge = document.querySelector(`[data-badge="${name}"]`);
    badge.hidden = count === 0;
    badge.classList.toggle("calm", name === "servers");
    say(badge, String(count));
    badge.title = `${count} ${words[name]}`;
    badge.setAttribute("aria-label", badge.title);
  }
}

// --- whether the director is heard

function life() {
  const live = document.getElementById("live");
  const banner = document.getElementById("banner");
  const trouble = store.trouble;
  live.className = `live ${trouble ? "bad" : store.heard ? "good" : "none"}`;
  say(live, trouble ? "Not connected" : store.heard ? "Live" : "Connecting");
  banner.hidden = !trouble;
  if (!trouble) {
    put(banner);
    return;
  }
  const age = store.heard ? ` What is shown is ${span((Date.now() - store.heard) / 1000)} old.` : "";
  if (!banner.firstChild) {
    put(banner, h("span", { class: "words" }), h("button", { type: "button", onclick: again }, "Try now"));
  }
  say(banner.firstChild, `${trouble.message} Trying again every second.${age}`);
}

function access() {
  const sign = document.getElementById("sign");
  const may = store.access === "change";
  say(sign, token() ? "Sign out" : "Sign in");
  sign.title = may ? "You may change" : "You may read";
  document.documentElement.dataset.access = store.access ?? "";
  say(document.getElementById("instance"), store.status ? store.status.instance : "");
  document.getElementById("instance").title = may ? "may change" : "reads only";
}

// --- signing in

export async function signIn(reason) {
  const field = h("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false", required: true });
  const wrong = h("p", { class: "wrong", role: "alert", id: "wrong" });
  const form = h("form", { method: "dialog" },
    h("h2", {}, "Sign in"),
    h("p", {}, reason ?? "Reading may need no token here; changing always does."),
    h("label", { for: "token" }, "Token"), field,
    h("p", { class: "note" }, "The word in token_file of the director's [api]. It stays in this tab and is forgotten with it."),
    wrong,
    h("div", { class: "actions" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      h("button", { type: "submit", class: "main" }, "Sign in")));
  const dialog = h("dialog", { class: "small", "aria-label": "Sign in" }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const may = await get("/v1/access", AbortSignal.timeout(10_000), field.value.trim());
      setToken(field.value.trim());
      store.access = may;
      access();
      announce(may === "change" ? "Signed in: you may change." : "Signed in: you may read.");
      dialog.close("done");
    } catch (error) {
      say(wrong, error.message);
      field.select();
    }
  });
  return (await ask(dialog)) === "done";
}

document.addEventListener("sign-in", (event) => signIn(event.detail));

let asking = false;
async function shut(error) {
  if (asking || document.querySelector("dialog[open]")) return;
  asking = true;
  if (token() && error.status === 401) setToken(undefined);
  await signIn(error.message);
  asking = false;
  draw();
}

// --- light and dark

const SHADES = ["auto", "light", "dark"];
const ICONS = { auto: "◐", light: "☀", dark: "☾" };
const dark = matchMedia("(prefers-color-scheme: dark)");

function shade(chosen) {
  const shown = chosen === "auto" ? (dark.matches ? "dark" : "light") : chosen;
  document.documentElement.dataset.shade = shown;
  const button = document.getElementById("shade");
  button.textContent = ICONS[chosen];
  button.title = `Light or dark: ${chosen}`;
  button.setAttribute("aria-label", button.title);
  document.dispatchEvent(new Event("theme"));
}

function chosenShade() {
  const kept = localStorage.getItem("dirigo-shade");
  return SHADES.includes(kept) ? kept : "auto";
}

function nextShade() {
  const next = SHADES[(SHADES.indexOf(chosenShade()) + 1) % SHADES.length];
  localStorage.setItem("dirigo-shade", next);
  shade(next);
}

// --- keys

const KEYS = [
  ["1 … 7", "the views, in their order"],
  ["/", "filter, or the first field"],
  ["↑ ↓ j k", "from row to row; Page Up, Page Down, Home, End"],
  ["Enter", "open the row"],
  ["Esc", "leave the filter; go back"],
  ["d", "drain the row's real server: shows what it means, and asks"],
  ["e", "enable it again, and asks"],
  ["t", "light, dark, or as the system says"],
  ["?", "this"],
];

function help() {
  const dialog = h("dialog", { class: "small", "aria-label": "Keys" },
    h("h2", {}, "Keys"),
    h("dl", { class: "keys" }, KEYS.map(([keys, does]) => [h("dt", {}, keys.split(" ").map((key) => (key === "…" ? " … " : h("kbd", {}, key)))), h("dd", {}, does)])),
    h("p", { class: "note" }, store.status ? `Dirigo ${store.status.version}, up for ${span(store.status.uptime_s)}. Charts: uPlot, MIT licence.` : "Charts: uPlot, MIT licence."),
    h("form", { method: "dialog", class: "actions" }, h("button", { class: "main" }, "Close")));
  ask(dialog);
}

function isTyping(target) {
  return target.matches("input, select, textarea, [contenteditable]");
}

function key(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  if (isTyping(event.target)) {
    if (event.key !== "Escape") return;
    if (event.target.type === "search" && event.target.value) {
      event.target.value = "";
      event.target.dispatchEvent(new Event("input", { bubbles: true }));
    } else if (!current?.focusRows?.()) {
      event.target.blur();
    }
    event.preventDefault();
    return;
  }
  const view = VIEWS[Number(event.key) - 1];
  if (view) location.hash = `#/${view[0]}`;
  else if (event.key === "?") help();
  else if (event.key === "t") nextShade();
  else if (event.key === "/") {
    const field = main.querySelector("input[type=search], form input, form select");
    field?.focus();
    field?.select?.();
  } else if (event.key === "Escape" && current?.back) location.hash = current.back;
  else if ((event.key === "ArrowDown" || event.key === "j") && !event.target.closest("table, .map") && current?.focusRows?.()) {
    // The first of the rows has the focus now.
  } else return;
  event.preventDefault();
}

// --- beginning

function draw() {
  access();
  badges();
  life();
}

navigation();
shade(chosenShade());
dark.addEventListener("change", () => shade(chosenShade()));
document.getElementById("shade").addEventListener("click", nextShade);
document.getElementById("help").addEventListener("click", help);
document.getElementById("sign").addEventListener("click", () => {
  if (!token()) {
    signIn();
    return;
  }
  setToken(undefined);
  announce("Signed out.", "none");
});
document.addEventListener("keydown", key);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => {
  show();
  main.focus({ preventScroll: true });
});
on("lists", draw);
on("trouble", life);
on("shut", shut);
setInterval(() => store.trouble && life(), 1000);
show();
begin();
