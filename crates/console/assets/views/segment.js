// The segment as a map: director, virtual addresses and who answers for them, real servers and how they are.
//
//   director ─┤                 ├─ real server
//             │ (the segment)   ├─ real server
//   impostor ─┤                 └─ …
//
// On a narrow screen the director is above and the real servers below.

import { Chart } from "../chart.js";
import { h, put, s, say, shape, soon, state } from "../dom.js";
import { bits, clock, count, difference, short, size, span, subject } from "../format.js";
import { answersFor, serverLines } from "../model.js";
import { on, store } from "../store.js";

/** Real servers that are drawn, the worst first; the others are in the table. */
const DRAWN = 48;
/** Virtual addresses that are drawn, likewise. */
const VIPS = 8;
const LAST_EVENTS = 6;

export function enter(root) {
  const figures = h("dl", { class: "tiles" });
  const charts = [
    new Chart("Packets/s", [{ label: "", colour: "one", of: 2 }], short),
    new Chart("New connections/s", [{ label: "", colour: "two", of: 1 }], short),
  ];
  const map = h("div", { class: "map" });
  const seen = h("span", { class: "seen" });
  const last = h("ul", { class: "last" });
  put(root, h("div", { class: "head" }, h("h1", {}, "Segment"), seen),
    h("div", { class: "body" },
      figures,
      map,
      h("div", { class: "beside" },
        h("div", { class: "charts two" }, charts.map((chart) => chart.element)),
        h("section", { class: "lately" }, h("h2", {}, "Lately ", h("a", { href: "#/events" }, "all events")), last))));

  const draw = soon(() => drawMap(map, seen));
  const watch = new ResizeObserver(draw);
  watch.observe(map);
  const tell = () => {
    put(figures, tiles());
    for (const chart of charts) chart.set(store.history);
  };
  const lately = () => put(last, store.events.length === 0
    ? h("li", { class: "empty" }, "Nothing has changed since the daemon began to remember.")
    : store.events.slice(0, LAST_EVENTS).map((event) => h("li", {},
      h("time", {}, clock(event.time)), state(event.level === "warning" ? "warning" : "none", (event.kind ?? "").replaceAll("-", " ")),
      h("span", { class: "about" }, [subject(event), difference(event)].filter(Boolean).join(" · ")))));
  draw();
  tell();
  lately();
  const ends = [on("lists", () => (draw(), tell())), on("figures", tell), on("events", soon(lately))];
  return {
    leave() {
      for (const end of ends) end();
      for (const chart of charts) chart.close();
      watch.disconnect();
    },
  };
}

function tiles() {
  const { status } = store;
  if (!status) return [];
  const now = (of) => store.history[of].at(-1);
  const bad = store.lines.filter((line) => line.grade === "bad").length;
  const warnings = store.lines.filter((line) => line.grade === "warning").length;
  const services = bad > 0 ? state("bad", `${bad} not served`) : warnings > 0 ? state("warning", `${warnings} with servers out`) : state("good", "all served");
  const connections = now(4) ?? status.connections;
  const modes = status.interfaces.map((one) => `${one.name} ${one.mode}`).join(", ");
  const isNative = status.interfaces.length > 0 && status.interfaces.every((one) => one.mode === "native");
  const { configuration } = status;
  const follows = configuration.failure ? state("bad", "last file refused")
    : configuration.drift > 0 ? state("warning", `${count(configuration.drift, "service")} changed at runtime`) : state("good", "as the file says");
  const tile = (name, value, below) => h("div", {}, h("dt", {}, name), h("dd", {}, h("b", {}, value), h("small", {}, below)));
  return [
    tile("Services", short(status.services), services),
    tile("Connections", short(connections), `of ${short(status.connections_max)} that fit, ${percent(connections, status.connections_max)}`),
    tile("Traffic", bits(now(3) ?? status.rates.bytes), `${short(now(2) ?? status.rates.packets)} packets/s`),
    tile("XDP", status.interfaces.length === 0 ? "–" : isNative ? "native" : "generic", state(isNative ? "good" : "warning", modes || "no interface")),
    tile("Configuration", `#${configuration.generation}`, follows),
    tile("Up", span(status.uptime_s), `version ${status.version}, ${size(status.map_bytes)} of maps`),
  ];
}

function percent(part, all) {
  const value = all > 0 ? (part / all) * 100 : 0;
  return value > 0 && value < 1 ? "below 1 %" : `${Math.round(value)} %`;
}

const ORDER = { bad: 0, warning: 1, good: 2 };

