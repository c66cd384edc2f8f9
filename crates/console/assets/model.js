// What the API says, put together as lines of tables; the same grades and words as `dirigo top`
// (`crates/cli/src/top/rows.rs`).

import { compare, host, port } from "./format.js";

/** A service's line. */
export function serviceLine(service, health) {
  const servers = destinationLines(service, health);
  const good = servers.filter((one) => one.grade === "good").length;
  const sum = (of) => servers.reduce((all, one) => all + one[of], 0);
  const [grade, words] = stand(servers.length, good, health);
  return {
    key: service.service,
    scheduler: service.settings.scheduler,
    origin: service.origin,
    active: sum("active"),
    inactive: sum("inactive"),
    connections: service.rates.connections,
    packets: service.rates.packets,
    bytes: service.rates.bytes,
    destinations: servers.length,
    good,
    grade,
    words,
    /** What the filter looks at. */
    text: [service.service, service.settings.scheduler, words, ...servers.map((one) => one.address)].join(" ").toLowerCase(),
  };
}

function stand(all, good, health) {
  if (health?.sorry_server) return ["bad", `sorry server ${health.sorry_server} serves`];
  if (good === 0) return ["bad", all === 0 ? "no destination" : "nobody serves"];
  if (health && !health.quorum) return ["bad", "quorum lost"];
  if (good < all) return ["warning", `${all - good} of ${all} out`];
  return ["good", "ok"];
}

/** A service's destinations, those that its checks keep out of the table among them. */
export function destinationLines(service, health) {
  const of = (server) => health?.destinations.find((one) => one.server === server);
  const lines = service.destinations.map((one) => {
    const known = of(host(one.destination));
    const [grade, words] = destinationState(one, known);
    return {
      address: one.destination,
      server: host(one.destination),
      weight: one.settings.weight,
      held: one.held_weight,
      upper: one.settings.upper_threshold ?? 0,
      active: one.active,
      inactive: one.inactive,
      templates: one.templates ?? 0,
      connections: one.rates?.connections ?? 0,
      packets: one.rates?.packets ?? 0,
      bytes: one.rates?.bytes ?? 0,
      link: one.link,
      health: known,
      grade,
      words,
    };
  });
  const listed = new Set(lines.map((one) => one.server));
  const away = (health?.destinations ?? []).filter((one) => !listed.has(one.server));
  const at = service.service.startsWith("fwm") ? "0" : port(service.service);
  for (const one of away) {
    lines.push({
      address: one.server.includes(":") ? `[${one.server}]:${at}` : `${one.server}:${at}`,
      server: one.server,
      weight: undefined,
      upper: 0,
      active: 0,
      inactive: 0,
      templates: 0,
      connections: 0,
      packets: 0,
      bytes: 0,
      health: one,
      grade: "bad",
      words: healthWords(one),
    });
  }
  return lines.sort((a, b) => compare(a.address, b.address));
}

function destinationState(one, health) {
  if (health?.health === "down") return ["bad", healthWords(health)];
  if (one.link.state === "unresolved") return ["bad", one.link.reason];
  if (one.held_weight !== undefined) return ["warning", "maintenance"];
  if (one.settings.weight === 0) return ["warning", "weight 0"];
  if (one.overloaded) return ["warning", "at its threshold"];
  if (health?.suspected) return ["warning", `suspected: ${health.suspected}`];
  if (health) return ["good", health.health];
  return ["good", one.link.state === "local" ? "this host" : "no checks"];
}

function healthWords(health) {
  return health.reason ? `${health.health}: ${health.reason}` : health.health;
}

