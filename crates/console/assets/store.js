// All that is known of the director, kept while the page is open, and told to whoever draws it.
//
//   GET …            ─► lists   at first, after an event, and now and then
//   /v1/statistics   ─► figures every second
//   /v1/events       ─► events  as they come

import { get, onToken, post, query, stream } from "./api.js";
import { serviceLine } from "./model.js";

/** Seconds of history that charts show. */
export const HISTORY = 300;
/** Points of a service's bars in the table. */
const BARS = 24;
const EVENTS_KEPT = 1024;
/** Lists are asked for again after this, without a reason: ages go on. */
const REFRESH_MS = 15_000;
/** Two askings are at least as far apart, however many events come. */
const PAUSE_MS = 1_500;
/** Asking takes no more than one part in so many of the time: with very many services it is less frequent. */
const SHARE = 10;

export const store = {
  status: undefined,
  access: undefined,
  services: [],
  health: [],
  maintenance: [],
  segment: undefined,
  /** Lines of services, in the order of their keys. */
  lines: [],
  byKey: new Map(),
  /** Live figures of the destinations of the watched service. */
  destinations: new Map(),
  events: [],
  /** Totals: seconds, new connections, packets, bytes, connections. */
  history: [[], [], [], [], []],
  /** The watched service: seconds, new connections, packets, bytes, active, inactive. */
  watched: { key: undefined, history: [[], [], [], [], [], []] },
  /** What was last heard, by the clock of this page. */
  heard: 0,
  /** Why nothing is heard, if so. */
  trouble: undefined,
  /** Whether reading needs a token that we have not. */
  isShut: false,
};

const listeners = new Map();

/** Has a function called when something is told; returns what ends that. */
export function on(topic, tell) {
  if (!listeners.has(topic)) listeners.set(topic, new Set());
  listeners.get(topic).add(tell);
  return () => listeners.get(topic).delete(tell);
}

function emit(topic, what) {
  for (const tell of listeners.get(topic) ?? []) tell(what);
}

// --- lists

let refreshing = false;
let wanted = false;
let pause = PAUSE_MS;
let lastRefresh = 0;
let timer;

/** Has everything asked for again: at once, or as soon as the last time is long enough ago. */
export function refresh() {
  wanted = true;
  if (refreshing) return;
  clearTimeout(timer);
  const left = Math.max(0, lastRefresh + pause - Date.now());
  timer = setTimeout(ask, left);
}

async function ask() {
  refreshing = true;
  wanted = false;
  const begun = performance.now();
  try {
    const [status, access, services, health, maintenance, segment] = await Promise.all([
      "/v1/status", "/v1/access", "/v1/services", "/v1/health", "/v1/maintenance", "/v1/segment",
    ].map((path) => get(path)));
    Object.assign(store, { status, access, services, health, maintenance, segment });
    take(services, health);
    store.isShut = false;
    heard();
    emit("lists");
  } catch (error) {
    fail(error);
  }
  refreshing = false;
  lastRefresh = Date.now();
  const took = performance.now() - begun;
  pause = Math.max(PAUSE_MS, took * SHARE);
  if (wanted) refresh();
  else timer = setTimeout(refresh, Math.max(REFRESH_MS, took * SHARE));
}

function take(services, health) {
  const checked = new Map(health.map((one) => [one.service, one]));
  const before = store.byKey;
  store.byKey = new Map();
  store.lines = services.map((service) => {
    const line = serviceLine(service, checked.get(service.service));
    const old = before.get(line.key);
    line.bars = old?.bars ?? [];
    if (old) {
      // Figures of the stream are newer.
      for (const name of ["active", "inactive", "connections", "packets", "bytes"]) line[name] = old[name];
    }
    store.byKey.set(line.key, line);
    return line;
  });
}

/** The service of a key with what its checks say. */
export function service(key) {
  const found = store.services.find((one) => one.service === key);
  return found && { service: found, health: store.health.find((one) => one.service === key) };
}