function drawMap(map, seen) {
  const { segment } = store;
  const width = map.clientWidth - 2 * INSET;
  if (width <= 0) return;
  if (!segment) {
    put(map, h("p", { class: "empty" }, "Asking the director …"));
    return;
  }
  const servers = serverLines(segment, store.health, store.maintenance);
  const bad = servers.filter((one) => one.grade === "bad").length;
  say(seen, `${count(segment.vips.length, "virtual address", "virtual addresses")}, ${count(servers.length, "real server")}${bad > 0 ? `, ${bad} of them out` : ""}`);
  const worst = servers.map((one, at) => [one, at]).sort(([a, x], [b, y]) => ORDER[a.grade] - ORDER[b.grade] || x - y)
    .slice(0, DRAWN).sort(([, x], [, y]) => x - y).map(([one]) => one);
  const drawing = width < 720 ? tall(width, segment, worst) : wide(width, segment, worst);
  const focused = map.contains(document.activeElement) ? document.activeElement.getAttribute("href") : undefined;
  put(map, drawing, servers.length > worst.length && h("p", { class: "note" },
    `${count(servers.length - worst.length, "more real server")} are well and not drawn: `, h("a", { href: "#/servers" }, "all real servers")));
  if (focused) map.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** As the style has it. */
const INSET = 16;
const CARD = 58;
const GAP = 12;

function wide(width, segment, servers) {
  const left = Math.min(400, Math.max(310, width * 0.36));
  const bus = left + 52;
  const right = bus + 52;
  const columns = Math.max(1, Math.min(3, Math.floor((width - right + GAP) / 262)));
  const cardWidth = Math.min(340, (width - right - (columns - 1) * GAP) / columns);
  const rows = Math.ceil(servers.length / columns);
  const director = directorCard(segment, left);
  const others = impostors(segment);
  const othersHeight = others.length * (CARD + GAP);
  const leftHeight = director.height + (others.length > 0 ? GAP + othersHeight : 0);
  const rightHeight = Math.max(CARD, rows * (CARD + GAP) - GAP);
  const height = Math.max(leftHeight, rightHeight) + 34;
  const y = 30;
  const drawing = canvas(width, height, segment, servers);
  const link = (x, at, x2, grade) => s("path", { class: `wire ${grade}`, d: `M${x} ${at}H${x2}` });
  drawing.append(s("line", { class: "bus", x1: bus, x2: bus, y1: y - 6, y2: height - 4 }),
    s("text", { class: "label", x: bus, y: 14, "text-anchor": "middle" }, segment.interfaces.map((one) => one.name).join(", ") || "segment"),
    s("text", { class: "label", x: 0, y: 14 }, "Director"),
    s("text", { class: "label", x: right, y: 14 }, "Real servers"));
  const at = y + 26;
  drawing.append(link(left, at, bus, "good"), moved(director.element, 0, y));
  others.forEach((other, index) => {
    const top = y + director.height + GAP * 2 + index * (CARD + GAP);
    drawing.append(link(left, top + CARD / 2, bus, "bad"), moved(impostorCard(other, left), 0, top));
  });
  servers.forEach((server, index) => {
    const column = Math.floor(index / rows);
    const x = right + column * (cardWidth + GAP);
    const top = y + (index % rows) * (CARD + GAP);
    drawing.append(link(column === 0 ? bus : x - GAP, top + CARD / 2, x, server.grade));
    drawing.append(moved(serverCard(server, cardWidth), x, top));
  });
  if (servers.length === 0) drawing.append(s("text", { class: "muted", x: right, y: y + 30 }, "No service has a real server yet."));
  return drawing;
}

function tall(width, segment, servers) {
  const inset = 26;
  const director = directorCard(segment, width);
  const others = impostors(segment);
  const first = director.height + 44;
  const cards = others.length + servers.length;
  const height = first + 24 + cards * (CARD + GAP);
  const drawing = canvas(width, height, segment, servers);
  const end = first + 24 + Math.max(0, cards - 1) * (CARD + GAP) + CARD / 2;
  drawing.append(
    s("text", { class: "label", x: 0, y: 12 }, "Director"),
    moved(director.element, 0, 22),
    s("line", { class: "bus", x1: 10, x2: 10, y1: director.height + 22, y2: end }),
    s("text", { class: "label", x: inset, y: first + 12 }, "Real servers"));
  [...others.map((one) => [impostorCard(one, width - inset), "bad"]), ...servers.map((one) => [serverCard(one, width - inset), one.grade])]
    .forEach(([card, grade], index) => {
      const top = first + 24 + index * (CARD + GAP);
      drawing.append(s("path", { class: `wire ${grade}`, d: `M10 ${top + CARD / 2}H${inset}` }), moved(card, inset, top));
    });
  return drawing;
}

function canvas(width, height, segment, servers) {
  const bad = servers.filter((one) => one.grade === "bad").length;
  const claimed = segment.vips.filter((one) => one.claims.length > 0).length;
  return s("svg", {
    width, height, viewBox: `0 0 ${width} ${height}`, role: "group",
    "aria-label": `Map of the segment: director, ${count(segment.vips.length, "virtual address", "virtual addresses")}, ${count(servers.length, "real server")}, ${bad} of them out; ${claimed} virtual addresses claimed by others`,
  });
}

function moved(element, x, y) {
  element.setAttribute("transform", `translate(${Math.round(x)} ${Math.round(y)})`);
  return element;
}

function directorCard(segment, width) {
  const lines = [];
  let y = 30;
  for (const one of segment.interfaces) {
    lines.push(s("text", { class: "strong", x: 16, y }, one.name), s("text", { class: "mono", x: width - 16, y, "text-anchor": "end" }, one.mac));
    y += 22;
  }
  if (segment.interfaces.length === 0) {
    lines.push(s("text", { class: "muted", x: 16, y }, "no interface has the program"));
    y += 22;
  }
  const vips = segment.vips.map((vip) => ({ vip, answers: answersFor(vip, segment) }))
    .sort((a, b) => ORDER[a.answers.grade] - ORDER[b.answers.grade]);
  const drawn = vips.slice(0, VIPS);
  if (drawn.length > 0) {
    lines.push(s("line", { class: "rule", x1: 16, x2: width - 16, y1: y - 8, y2: y - 8 }),
      s("text", { class: "label", x: 16, y: y + 12 }, "Virtual address"),
      s("text", { class: "label", x: width - 16, y: y + 12, "text-anchor": "end" }, segment.vips.some((one) => one.address.includes(":")) ? "answers ARP or ND" : "answers ARP"));
    y += 36;
  }
  for (const { vip, answers } of drawn) {
    const room = Math.floor((width - 48) / 7.4);
    const isLong = vip.address.length + answers.words.length + 6 > room;
    lines.push(s("a", { href: `#/services?filter=${encodeURIComponent(vip.address)}` },
      s("title", {}, `${vip.address}: ${answers.words}; ${count(vip.services, "service")}`),
      s("text", { class: "strong", x: 16, y }, vip.address)));
    if (isLong) y += 20;
    lines.push(s("text", { class: `mark ${answers.grade}`, x: width - 16, y, "text-anchor": "end" }, `${shape(answers.grade)} ${cut(answers.words, room - 2)}`));
    y += 24;
  }
  if (vips.length > drawn.length) {
    lines.push(s("text", { class: "muted", x: 16, y }, `and ${vips.length - drawn.length} more, answered as they should be`));
    y += 22;
  }
  const height = y - 4;
  return { height, element: s("g", { class: "card director" }, s("rect", { width, height, rx: 9 }), lines) };
}

/** Who claims a virtual address that is not theirs, once each. */
function impostors(segment) {
  const all = new Map();
  for (const vip of segment.vips) {
    for (const claim of vip.claims) {
      const known = all.get(claim.mac) ?? { ...claim, vips: [] };
      known.vips.push(vip.address);
      all.set(claim.mac, known);
    }
  }
  return [...all.values()];
}

function impostorCard(one, width) {
  return s("g", { class: "card bad" },
    s("title", {}, `${one.mac} answers for ${one.vips.join(", ")} or announces it; heard on ${one.interface} for ${span(one.for_s)}`),
    s("rect", { width, height: CARD, rx: 9 }),
    s("text", { class: "strong", x: 16, y: 24 }, one.server ?? "unknown host"),
    s("text", { class: "mono", x: width - 16, y: 24, "text-anchor": "end" }, one.mac),
    s("text", { class: "mark bad", x: 16, y: 45 }, `${shape("bad")} ${cut(`claims ${one.vips.join(", ")}`, Math.floor((width - 48) / 7))}`));
}

function serverCard(one, width) {
  const room = Math.floor((width - 40) / 7.2);
  // Who is out and has nothing left needs the room for the reason.
  const load = one.grade === "bad" && one.active === 0 ? "" : `${short(one.active)} active`;
  return s("a", { href: `#/servers?filter=${encodeURIComponent(one.address)}`, class: `card ${one.grade}` },
    s("title", {}, `${one.address} ${one.mac}: ${one.words}; ${count(one.services, "service")}, ${one.active} active, ${one.inactive} inactive`),
    s("rect", { width, height: CARD, rx: 9 }),
    s("text", { class: "strong", x: 16, y: 24 }, one.address),
    one.address.length * 8 + one.mac.length * 7 < width - 40 && s("text", { class: "mono", x: width - 16, y: 24, "text-anchor": "end" }, one.mac),
    s("text", { class: `mark ${one.grade}`, x: 16, y: 45 }, `${shape(one.grade)} ${cut(one.words, room - load.length - 3)}`),
    s("text", { class: "muted", x: width - 16, y: 45, "text-anchor": "end" }, load));
}

function cut(text, most) {
  return text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text;
}
