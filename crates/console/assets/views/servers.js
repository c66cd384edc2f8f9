// Real servers: how each is reached, what it carries, and its maintenance.

import { h, put, say, state } from "../dom.js";
import { about, drain, enable } from "../drain.js";
import { count, short } from "../format.js";
import { serverLines } from "../model.js";
import { on, store } from "../store.js";
import { Table } from "../table.js";

const GRADES = { bad: 0, warning: 1, good: 2 };

const COLUMNS = [
  { name: "server", label: "Real server", grow: true, value: (line) => line.address, cell: (line) => line.address },
  { name: "state", label: "State", value: (line) => GRADES[line.grade], same: (line) => line.grade + line.words, cell: (line) => state(line.grade, line.words) },
  { name: "services", label: "Services", number: true, wide: true, descends: true, value: (line) => line.services, cell: (line) => line.services },
  { name: "active", label: "Active", number: true, descends: true, value: (line) => line.active, cell: (line) => short(line.active) },
  { name: "inactive", label: "Inactive", number: true, wide: true, descends: true, value: (line) => line.inactive, cell: (line) => short(line.inactive) },
  { name: "mac", label: "MAC", wide: true, value: (line) => line.mac, cell: (line) => line.mac },
  { name: "interface", label: "Interface", wide: true, value: (line) => line.interface, cell: (line) => line.interface },
  {
    name: "acts", label: "", same: (line) => `${line.orders.length}`, cell: (line) => h("span", { class: "acts" },
      line.orders.length === 0
        ? h("button", { type: "button", tabindex: "-1", onclick: () => drain(line.address) }, "Drain")
        : h("button", { type: "button", tabindex: "-1", onclick: () => enable(line.address) }, "Enable")),
  },
];

export function enter(root, { conditions }) {
  const seen = h("span", { class: "seen", role: "status" });
  const field = h("input", { type: "search", placeholder: "Filter: address, MAC, state", "aria-label": "Filter real servers", value: conditions.get("filter") ?? "", spellcheck: "false" });
  const orders = h("section", { class: "orders-of" });
  const table = new Table(COLUMNS, {
    label: "Real servers",
    key: (line) => line.address,
    grade: (line) => line.grade,
    keys: { d: (line) => drain(line.address), e: (line) => enable(line.address) },
    open: (line) => {
      location.hash = `#/connections?destination=${encodeURIComponent(line.address)}`;
    },
    sort: { name: "server", down: false },
    counted: (shown, all) => say(seen, shown === all ? count(all, "real server") : `${shown} of ${count(all, "real server")}`),
    empty: (all) => (!store.segment ? "Asking the director …" : all > 0 ? "No real server matches. Esc empties the filter." : "No service has a real server yet."),
  });
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    table.only((line) => words.every((word) => line.text.includes(word)));
  };
  field.addEventListener("input", filter);
  const lists = () => {
    if (!store.segment) return;
    table.set(serverLines(store.segment, store.health, store.maintenance));
    put(orders, store.maintenance.length > 0 && [h("h2", {}, "Maintenance"), h("ul", { class: "orders" }, store.maintenance.map((one) =>
      h("li", {}, h("b", {}, one.server), ` ${about(one)}`)))]);
  };
  put(root, h("div", { class: "head" }, h("h1", {}, "Real servers"), seen), h("div", { class: "filters" }, field), orders, table.box);
  lists();
  filter();
  const ends = [on("lists", lists)];
  return {
    focusRows: () => (table.go(table.focus), true),
    leave() {
      for (const end of ends) end();
      table.close();
    },
  };
}