/** Real servers, from the segment, what checks say of them, and orders of maintenance. */
export function serverLines(segment, health, orders) {
  const down = new Map();
  const away = new Map();
  const known = new Set(segment.servers.map((one) => one.address));
  for (const service of health) {
    for (const one of service.destinations) {
      if (one.health === "down" && !down.has(one.server)) down.set(one.server, one.reason ?? "its checks fail");
      if (!known.has(one.server)) away.set(one.server, (away.get(one.server) ?? 0) + 1);
    }
  }
  const byServer = new Map();
  for (const order of orders) {
    byServer.set(order.server, [...(byServer.get(order.server) ?? []), order]);
  }
  const line = (one) => {
    const order = byServer.get(one.address) ?? [];
    const [grade, words] = serverState(one, down.get(one.address), order);
    const mac = one.link?.mac ?? "";
    return {
      ...one,
      mac,
      interface: one.link?.interface ?? "",
      orders: order,
      grade,
      words,
      text: [one.address, mac, words].join(" ").toLowerCase(),
    };
  };
  const nowhere = [...away.keys(), ...[...byServer.keys()].filter((one) => !known.has(one) && !away.has(one))];
  const absent = nowhere.map((address) => ({
    address, link: undefined, services: 0, serving: 0, held: byServer.has(address), active: 0, inactive: 0,
  }));
  return [...segment.servers, ...absent].map(line).sort((a, b) => compare(a.address, b.address));
}

function serverState(one, down, orders) {
  if (down !== undefined) return ["bad", `down: ${down}`];
  if (one.link?.state === "unresolved") return ["bad", one.link.reason];
  if (orders.length > 0) {
    const order = orders[0];
    const left = one.active + one.inactive;
    if (order.removed) return ["warning", "maintenance: removed"];
    return ["warning", left > 0 ? `maintenance: ${left} left` : "maintenance: empty"];
  }
  if (!one.link) return ["bad", "not in the table"];
  if (one.serving < one.services) return ["warning", `weight 0 in ${one.services - one.serving} of ${one.services}`];
  if (one.link.state === "local") return ["good", "this host"];
  return ["good", "serves"];
}

/** Who answers for a virtual address: the director, as it should be, and whoever else says so. */
export function answersFor(vip, segment) {
  const macs = new Map(segment.interfaces.map((one) => [one.name, one.mac]));
  const own = vip.on.map((name) => ({ name, mac: macs.get(name) ?? "" }));
  const attached = own.filter((one) => one.mac);
  if (vip.claims.length > 0) {
    const others = vip.claims.map((claim) => claim.server ?? claim.mac).join(", ");
    return { grade: "bad", words: `also claimed by ${others}`, own };
  }
  if (attached.length > 0) return { grade: "good", words: `director, ${attached[0].name}`, own };
  if (own.length > 0) return { grade: "warning", words: `on ${own[0].name}, which Dirigo does not serve`, own };
  return { grade: "warning", words: "not on this host: nobody known answers", own };
}

/** What draining a real server would mean for each of its services. */
export function drainPreview(services, health, server, only) {
  const of = (key) => health.find((one) => one.service === key);
  const rows = [];
  for (const service of services) {
    if (only && service.service !== only) continue;
    const lines = destinationLines(service, of(service.service));
    const own = lines.filter((one) => one.server === server && one.weight !== undefined);
    if (own.length === 0) continue;
    const others = lines.filter((one) => one.server !== server && one.grade === "good" && one.weight > 0);
    const weights = others.reduce((all, one) => all + one.weight, 0);
    rows.push({
      service: service.service,
      active: own.reduce((all, one) => all + one.active, 0),
      inactive: own.reduce((all, one) => all + one.inactive, 0),
      templates: own.reduce((all, one) => all + one.templates, 0),
      rate: own.reduce((all, one) => all + one.connections, 0),
      held: own.every((one) => one.held !== undefined),
      others: others.map((one) => ({ address: one.address, weight: one.weight, share: one.weight / weights })),
      weighs: ["wrr", "wlc", "sed", "lblc", "lblcr", "ovf", "sh", "mh", "fo", "twos"].includes(service.settings.scheduler),
      scheduler: service.settings.scheduler,
    });
  }
  return rows;
}
