// Elements from calls. Whatever comes from the API ends in a text node: there is no way from here to markup.

/** An element: attributes, `on…` listeners, and children that are nodes, texts or lists of these. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for drawings. */
export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === undefined || child === null || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** Puts these in the place of all that is in an element. */
export function put(element, ...children) {
  const fragment = document.createDocumentFragment();
  append(fragment, children);
  element.replaceChildren(fragment);
}

/** Sets a text only if it is another: what is the same is not painted again, nor read out. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const SHAPES = { good: "●", warning: "▲", bad: "■", none: "○" };
const NAMES = { good: "good", warning: "warning", bad: "bad", none: "unknown" };

/** A state as shape, colour and words: no one of them alone carries it. */
export function state(grade, words) {
  return h("span", { class: `state ${grade}` },
    h("span", { class: "shape", "aria-hidden": "true" }, SHAPES[grade]),
    h("span", { class: "hidden" }, `${NAMES[grade]}: `),
    h("span", { class: "words", title: words }, words));
}

/** The shape alone, for drawings. */
export function shape(grade) {
  return SHAPES[grade];
}

/** Calls a function once in the next frame, however often it was asked to. */
export function soon(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

/** A dialog that is removed when it closes; resolves with what it was closed with. */
export function ask(dialog) {
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before && before.isConnected) before.focus();
      resolve(dialog.returnValue);
    });
  });
}

/** Says something to everybody: seen for a while, and read out. */
export function announce(text, grade = "good") {
  const place = document.getElementById("toasts");
  const toast = h("div", { class: `toast ${grade}` }, state(grade, text));
  place.append(toast);
  setTimeout(() => toast.remove(), 7000);
}
