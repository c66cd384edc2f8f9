// Numbers, times and sentences as people read them. Words are those of `dirigo explain`, `trace` and `top`.

/** A number in at most six places: `12345` is `12.3k`. */
export function short(number) {
  if (number < 10_000) return String(Math.round(number));
  for (const [unit, sign] of [[1e3, "k"], [1e6, "M"], [1e9, "G"]]) {
    const value = number / unit;
    if (value < 999.5) return value.toFixed(value < 99.95 ? 1 : 0) + sign;
  }
  return `${(number / 1e12).toFixed(1)}T`;
}

/** All digits, in groups. */
export function whole(number) {
  return Math.round(number).toLocaleString("en");
}

/** Bytes a second as bits a second, as networks are measured. */
export function bits(bytes) {
  const text = short(bytes * 8);
  const sign = text.match(/[kMGT]$/)?.[0] ?? "";
  return `${sign ? text.slice(0, -1) : text} ${sign}bit/s`;
}

export function size(bytes) {
  for (const [unit, sign] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (bytes >= unit) return `${(bytes / unit).toFixed(1)} ${sign}`;
  }
  return `${bytes} B`;
}

/** `3 s`, `12 min`, `5 h`, `2 d`. */
export function span(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** The local time of day, with month and day if it is another day's. */
export function clock(time) {
  const date = new Date(time);
  const two = (number) => String(number).padStart(2, "0");
  const day = date.toDateString() === new Date().toDateString()
    ? "" : `${two(date.getMonth() + 1)}-${two(date.getDate())} `;
  return `${day}${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Of two forms the right one: `1 service`, `2 services`. */
export function count(number, one, many = `${one}s`) {
  return `${whole(number)} ${number === 1 ? one : many}`;
}

/** Compares addresses by their numbers: `10.0.0.9` comes before `10.0.0.10`. */
export const compare = new Intl.Collator("en", { numeric: true }).compare;

/** `192.0.2.1:80` and `[2001:db8::1]:80` without the port. */
export function host(address) {
  const end = address.lastIndexOf(":");
  const name = address.slice(0, end);
  return name.startsWith("[") ? name.slice(1, -1) : name;
}

export function port(address) {
  return address.slice(address.lastIndexOf(":") + 1);
}

/** The virtual address of a service, where it has one. */
export function vip(service) {
  return service.startsWith("fwm") ? undefined : host(service.slice(service.indexOf(":") + 1));
}

const REASONS = {
  pass_not_a_virtual_address: "the address is no virtual address",
  pass_not_a_service: "no virtual service has this address, port and protocol",
  pass_ftp_data: "source port 20 never makes a connection",
  pass_local_destination: "the destination is the director itself",
  pass_not_ready: "the data path has no settings yet",
  reply_port_unreachable: "no destination may be given it",
  drop_no_destination: "no destination may be given it",
  drop_destination_gone: "the destination of its connection was deleted",
  drop_destination_unresolved: "the MAC of its destination is not known",
  drop_table_full: "the connection table has no room in its two buckets",
  drop_service_share: "the service has its share of the connection table",
};

/** What becomes of a packet, in a line. */
export function fate(fate) {
  const counter = fate.counter;
  if (fate.verdict === "transmit" || fate.verdict === "redirect") {
    const server = fate.destination ?? "a destination without a name";
    return `sent to ${server} at ${fate.mac ?? "unknown"} out of ${fate.interface ?? "unknown"} (${counter})`;
  }
  const what = { reply: "refused with an ICMP error", pass: "left to this host" }[fate.verdict] ?? "dropped";
  return `${what}: ${REASONS[counter] ?? counter} (${counter})`;
}

/** A share of new clients in hundredths of a percent, as text; sampled ones are about so. */
export function share(one) {
  if (one?.share === undefined || one.share === null) return "–";
  return `${one.sample > 0 ? "≈ " : ""}${(one.share / 100).toFixed(one.share % 100 === 0 ? 0 : 1)} %`;
}

/** What decided, in a line; nothing where it did not come to that. */
export function decision(found) {
  const by = found.decision;
  switch (by.by) {
    case "connection":
      return `by its connection, ${by.state}, which would be forgotten in ${by.expires_s} s; nothing is scheduled`;
    case "template":
      return "by the client's persistence template; the scheduler is not asked";
    case "rotation":
      return `by the turn: position ${by.position} of a cycle of ${by.cycle}; the next client has the next one`;
    case "table":
      return `by hash: slot ${by.slot} of ${by.slots}${fallback(by)}${refusal(found, by)}`;
    case "list":
      return by.is_drawn
        ? `drawn from ${by.destinations} destinations: another packet may draw another`
        : `the best of ${by.destinations} destinations at this moment`;
    default:
      return undefined;
  }
}

function fallback(by) {
  return by.tried > 1 ? `, after ${by.tried - 1} others (fallback)` : "";
}

function refusal(found, by) {
  if (found.fate.destination) return "";
  return by.destination ? `; it is ${by.destination}'s, who may not be given it` : "; it is nobody's";
}

/** Which flag would spare the clients of a hash table's dead server. */
export function hint(found) {
  const isRefused = found.otherwise?.counter === "reply_port_unreachable";
  const hashes = found.scheduler === "sh" || found.scheduler === "mh";
  return isRefused && hashes && found.decision.by === "table"
    ? `; with the flag ${found.scheduler}-fallback, another slot would be asked` : "";
}

/** What an event is about. */
export function subject(event) {
  const parts = [event.service, event.destination ?? event.server, event.vip];
  if (event.check) parts.push(`check ${event.check}`);
  if (event.interface) parts.push(`interface ${event.interface}`);
  if (event.mac) parts.push(`MAC ${event.mac}`);
  return parts.filter(Boolean).join("  ");
}

/** What became different, and why. */
export function difference(event) {
  const parts = [];
  if (event.old && event.new) parts.push(`${event.old} → ${event.new}`);
  else if (event.old || event.new) parts.push(event.old ?? event.new);
  if (event.reason) parts.push(event.reason);
  if (event.by) parts.push(`by ${event.by}`);
  return parts.join(" · ");
}
