// The API. A token stays in this tab and goes into a header; there are no cookies, so that no other site's page
// can do anything in our name.

const TOKEN = "dirigo-token";

/** Who waits for news of what this page may do. */
const listeners = new Set();

export function token() {
  return sessionStorage.getItem(TOKEN);
}

export function setToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
  for (const tell of listeners) tell();
}

export function onToken(tell) {
  listeners.add(tell);
}

/** What the API refused, in its words; status 0: nobody answered. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

function headers(more = {}, given = token()) {
  return given ? { ...more, authorization: `Bearer ${given}` } : more;
}

async function request(path, options, given) {
  let answer;
  try {
    answer = await fetch(path, {
      ...options,
      headers: headers(options.headers, given),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "The director does not answer.");
  }
  if (answer.ok) return answer;
  let said = {};
  try {
    said = await answer.json();
  } catch {
    // Not ours: a proxy's page, perhaps.
  }
  throw new Refused(answer.status, said.code ?? "", said.message ?? `The answer was ${answer.status} ${answer.statusText}.`);
}

const PATIENCE_MS = 15_000;

export async function get(path, signal = AbortSignal.timeout(PATIENCE_MS), given = undefined) {
  const answer = await request(path, { signal }, given);
  try {
    return await answer.json();
  } catch {
    throw new Refused(0, "unreachable", "The director's answer broke off.");
  }
}

export async function post(path, body) {
  const answer = await request(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  return answer.json();
}

/** Conditions after a path; what is empty is left out. */
export function query(conditions) {
  const given = Object.entries(conditions).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : "";
}

async function* pieces(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Objects, one a line, as they come. */
export async function* lines(path, options) {
  const { body, signal } = options;
  const asked = body === undefined ? { signal } : {
    method: "POST", signal, headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  const answer = await request(path, asked);
  let rest = "";
  for await (const piece of pieces(answer)) {
    const parts = (rest + piece).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
  if (rest) yield JSON.parse(rest);
}

/** Longest silence of a stream: the API says something every 5 s. */
const SILENCE_MS = 12_000;
const AGAIN_MS = 1_000;

/**
 * Server-sent events, from one daemon to the next. `EventSource` cannot send a token, so it is read here.
 *
 * `tell.message(type, data)`, `tell.up()`, `tell.down(error)`; `path()` is asked anew for each attempt.
 */
export function stream(path, tell) {
  let last;
  let attempt;
  let closed = false;
  const run = async () => {
    while (!closed) {
      attempt = new AbortController();
      let watch;
      const heard = () => {
        clearTimeout(watch);
        watch = setTimeout(() => attempt.abort(), SILENCE_MS);
      };
      try {
        heard();
        const more = last === undefined ? {} : { "last-event-id": last };
        const answer = await request(path(), { signal: attempt.signal, headers: { accept: "text/event-stream", ...more } });
        tell.up();
        let rest = "";
        for await (const piece of pieces(answer)) {
          heard();
          const blocks = (rest + piece).split("\n\n");
          rest = blocks.pop();
          for (const block of blocks) {
            const { id, type, data } = read(block);
            if (id !== undefined) last = id;
            if (data !== undefined) tell.message(type, JSON.parse(data));
          }
        }
        if (!closed) tell.down(new Refused(0, "unreachable", "The director has gone."));
      } catch (error) {
        if (!closed) tell.down(error.name === "AbortError" ? new Refused(0, "unreachable", "The director is silent.") : error);
      }
      clearTimeout(watch);
      if (!closed) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  };
  run();
  return {
    close() {
      closed = true;
      attempt?.abort();
    },
    /** Ends the present attempt and begins the next. */
    again() {
      attempt?.abort();
    },
  };
}

/** One block of the stream. Source: HTML, 9.2.6. */
function read(block) {
  const found = { type: "message" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    const name = line.slice(0, colon);
    if (name === "data") found.data = found.data === undefined ? value : `${found.data}\n${value}`;
    else if (name === "event") found.type = value;
    else if (name === "id") found.id = value;
  }
  return found;
}
