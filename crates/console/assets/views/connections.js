// Connections that are remembered, by conditions. Asked once each time: the table may have millions.

import { lines, query } from "../api.js";
import { h, put, say, state } from "../dom.js";
import { count } from "../format.js";
import { store } from "../store.js";
import { Table } from "../table.js";

const STATES = ["ESTABLISHED", "SYN_RECV", "SYN_SENT", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "UDP", "NONE"];
const LIMITS = [100, 500, 2000, 10000];

const COLUMNS = [
  { name: "client", label: "Client", grow: true, value: (one) => one.client, cell: (one) => one.client },
  { name: "protocol", label: "Proto", wide: true, value: (one) => one.protocol ?? "IP", cell: (one) => (one.protocol ?? "IP").toUpperCase() },
  { name: "vip", label: "Virtual address", wide: true, value: (one) => one.virtual_address, cell: (one) => one.virtual_address },
  { name: "destination", label: "Real server", value: (one) => one.destination, cell: (one) => one.destination },
  { name: "state", label: "State", value: (one) => one.state, cell: (one) => one.state },
  { name: "expires", label: "Expires in", number: true, wide: true, value: (one) => one.expires_s, cell: (one) => `${one.expires_s} s` },
];

export function enter(root, { conditions }) {
  const given = (name) => conditions.get(name) ?? "";
  const text = (name, label, example) => [h("label", { for: `c-${name}` }, label), h("input", { id: `c-${name}`, name, placeholder: example, value: given(name), spellcheck: "false", autocomplete: "off" })];
  const choice = (name, label, all) => [h("label", { for: `c-${name}` }, label), h("select", { id: `c-${name}`, name }, all.map(([value, shown]) => h("option", { value, selected: value === given(name) }, shown)))];
  const seen = h("span", { class: "seen", role: "status" });
  const wrong = h("div", { class: "wrong", role: "alert" });
  const services = h("datalist", { id: "known-services" }, store.lines.slice(0, 2000).map((line) => h("option", { value: line.key })));
  const button = h("button", { type: "submit", class: "main" }, "Ask");
  const form = h("form", { class: "asks" },
    h("div", {}, choice("protocol", "Protocol", [["", "any"], ["tcp", "TCP"], ["udp", "UDP"], ["sctp", "SCTP"]])),
    h("div", {}, text("client", "Client", "203.0.113.0/24")),
    h("div", {}, text("service", "Service", "tcp:192.0.2.100:80")),
    h("div", {}, text("destination", "Real server", "192.0.2.11:80")),
    h("div", {}, choice("state", "State", [["", "any"], ...STATES.map((one) => [one, one])])),
    h("div", {}, choice("limit", "At most", LIMITS.map((one) => [String(one), String(one)]))),
    h("div", { class: "go" }, button), services);
  form.elements.service.setAttribute("list", "known-services");
  form.elements.limit.value = given("limit") || "500";
  const table = new Table(COLUMNS, {
    label: "Connections",
    key: (one) => `${one.protocol} ${one.client} ${one.virtual_address}`,
    sort: { name: "client", down: false },
    empty: () => (running ? "Looking …" : "No connection is remembered that is so."),
  });
  put(root, h("div", { class: "head" }, h("h1", {}, "Connections"), seen), form, wrong, table.box);

  let running;
  const ask = async () => {
    running?.abort();
    running = new AbortController();
    const { signal } = running;
    const of = Object.fromEntries(["protocol", "client", "service", "destination", "state", "limit"].map((name) => [name, form.elements[name].value.trim()]));
    history.replaceState(undefined, "", `#/connections${query({ ...of, limit: of.limit === "500" ? "" : of.limit })}`);
    put(wrong);
    say(seen, "looking …");
    const found = [];
    try {
      for await (const one of lines(`/v1/connections${query(of)}`, { signal })) found.push(one);
    } catch (error) {
      if (error.name === "AbortError") return;
      put(wrong, state("bad", error.message));
    }
    running = undefined;
    const isFull = found.length >= Number(of.limit);
    say(seen, isFull ? `the first ${found.length}; there may be more` : count(found.length, "connection"));
    table.set(found);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  form.addEventListener("change", (event) => event.target.matches("select") && ask());
  ask();
  return {
    focusRows: () => (table.go(table.focus), true),
    leave() {
      running?.abort();
      table.close();
    },
  };
}
