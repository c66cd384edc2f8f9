// Which real server a client's packet would go to, and by which rule; and the reverse, what goes to a real server:
// `dirigo explain`.

import { get, query } from "../api.js";
import { h, put, state } from "../dom.js";
import { decision, fate, hint, share, short } from "../format.js";
import { store } from "../store.js";

const GRADES = { transmit: "good", redirect: "good", pass: "none", reply: "bad", drop: "bad" };
const PACKETS = { tcp: "A TCP SYN", udp: "A UDP datagram", sctp: "An SCTP INIT" };

export function enter(root, { conditions }) {
  const first = store.lines.find((line) => !line.key.startsWith("fwm"))?.key;
  const [protocol, at] = first ? [first.slice(0, first.indexOf(":")), first.slice(first.indexOf(":") + 1)] : ["tcp", ""];
  const field = (name, label, example, value) => h("div", {}, h("label", { for: `e-${name}` }, label),
    h("input", { id: `e-${name}`, name, placeholder: example, value: conditions.get(name) ?? value, spellcheck: "false", autocomplete: "off", required: true }));
  const services = h("datalist", { id: "known-vips" }, store.lines.slice(0, 2000).filter((line) => !line.key.startsWith("fwm")).map((line) => h("option", { value: line.key.slice(line.key.indexOf(":") + 1) })));
  const form = h("form", { class: "asks" },
    h("div", {}, h("label", { for: "e-protocol" }, "Protocol"), h("select", { id: "e-protocol", name: "protocol" }, ["tcp", "udp", "sctp"].map((one) => h("option", { value: one }, one.toUpperCase())))),
    field("client", "Client", "203.0.113.7:40000", ""),
    field("virtual_address", "Virtual address", "192.0.2.100:80", at),
    h("div", { class: "go" }, h("button", { type: "submit", class: "main" }, "Explain")), services);
  form.elements.protocol.value = conditions.get("protocol") ?? protocol;
  form.elements.virtual_address.setAttribute("list", "known-vips");
  const answer = h("div", { class: "answer", role: "status" }, h("p", { class: "empty" },
    "Which real server would get the next packet of a client, and by which rule? The director runs its own packet path over a copy of its tables; nothing is sent and nothing changes."));
  const servers = h("datalist", { id: "known-servers" }, (store.segment?.servers ?? []).slice(0, 2000).map((one) => h("option", { value: one.address })));
  const reverse = h("form", { class: "asks reverse" },
    h("div", {}, h("label", { for: "e-server" }, "Or the reverse: what goes to a real server"),
      h("input", { id: "e-server", name: "server", list: "known-servers", placeholder: "192.0.2.11", value: conditions.get("server") ?? "", spellcheck: "false", autocomplete: "off", required: true })),
    h("div", { class: "go" }, h("button", { type: "submit" }, "Explain")), servers);
  put(root, h("div", { class: "head" }, h("h1", {}, "Explain")), form, reverse, answer);

  let running;
  const tell = async (path, of, words) => {
    running?.abort();
    running = new AbortController();
    history.replaceState(undefined, "", `#/explain${query(of)}`);
    try {
      put(answer, words(await get(`${path}${query(of)}`, running.signal)));
    } catch (error) {
      if (error.name !== "AbortError") put(answer, h("p", { class: "wrong" }, state("bad", error.message)));
    }
  };
  const ask = () => tell("/v1/explain", Object.fromEntries(["protocol", "client", "virtual_address"].map((name) => [name, form.elements[name].value.trim()])), said);
  const askServer = () => tell("/v1/explain/server", { server: reverse.elements.server.value.trim() }, shares);
  reverse.addEventListener("submit", (event) => {
    event.preventDefault();
    askServer();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  if (conditions.get("client")) ask();
  else if (conditions.get("server")) askServer();
  return { leave: () => running?.abort() };
}

function said(found) {
  const isSent = found.fate.verdict === "transmit" || found.fate.verdict === "redirect";
  const row = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const why = decision(found);
  return [
    h("p", { class: "verdict" }, state(GRADES[found.fate.verdict], isSent ? `to ${found.fate.destination}` : fate(found.fate))),
    h("dl", { class: "rules" },
      row("Packet", `${PACKETS[found.protocol]} from ${found.client} to ${found.virtual_address}, now`),
      found.service && row("Service", h("a", { href: `#/services/${encodeURIComponent(found.service)}` }, found.service), `, scheduler ${found.scheduler ?? "unknown"}${found.generation ? `, generation ${found.generation}` : ""}`),
      why && row("Decided", why),
      row("Becomes", fate(found.fate)),
      found.otherwise && found.fate.destination && row(`If ${found.fate.destination} stopped answering`, fate(found.otherwise) + hint(found))),
    h("details", {}, h("summary", {}, "The API's answer"), h("pre", {}, JSON.stringify(found, null, 2))),
  ];
}

/** What a real server gets of each of its services. */
function shares(found) {
  if (found.services.length === 0) return h("p", { class: "empty" }, `${found.server} is a destination of no service: nothing goes there.`);
  const words = (one) => {
    if (one.link.state === "unresolved") return state("bad", one.link.reason);
    if (one.held_weight !== undefined) return state("warning", "maintenance");
    if (one.settings.weight === 0) return state("warning", "weight 0");
    if (one.overloaded) return state("warning", "at its threshold");
    return state("good", one.is_persistent ? "clients come back to it" : "gets new clients");
  };
  return [
    h("p", { class: "verdict" }, `What goes to ${found.server}`),
    h("div", { class: "scroll" }, h("table", { class: "plain" },
      h("thead", {}, h("tr", {}, ["Service", "Scheduler", "Of its new clients", "Weight", "Active", "Inactive", "State"].map((label, at) => h("th", { scope: "col", class: at > 1 && at < 6 ? "number" : "" }, label)))),
      h("tbody", {}, found.services.map((one) => h("tr", {},
        h("td", {}, h("a", { href: `#/services/${encodeURIComponent(one.service)}` }, one.service)),
        h("td", {}, one.scheduler),
        h("td", { class: "number" }, share(one)),
        h("td", { class: "number" }, one.settings.weight),
        h("td", { class: "number" }, short(one.active)),
        h("td", { class: "number" }, short(one.inactive)),
        h("td", {}, words(one))))))),
    h("details", {}, h("summary", {}, "The API's answer"), h("pre", {}, JSON.stringify(found, null, 2))),
  ];
}
