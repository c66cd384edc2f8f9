// Decisions as they happen: `dirigo trace`. It ends when the view is left.

import { lines } from "../api.js";
import { h, put, say, shape, state } from "../dom.js";
import { short } from "../format.js";
import { store } from "../store.js";
import { Table } from "../table.js";

/** Frames that are kept on the page. */
const KEPT = 1000;
/** Frames in a second that each CPU may tell of: what people can see go by. */
const RATE = 200;

const GRADES = { transmit: "good", redirect: "good", pass: "none", reply: "bad", drop: "bad" };
const WORDS = { transmit: "sent", redirect: "sent", pass: "passed", reply: "refused", drop: "dropped" };

const time = (frame) => {
  const ms = frame.time_ns / 1e6;
  const date = new Date(ms);
  return `${date.toTimeString().slice(0, 8)}.${String(Math.floor(ms % 1000)).padStart(3, "0")}`;
};

const where = (frame) => frame.destination ?? frame.counter;

const COLUMNS = [
  { name: "time", label: "Time", cell: time },
  { name: "state", label: "Verdict", same: (frame) => frame.counter, cell: (frame) => state(GRADES[frame.verdict], WORDS[frame.verdict]) },
  { name: "client", label: "From", cell: (frame) => frame.before.src ?? frame.before.src_mac },
  { name: "vip", label: "To", wide: true, cell: (frame) => frame.before.dst ?? frame.before.dst_mac },
  { name: "what", label: "Packet", wide: true, cell: (frame) => frame.what },
  { name: "destination", label: "Real server, or why", grow: true, cell: where },
  { name: "by", label: "Chosen by", wide: true, cell: (frame) => frame.chosen_by ?? "" },
];

export function enter(root) {
  const field = (name, label, example) => h("div", {}, h("label", { for: `t-${name}` }, label), h("input", { id: `t-${name}`, name, placeholder: example, spellcheck: "false", autocomplete: "off" }));
  const services = h("datalist", { id: "trace-services" }, store.lines.slice(0, 2000).map((line) => h("option", { value: line.key })));
  const button = h("button", { type: "submit", class: "main" }, "Start");
  const form = h("form", { class: "asks" },
    field("service", "Service", "tcp:192.0.2.100:80"),
    field("client", "Client", "203.0.113.0/24"),
    field("destination", "Real server", "192.0.2.11"),
    field("verdict", "Counter", "drop_table_full"),
    h("div", {}, h("label", { for: "t-one" }, "One in"), h("input", { id: "t-one", name: "one_in", type: "number", min: "1", max: "1000000", value: "1" })),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "everything" }), " also what is no service's"),
    h("div", { class: "go" }, button), services);
  form.elements.service.setAttribute("list", "trace-services");
  const wrong = h("div", { class: "wrong", role: "alert" });
  const tally = h("span", { class: "seen", role: "status" });
  let running;
  const detail = h("div", { class: "detail", hidden: true });
  const table = new Table(COLUMNS, {
    label: "Frames, the newest first",
    key: (frame) => `${frame.cpu}/${frame.sequence}`,
    asTheyCome: true,
    grade: (frame) => GRADES[frame.verdict],
    open: (frame) => show(detail, frame),
    sort: { name: "time", down: true },
    empty: () => (running ? "No frame yet that is so …" : "Each frame that the director decides, as it comes. To trace needs the token that may change: for as long as one runs, the director uses programs that tell what they do."),
  });
  put(root, h("div", { class: "head" }, h("h1", {}, "Trace"), tally), form, wrong, detail, table.box);

  const frames = [];
  let drawing;
  const draw = () => {
    drawing ??= setTimeout(() => {
      drawing = undefined;
      table.set(frames);
    }, 200);
  };
  const stop = () => {
    running?.abort();
    running = undefined;
    say(button, "Start");
    button.classList.remove("danger");
    table.draw();
  };
  const start = async () => {
    const run = new AbortController();
    running = run;
    frames.length = 0;
    put(wrong);
    detail.hidden = true;
    say(button, "Stop");
    say(tally, "beginning …");
    table.set(frames);
    try {
      for await (const line of lines("/v1/trace", { body: asked(form), signal: run.signal })) {
        if (line.frame) {
          frames.unshift(line.frame);
          if (frames.length > KEPT) frames.pop();
          draw();
        } else say(tally, tallied(line.tally));
      }
      if (running === run) say(tally, "the director ended it");
    } catch (error) {
      if (error.name !== "AbortError") {
        say(tally, "");
        put(wrong, state("bad", error.message), error.status === 401 && h("button", { type: "button", onclick: () => document.dispatchEvent(new CustomEvent("sign-in", { detail: "To trace needs the token of token_file." })) }, "Sign in"));
      }
    }
    if (running === run) stop();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) stop();
    else start();
  });
  return {
    focusRows: () => (table.go(table.focus), true),
    leave() {
      stop();
      clearTimeout(drawing);
      table.close();
    },
  };
}

function asked(form) {
  const value = (name) => form.elements[name].value.trim() || undefined;
  const of = { service: value("service"), client: value("client"), destination: value("destination"), rate: RATE };
  if (of.client && !of.client.includes("/")) of.client += of.client.includes(":") ? "/128" : "/32";
  if (value("verdict")) of.verdicts = [value("verdict")];
  if (form.elements.everything.checked) of.everything = true;
  const oneIn = Number(value("one_in") ?? 1);
  if (oneIn > 1) of.one_in = oneIn;
  return of;
}

function tallied(one) {
  const lost = one.over_rate + one.no_room;
  const parts = [`${short(one.told)} told of ${short(one.seen)} decided`];
  if (lost > 0) parts.push(`${short(lost)} too many to tell`);
  return parts.join(", ");
}

/** One frame on its two hops. */
function show(place, frame) {
  const hop = (name, one, by) => one && h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, by ?? ""), h("td", {}, one.src_mac), h("td", {}, one.dst_mac),
    h("td", {}, one.src ?? ""), h("td", {}, one.dst ?? ""), h("td", {}, one.ttl ?? ""), h("td", {}, one.len));
  put(place, h("div", { class: "scroll" }, h("table", { class: "plain" },
    h("thead", {}, h("tr", {}, ["", "Interface", "Source MAC", "Destination MAC", "Source", "Destination", "TTL", "Bytes"].map((label) => h("th", { scope: "col" }, label)))),
    h("tbody", {}, hop("in", frame.before, frame.interface), hop("out", frame.after, frame.egress)))),
    h("p", { class: "note" }, `${shape(GRADES[frame.verdict])} ${[frame.counter, ...(frame.events ?? [])].join(", ")}${frame.service ? ` · ${frame.service}` : ""}${frame.state ? ` · ${frame.state}` : ""}${frame.chosen_by ? ` · by ${frame.chosen_by}` : ""} · CPU ${frame.cpu}`));
  place.hidden = false;
}
