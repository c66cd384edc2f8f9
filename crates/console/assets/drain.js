// Taking a real server out of service, with what that means shown before; and back.

import { get, lines, query, token } from "./api.js";
import { announce, ask, h, put, say, state } from "./dom.js";
import { count, share, short, span } from "./format.js";
import { drainPreview } from "./model.js";
import { on, order, store } from "./store.js";

/** Connections that are shown by name. */
const SHOWN = 6;

const DEADLINES = [["", "wait as long as it takes"], [60, "after 1 minute"], [600, "after 10 minutes"], [3600, "after 1 hour"]];

/** Asks whether and how a real server is to be drained; with a service, in that one. */
export async function drain(server, service) {
  const inServices = drainPreview(store.services, store.health, server).map((row) => row.service);
  const scope = h("select", { id: "drain-scope" },
    h("option", { value: "" }, `all its services (${inServices.length}), and those that come`),
    inServices.map((key) => h("option", { value: key }, `${key} only`)));
  scope.value = inServices.includes(service) ? service : "";
  const deadline = h("select", { id: "drain-deadline" }, DEADLINES.map(([value, label]) => h("option", { value }, label)));
  const remove = h("input", { type: "checkbox", id: "drain-remove" });
  const now = h("input", { type: "checkbox", id: "drain-now" });
  const preview = h("div", { class: "preview", "aria-live": "polite" });
  const some = h("div", { class: "some" });
  const wrong = h("div", { class: "wrong", role: "alert" });
  const go = h("button", { type: "submit", class: "main" }, "Drain");
  const may = h("p", { class: "note may" });

  const form = h("form", { method: "dialog" },
    h("h2", {}, `Drain ${server}`),
    h("p", {}, "It gets no new connections; those that it has go on. The order stands until it is enabled again, whatever its checks say."),
    h("div", { class: "fields" },
      h("label", { for: "drain-scope" }, "In"), scope,
      h("label", { for: "drain-deadline" }, "Let go of the rest"), deadline),
    h("h3", {}, "What that means now"), preview, some,
    h("div", { class: "checks" },
      h("label", {}, remove, " remove it from its services when it has no connection any more"),
      h("label", {}, now, " let its connections go at once: clients are reset")),
    may, wrong,
    h("div", { class: "actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), go));
  const dialog = h("dialog", { class: "drain", "aria-label": `Drain ${server}` }, form);

  /** What it gets of each service's new clients now: that is what moves. */
  const shares = new Map();
  const draw = () => {
    const rows = drainPreview(store.services, store.health, server, scope.value);
    put(preview, meaning(rows, shares));
    say(may, store.access === "change" ? "" : "You may read here. To drain, sign in with the token that may change.");
    go.classList.toggle("danger", now.checked || rows.some((row) => row.others.length === 0));
  };
  const list = () => listConnections(some, server, scope.value);
  scope.addEventListener("change", () => {
    draw();
    list();
  });
  now.addEventListener("change", () => {
    deadline.disabled = now.checked;
    draw();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    put(wrong);
    const what = { order: "drain", server, remove: remove.checked, now: now.checked };
    if (scope.value) what.service = scope.value;
    if (deadline.value && !now.checked) what.deadline_s = Number(deadline.value);
    try {
      const done = await order(what);
      const left = done.orders.reduce((all, one) => all + one.active + one.inactive, 0);
      announce(`${server} gets no new connections; ${count(left, "connection")} left${done.let_go ? `, ${done.let_go} let go` : ""}.`, "warning");
      dialog.close("done");
    } catch (error) {
      refused(wrong, error);
    }
    go.disabled = false;
  });
  draw();
  list();
  get(`/v1/explain/server${query({ server })}`).then((found) => {
    for (const one of found.services) shares.set(one.service, one);
    draw();
  }, () => {
    // The preview is good without it.
  });
  const ends = [on("lists", draw)];
  await ask(dialog);
  for (const end of ends) end();
}

function refused(place, error) {
  const isToken = error.status === 401;
  put(place, h("p", {}, state("bad", `Not done: ${error.message}`)),
    isToken && h("button", { type: "button", onclick: () => document.dispatchEvent(new CustomEvent("sign-in", { detail: "Changing needs the token of token_file." })) }, token() ? "Use another token" : "Sign in"));
}

/** What each service keeps and who gets its new connections. */
function meaning(rows, shares) {
  if (rows.length === 0) return h("p", { class: "empty" }, "It is in no service now: only services that get it later are concerned.");
  const shown = rows.slice(0, 50);
  return [
    h("table", { class: "plain" },
      h("thead", {}, h("tr", {}, ["Service", "Active", "Inactive", "Its share", "New connections go to"].map((label, index) => h("th", { scope: "col", class: ["", "number", "number", "number", ""][index] }, label)))),
      h("tbody", {}, shown.map((row) => h("tr", {},
        h("td", {}, row.service),
        h("td", { class: "number", "data-label": "Active" }, short(row.active)),
        h("td", { class: "number", "data-label": "Inactive" }, short(row.inactive)),
        h("td", { class: "number", "data-label": "Its share" }, share(shares.get(row.service))),
        h("td", { "data-label": "New connections go to" }, heirs(row)))))),
    rows.length > shown.length && h("p", { class: "note" }, `and ${count(rows.length - shown.length, "more service")}`),
    rows.some((row) => row.templates > 0) && h("p", { class: "note" },
      `${count(rows.reduce((all, row) => all + row.templates, 0), "persistent client")} will be scheduled anew with the next connection.`),
  ];
}

function heirs(row) {
  if (row.held) return state("warning", "in maintenance already");
  if (row.others.length === 0) return state("bad", "nobody: new clients are refused");
  const total = row.others.reduce((all, one) => all + one.weight, 0);
  const text = row.others.slice(0, 4).map((one) => (row.weighs ? `${one.address} (${Math.round((one.weight / total) * 100)} %)` : one.address)).join(", ");
  const more = row.others.length > 4 ? ` and ${row.others.length - 4} more` : "";
  return state("good", `${text}${more}`);
}

/** Some of its connections by name. */
async function listConnections(place, server, service) {
  put(place, h("p", { class: "note" }, "Looking for its connections …"));
  const found = [];
  try {
    for await (const one of lines(`/v1/connections${query({ destination: server, service, limit: SHOWN })}`, { signal: AbortSignal.timeout(10_000) })) found.push(one);
  } catch (error) {
    put(place, h("p", { class: "note" }, error.message));
    return;
  }
  if (found.length === 0) {
    put(place, h("p", { class: "note" }, "It has no connection now."));
    return;
  }
  put(place, h("details", {}, h("summary", {}, found.length < SHOWN ? `${count(found.length, "connection")}` : `Some of its connections`),
    h("ul", { class: "clients" }, found.map((one) => h("li", {}, `${one.client} → ${one.virtual_address}  ${one.state}, ${one.expires_s} s`)))));
}

/** Asks whether the orders of a real server shall end. */
export async function enable(server) {
  const orders = store.maintenance.filter((one) => one.server === server);
  if (orders.length === 0) {
    announce(`${server} is not in maintenance.`, "none");
    return;
  }
  const wrong = h("div", { class: "wrong", role: "alert" });
  const form = h("form", { method: "dialog" },
    h("h2", {}, `Enable ${server}`),
    h("p", {}, "It has its weight again, and is put back where it was removed."),
    h("ul", { class: "orders" }, orders.map((one) => h("li", {}, about(one)))),
    wrong,
    h("div", { class: "actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), h("button", { type: "submit", class: "main" }, "Enable")));
  const dialog = h("dialog", { class: "small", "aria-label": `Enable ${server}` }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    put(wrong);
    try {
      await order({ order: "enable", server });
      announce(`${server} has new connections again.`);
      dialog.close("done");
    } catch (error) {
      refused(wrong, error);
    }
  });
  await ask(dialog);
}

/** An order in words. */
export function about(one) {
  const parts = [one.service ? `in ${one.service}` : "in all services", `for ${span(one.for_s)}`];
  if (one.removed) parts.push("removed");
  else parts.push(`${count(one.active, "active connection")}, ${one.inactive} inactive`);
  if (one.deadline_s !== undefined && one.deadline_s !== null) parts.push(`let go in ${span(one.deadline_s)}`);
  if (one.remove && !one.removed) parts.push("removed when empty");
  return parts.join(", ");
}
