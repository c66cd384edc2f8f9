// Virtual services: all of them, and one with its charts and destinations.

import { bars, Chart } from "../chart.js";
import { h, put, say, state } from "../dom.js";
import { drain, enable } from "../drain.js";
import { bits, count, short, span } from "../format.js";
import { destinationLines } from "../model.js";
import { on, service as find, store, watch } from "../store.js";
import { Table } from "../table.js";

export function enter(root, { rest, conditions }) {
  return rest.length > 0 ? one(root, rest.join("/")) : all(root, conditions);
}

export function link(key) {
  return `#/services/${encodeURIComponent(key)}`;
}

// --- all

const GRADES = { bad: 0, warning: 1, good: 2 };

const COLUMNS = [
  { name: "service", label: "Service", grow: true, value: (line) => line.key, same: (line) => line.key, cell: (line) => h("a", { href: link(line.key), tabindex: "-1", title: line.key }, line.key) },
  { name: "scheduler", label: "Scheduler", wide: true, value: (line) => line.scheduler, cell: (line) => line.scheduler },
  { name: "state", label: "State", value: (line) => GRADES[line.grade], same: (line) => line.grade + line.words, cell: (line) => state(line.grade, line.words) },
  { name: "destinations", label: "Servers", number: true, wide: true, value: (line) => line.destinations, cell: (line) => `${line.good}/${line.destinations}` },
  { name: "active", label: "Active", number: true, descends: true, value: (line) => line.active, cell: (line) => short(line.active) },
  { name: "new", label: "New/s", number: true, wide: true, descends: true, value: (line) => line.connections, cell: (line) => short(line.connections) },
  { name: "packets", label: "Packets/s", number: true, descends: true, value: (line) => line.packets, cell: (line) => short(line.packets) },
  { name: "bytes", label: "Traffic", number: true, wide: true, descends: true, value: (line) => line.bytes, cell: (line) => bits(line.bytes) },
  { name: "bars", label: "Over time", wide: true, paint: (cell, line) => bars(cell, line.bars) },
];

function all(root, conditions) {
  const seen = h("span", { class: "seen", role: "status" });
  const field = h("input", { type: "search", placeholder: "Filter: address, scheduler, state", "aria-label": "Filter services", value: conditions.get("filter") ?? "", spellcheck: "false" });
  const bad = h("input", { type: "checkbox" });
  const table = new Table(COLUMNS, {
    label: "Virtual services",
    key: (line) => line.key,
    open: (line) => {
      location.hash = link(line.key);
    },
    grade: (line) => line.grade,
    sort: { name: "service", down: false },
    counted: (shown, all) => say(seen, shown === all ? count(all, "service") : `${shown} of ${count(all, "service")}`),
    empty: (all) => empty(all, field.value),
  });
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    table.only((line) => words.every((word) => line.text.includes(word)) && (!bad.checked || line.grade !== "good"));
  };
  field.addEventListener("input", filter);
  bad.addEventListener("change", filter);
  put(root, h("div", { class: "head" }, h("h1", {}, "Services"), seen),
    h("div", { class: "filters" }, field, h("label", { class: "check" }, bad, " only with something wrong")),
    table.box);
  table.set(store.lines);
  filter();
  const ends = [on("lists", () => table.set(store.lines)), on("figures", () => figures(table))];
  return {
    focusRows: () => (table.go(table.focus), true),
    leave() {
      for (const end of ends) end();
      table.close();
    },
  };
}

/** What is sorted by figures is sorted anew each second; while somebody walks through it, it stays. */
function figures(table) {
  const moves = ["active", "new", "packets", "bytes"].includes(table.sort.name);
  if (moves && !table.body.contains(document.activeElement)) table.arrange();
  else table.draw();
}

function empty(all, filter) {
  if (!store.status) return "Asking the director …";
  if (all > 0) return `No service has “${filter}” in it or matches. Esc empties the filter.`;
  return "There is no virtual service yet. Add one to the configuration, or with: dirigo ipvsadm -A -t ADDRESS:PORT -s wrr";
}

// --- one

