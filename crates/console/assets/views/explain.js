// Which real server a client's packet would go to, and by which rule: `dirigo explain`.

import { get, query } from "../api.js";
import { h, put, state } from "../dom.js";
import { decision, fate, hint } from "../format.js";
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
  put(root, h("div", { class: "head" }, h("h1", {}, "Explain")), form, answer);

  let running;
  const ask = async () => {
    running?.abort();
    running = new AbortController();
    const of = Object.fromEntries(["protocol", "client", "virtual_address"].map((name) => [name, form.elements[name].value.trim()]));
    history.replaceState(undefined, "", `#/explain${query(of)}`);
    try {
      put(answer, said(await get(`/v1/explain${query(of)}`, running.signal)));
    } catch (error) {
      if (error.name !== "AbortError") put(answer, h("p", { class: "wrong" }, state("bad", error.message)));
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  if (conditions.get("client")) ask();
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
      found.service && row("Service", h("a", { href: `#/services/${encodeURIComponent(found.service)}` }, found.service), `, scheduler ${found.scheduler ?? "unknown"}`),
      why && row("Decided", why),
      row("Becomes", fate(found.fate)),
      found.otherwise && found.fate.destination && row(`If ${found.fate.destination} stopped answering`, fate(found.otherwise) + hint(found))),
    h("details", {}, h("summary", {}, "The API's answer"), h("pre", {}, JSON.stringify(found, null, 2))),
  ];
}