function heard() {
  store.heard = Date.now();
  if (store.trouble) {
    store.trouble = undefined;
    emit("trouble");
  }
}

function fail(error) {
  if (error.status === 401 || error.status === 403) {
    store.isShut = true;
    emit("shut", error);
    return;
  }
  store.trouble = error;
  emit("trouble");
}

// --- figures

let figures;

/** Opens the stream of figures; with a key, those of its destinations, too. */
function listen() {
  figures?.close();
  figures = stream(() => `/v1/statistics${query({ service: store.watched.key })}`, {
    up: () => heard(),
    down: fail,
    message: (_, told) => {
      heard();
      sample(told);
    },
  });
}

function sample(told) {
  const time = told.time_ms / 1000;
  let others = 0;
  for (const [key, values] of Object.entries(told.services ?? {})) {
    const line = store.byKey.get(key);
    if (!line || values === null) {
      others += 1;
      continue;
    }
    [line.connections, line.packets, line.bytes, line.active, line.inactive] = values;
    // What is eligible, and of how many, decides on the words: the lists know why.
    const eligible = `${values[5]}/${values[6]}`;
    if (line.eligible !== undefined && line.eligible !== eligible) others += 1;
    line.eligible = eligible;
  }
  for (const [address, values] of Object.entries(told.destinations ?? {})) {
    if (values === null) store.destinations.delete(address);
    else store.destinations.set(address, values);
  }
  for (const line of store.lines) keep(line.bars, line.packets, BARS);
  point(store.history, time, told.total);
  const line = store.byKey.get(store.watched.key);
  if (line) point(store.watched.history, time, [line.connections, line.packets, line.bytes, line.active, line.inactive]);
  if (others > 0) refresh();
  emit("figures");
}

function keep(list, value, most) {
  list.push(value);
  if (list.length > most) list.shift();
}

function point(history, time, values) {
  // A daemon that was away leaves a gap, not a line across it.
  const last = history[0].at(-1);
  if (last !== undefined && time - last > 5) {
    history[0].push(last + 1);
    for (const list of history.slice(1)) list.push(null);
  }
  history[0].push(time);
  values.forEach((value, index) => history[index + 1].push(value));
  while (history[0].length > 0 && history[0][0] < time - HISTORY) for (const list of history) list.shift();
}

/** Has the destinations of a service told, too; with nothing, of none. */
export function watch(key) {
  if (store.watched.key === key) return;
  store.watched = { key, history: [[], [], [], [], [], []] };
  store.destinations.clear();
  if (figures) listen();
}

// --- events

let events;
let lastEvent = 0;

function follow() {
  events?.close();
  events = stream(() => `/v1/events${query({ since: lastEvent })}`, {
    up: () => heard(),
    down: fail,
    message: (type, told) => {
      heard();
      if (type === "missed") {
        remember({ missed: told.missed, time: new Date().toISOString(), level: "warning", kind: "missed" });
        refresh();
        return;
      }
      if (told.id <= lastEvent) return;
      lastEvent = told.id;
      remember(told);
      refresh();
    },
  });
}

function remember(event) {
  event.text = JSON.stringify(Object.values(event)).toLowerCase();
  store.events.unshift(event);
  if (store.events.length > EVENTS_KEPT) store.events.pop();
  emit("events", event);
}

// --- orders

/** Gives an order of maintenance, and has everything looked at again. */
export async function order(what) {
  const done = await post("/v1/maintenance", what);
  lastRefresh = 0;
  refresh();
  return done;
}

// --- life

function open() {
  listen();
  follow();
  lastRefresh = 0;
  refresh();
}

function close() {
  figures?.close();
  events?.close();
  figures = events = undefined;
  clearTimeout(timer);
}

/** Begins; a page that nobody sees asks for nothing. */
export function begin() {
  open();
  onToken(() => {
    close();
    open();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else open();
  });
}

/** Tries at once. */
export function again() {
  figures?.again();
  events?.again();
  lastRefresh = 0;
  refresh();
}