function one(root, key) {
  watch(key);
  const title = h("h1", {}, key);
  const stand = h("span", { class: "stand" });
  const facts = h("dl", { class: "facts" });
  const charts = [
    new Chart("Packets/s", [{ label: "", colour: "one", of: 2 }], short),
    new Chart("New connections/s", [{ label: "", colour: "two", of: 1 }], short),
    new Chart("Connections", [{ label: "active", colour: "one", of: 4 }, { label: "inactive", colour: "three", of: 5 }], short),
  ];
  const table = new Table(destinationColumns(key), {
    label: `Destinations of ${key}`,
    key: (line) => line.address,
    grade: (line) => line.grade,
    keys: { d: (line) => drain(line.server, key), e: (line) => enable(line.server) },
    open: (line) => {
      location.hash = `#/connections?service=${encodeURIComponent(key)}&destination=${encodeURIComponent(line.server)}`;
    },
    sort: { name: "destination", down: false },
    empty: () => (store.status ? "It has no destination: every client is refused." : "Asking the director …"),
  });
  table.box.classList.add("short");
  const checks = h("section", { class: "checks-of" });
  const body = h("div", { class: "body" },
    facts,
    h("div", { class: "charts three" }, charts.map((chart) => chart.element)),
    h("h2", {}, "Destinations"), table.box, checks);
  put(root, h("div", { class: "head" }, h("a", { class: "up", href: "#/services" }, "Services"), h("span", { "aria-hidden": "true" }, "/"), title, stand), body);

  const lists = () => {
    const found = find(key);
    if (!found) {
      if (store.status) put(body, h("p", { class: "empty" }, "There is no such service now. ", h("a", { href: "#/services" }, "All services"), "."));
      return;
    }
    if (!body.contains(facts)) return one(root, key);
    const line = store.byKey.get(key);
    put(stand, state(line.grade, line.words));
    put(facts, factsOf(found.service, found.health));
    table.set(destinationLines(found.service, found.health).map(live));
    put(checks, checksOf(found.health));
  };
  const figures = () => {
    for (const chart of charts) chart.set(store.watched.history);
    for (const line of table.all) live(line);
    table.draw();
  };
  lists();
  figures();
  const ends = [on("lists", lists), on("figures", figures)];
  return {
    title: key,
    back: "#/services",
    focusRows: () => (table.go(table.focus), true),
    leave() {
      for (const end of ends) end();
      for (const chart of charts) chart.close();
      table.close();
      watch(undefined);
    },
  };
}

/** The figures of the stream are newer than those of the list. */
function live(line) {
  const told = store.destinations.get(line.address);
  if (told) [line.connections, line.packets, line.bytes, line.active, line.inactive] = told;
  return line;
}

function destinationColumns(key) {
  return [
    { name: "destination", label: "Destination", grow: true, value: (line) => line.address, cell: (line) => line.address },
    { name: "state", label: "State", value: (line) => GRADES[line.grade], same: (line) => line.grade + line.words, cell: (line) => state(line.grade, line.words) },
    { name: "weight", label: "Weight", number: true, descends: true, value: (line) => line.weight ?? -1, cell: (line) => (line.held !== undefined ? `0 (${line.held})` : line.weight ?? "–") },
    { name: "active", label: "Active", number: true, descends: true, value: (line) => line.active, cell: (line) => short(line.active) },
    { name: "inactive", label: "Inactive", number: true, wide: true, descends: true, value: (line) => line.inactive, cell: (line) => short(line.inactive) },
    { name: "new", label: "New/s", number: true, wide: true, descends: true, value: (line) => line.connections, cell: (line) => short(line.connections) },
    { name: "packets", label: "Packets/s", number: true, descends: true, value: (line) => line.packets, cell: (line) => short(line.packets) },
    {
      name: "acts", label: "", same: (line) => `${line.server}${line.held}`, cell: (line) => h("span", { class: "acts" },
        line.held === undefined
          ? h("button", { type: "button", onclick: () => drain(line.server, key), tabindex: "-1" }, "Drain")
          : h("button", { type: "button", onclick: () => enable(line.server), tabindex: "-1" }, "Enable")),
    },
  ];
}

function factsOf(service, health) {
  const { settings, stats } = service;
  const facts = [
    ["Scheduler", settings.scheduler + ((settings.flags ?? []).length ? ` (${settings.flags.join(", ")})` : "")],
    ["From", service.origin === "config" ? "configuration" : "runtime"],
    ["Connections so far", short(stats.connections)],
    ["Packets so far", short(stats.packets)],
  ];
  if (settings.persistence) facts.push(["Persistence", span(settings.persistence.timeout_s)]);
  if (settings.one_packet) facts.push(["One packet", "yes"]);
  if (settings.share) facts.push(["Share of the table", `${settings.share} %`]);
  if (health) facts.push(["Quorum", health.quorum ? "held" : "lost"]);
  return facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
}

function checksOf(health) {
  const rows = (health?.destinations ?? []).flatMap((one) => one.checks.map((check) => [one.server, check]));
  if (rows.length === 0) return [];
  const grades = { up: "good", down: "bad", unchecked: "none", standby: "warning" };
  return [h("h2", {}, "Checks"), h("div", { class: "scroll" }, h("table", { class: "plain" },
    h("thead", {}, h("tr", {}, ["Real server", "Check", "Asks", "Says"].map((label) => h("th", { scope: "col" }, label)))),
    h("tbody", {}, rows.slice(0, 200).map(([server, check]) => h("tr", {},
      h("td", {}, server), h("td", {}, `${check.check} (${check.kind})`), h("td", {}, check.to),
      h("td", {}, state(grades[check.health], `${check.health} for ${span(check.for_s)}${check.reason ? `: ${check.reason}` : ""}`)))))))];
}
