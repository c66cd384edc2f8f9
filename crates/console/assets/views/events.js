// Every change of state, as it is told, with its reason.

import { h, put, say, state } from "../dom.js";
import { clock, count, difference, subject } from "../format.js";
import { on, store } from "../store.js";
import { Table } from "../table.js";

const grade = (event) => (event.level === "warning" ? "warning" : "none");

const words = (event) => (event.kind === "missed"
  ? event.missed === null ? "earlier events are not known" : `${count(event.missed, "event")} missed`
  : event.kind.replaceAll("-", " "));

const COLUMNS = [
  { name: "time", label: "Time", cell: (event) => clock(event.time) },
  { name: "state", label: "What", same: (event) => event.kind, cell: (event) => state(grade(event), words(event)) },
  { name: "about", label: "About", wide: true, same: subject, cell: (event) => h("span", { class: "cut", title: subject(event) }, subject(event)) },
  { name: "why", label: "Why", grow: true, same: difference, cell: (event) => h("span", { class: "cut", title: `${subject(event)} ${difference(event)}` }, difference(event)) },
];

export function enter(root, { conditions }) {
  const seen = h("span", { class: "seen", role: "status" });
  const field = h("input", { type: "search", placeholder: "Filter: address, kind, reason", "aria-label": "Filter events", value: conditions.get("filter") ?? "", spellcheck: "false" });
  const warnings = h("input", { type: "checkbox", checked: conditions.get("level") === "warning" });
  const detail = h("div", { class: "detail", hidden: true });
  const table = new Table(COLUMNS, {
    label: "Events, the newest first",
    key: (event) => String(event.id ?? event.time),
    grade,
    open: (event) => show(detail, event),
    asTheyCome: true,
    sort: { name: "time", down: true },
    counted: (shown, all) => say(seen, shown === all ? `${count(all, "event")}, live` : `${shown} of ${count(all, "event")}, live`),
    empty: (all) => (all > 0 ? "No event matches. Esc empties the filter." : "Nothing has changed since the daemon began to remember."),
  });
  const filter = () => {
    const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    table.only((event) => (!warnings.checked || event.level === "warning") && wanted.every((word) => event.text.includes(word) || words(event).includes(word)));
  };
  field.addEventListener("input", filter);
  warnings.addEventListener("change", filter);
  put(root, h("div", { class: "head" }, h("h1", {}, "Events"), seen),
    h("div", { class: "filters" }, field, h("label", { class: "check" }, warnings, " only warnings")), detail, table.box);
  const tell = () => {
    const { box } = table;
    const before = box.scrollTop;
    const had = table.shown.length;
    table.set(store.events);
    // Who has scrolled down goes on to see what is there.
    if (before > 0) box.scrollTop = before + (table.shown.length - had) * table.height;
  };
  table.all = store.events;
  filter();
  const ends = [on("events", tell)];
  return {
    focusRows: () => (table.go(table.focus), true),
    leave() {
      for (const end of ends) end();
      table.close();
    },
  };
}

/** One event with all that it says. */
function show(place, event) {
  const said = Object.entries(event).filter(([name]) => name !== "text" && name !== "id");
  put(place, h("dl", { class: "facts" }, said.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
  place.hidden = false;
}
