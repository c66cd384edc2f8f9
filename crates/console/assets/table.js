// A table of many lines, of which only those that are seen are elements.
//
//   lines ─ filter ─ sort ─► places ─ scrolled to ─► some 40 rows between two empty ones
//
// One row has the focus place (a roving tabindex): arrows, Page Up and Down, Home and End move it, Enter opens.

import { h, put, soon } from "./dom.js";
import { compare } from "./format.js";

/** Rows above and below what is seen. */
const BEYOND = 8;

/**
 * `columns`: `{name, label, value(line), cell(line) → node or text, number, wide, grow, descends}`
 * `options`: `{label, key(line), open(line), keys: {d: (line) => …}, sort, empty}`
 */
export class Table {
  constructor(columns, options) {
    this.columns = columns;
    this.options = options;
    this.all = [];
    this.shown = [];
    this.filter = () => true;
    this.sort = options.sort ?? { name: columns[0].name, down: false };
    this.focus = 0;
    this.height = 36;
    this.rows = new Map();
    this.draw = soon(() => this.paint());
    this.build();
  }

  build() {
    this.head = h("tr", {}, this.columns.map((column) => this.heading(column)));
    this.top = h("tr", { "aria-hidden": "true", class: "space" });
    this.bottom = h("tr", { "aria-hidden": "true", class: "space" });
    this.body = h("tbody", {}, this.top, this.bottom);
    this.table = h("table", { "aria-label": this.options.label }, h("thead", {}, this.head), this.body);
    this.empty = h("p", { class: "empty", hidden: true });
    this.box = h("div", { class: "rows", tabindex: "-1" }, this.table, this.empty);
    this.box.addEventListener("scroll", this.draw, { passive: true });
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.click(event));
    this.body.addEventListener("focusin", (event) => this.focused(event));
    this.watch = new ResizeObserver(this.draw);
    this.watch.observe(this.box);
    this.marks();
  }

  heading(column) {
    const kind = ["cell", column.number && "number", column.wide && "wide", column.grow && "grow", `c-${column.name}`].filter(Boolean).join(" ");
    if (column.value === undefined) return h("th", { class: kind, scope: "col" }, h("span", {}, column.label));
    const button = h("button", { type: "button", class: "sorter", onclick: () => this.sortBy(column) }, column.label,
      h("span", { class: "arrow", "aria-hidden": "true" }));
    return h("th", { class: kind, scope: "col", "data-name": column.name }, button);
  }

  marks() {
    for (const heading of this.head.children) {
      const is = heading.dataset.name === this.sort.name;
      if (is) heading.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
      const arrow = heading.querySelector(".arrow");
      if (arrow) arrow.textContent = is ? (this.sort.down ? "▾" : "▴") : "";
    }
  }

  sortBy(column) {
    const down = this.sort.name === column.name ? !this.sort.down : Boolean(column.descends);
    this.sort = { name: column.name, down };
    this.marks();
    this.arrange();
  }

  /** Other lines. */
  set(lines) {
    this.all = lines;
    this.arrange();
  }

  /** Other conditions. */
  only(filter) {
    this.filter = filter;
    this.focus = 0;
    this.box.scrollTop = 0;
    this.arrange();
  }

  /** Sorts and filters; the focus stays with its line. */
  arrange() {
    const before = this.shown[this.focus];
    const column = this.columns.find((one) => one.name === this.sort.name) ?? this.columns[0];
    const way = this.sort.down ? -1 : 1;
    const lines = this.all.filter(this.filter);
    if (!this.options.asTheyCome) {
      const { value } = column;
      lines.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        const order = typeof x === "number" && typeof y === "number" ? x - y : compare(String(x), String(y));
        return order * way || compare(this.options.key(a), this.options.key(b));
      });
    }
    this.shown = lines;
    if (before) {
      const key = this.options.key(before);
      const at = lines.findIndex((line) => this.options.key(line) === key);
      if (at >= 0) this.focus = at;
    }
    this.focus = Math.max(0, Math.min(this.focus, lines.length - 1));
    this.table.setAttribute("aria-rowcount", String(lines.length + 1));
    this.options.counted?.(lines.length, this.all.length);
    this.draw();
  }

  /** Paints what is seen now. */
  paint() {
    if (!this.box.isConnected) return;
    const isEmpty = this.shown.length === 0;
    this.empty.hidden = !isEmpty;
    this.table.hidden = isEmpty && this.all.length === 0;
    if (isEmpty) this.empty.textContent = this.options.empty(this.all.length);
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.height) - BEYOND);
    const fits = Math.ceil(this.box.clientHeight / this.height) + 2 * BEYOND;
    const last = Math.min(this.shown.length, first + fits);
    const wanted = new Map();
    for (let at = first; at < last; at += 1) wanted.set(this.options.key(this.shown[at]), at);
    for (const [key, row] of this.rows) {
      if (!wanted.has(key) && !row.element.contains(document.activeElement)) {
        row.element.remove();
        this.rows.delete(key);
      }
    }
    let before = this.top;
    for (const [key, at] of wanted) {
      const row = this.rows.get(key) ?? this.row(key);
      this.fillRow(row, this.shown[at], at);
      if (before.nextSibling !== row.element) before.after(row.element);
      before = row.element;
    }
    this.top.style.height = `${first * this.height}px`;
    this.bottom.style.height = `${(this.shown.length - last) * this.height}px`;
  }

  row(key) {
    const cells = this.columns.map((column) => h("td", {
      class: ["cell", column.number && "number", column.wide && "wide", column.grow && "grow", `c-${column.name}`].filter(Boolean).join(" "),
    }));
    const element = h("tr", { "data-key": key, tabindex: "-1" }, cells);
    const row = { element, cells, shown: [] };
    this.rows.set(key, row);
    return row;
  }

  fillRow(row, line, at) {
    row.line = line;
    row.element.tabIndex = at === this.focus ? 0 : -1;
    row.element.setAttribute("aria-rowindex", String(at + 2));
    row.element.classList.toggle("opens", Boolean(this.options.open));
    if (this.options.grade) row.element.dataset.grade = this.options.grade(line);
    this.columns.forEach((column, index) => {
      if (column.paint) {
        column.paint(row.cells[index], line);
        return;
      }
      const content = column.cell(line);
      // A text that is the same is left alone; nodes say by `same` whether they are.
      const mark = content instanceof Node ? (column.same ? column.same(line) : undefined) : String(content);
      if (mark !== undefined && row.shown[index] === mark) return;
      row.shown[index] = mark;
      put(row.cells[index], content);
    });
  }

  key(event) {
    const row = event.target.closest("tr[data-key]");
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const isRow = event.target === row;
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.height) - 2);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const by = { ...moves, ...(isRow ? { j: 1, k: -1 } : {}) }[event.key];
    if (by !== undefined) {
      event.preventDefault();
      this.go(this.focus + by);
      return;
    }
    if (!isRow) return;
    const line = this.shown[this.focus];
    if (event.key === "Enter" && this.options.open) {
      event.preventDefault();
      this.options.open(line);
    } else if (this.options.keys?.[event.key]) {
      event.preventDefault();
      event.stopPropagation();
      this.options.keys[event.key](line);
    }
  }

  click(event) {
    if (event.target.closest("button, a, input, select")) return;
    const row = event.target.closest("tr[data-key]");
    if (row && this.options.open && !getSelection().toString()) this.options.open(this.rows.get(row.dataset.key).line);
  }

  focused(event) {
    const row = event.target.closest("tr[data-key]");
    const at = row ? this.shown.findIndex((line) => this.options.key(line) === row.dataset.key) : -1;
    if (at >= 0 && at !== this.focus) {
      this.focus = at;
      for (const [key, one] of this.rows) one.element.tabIndex = key === row.dataset.key ? 0 : -1;
    }
  }

  /** Moves the focus to a place. */
  go(place) {
    if (this.shown.length === 0) return;
    this.focus = Math.max(0, Math.min(place, this.shown.length - 1));
    const head = this.head.parentElement.offsetHeight;
    const from = this.focus * this.height;
    const { scrollTop, clientHeight } = this.box;
    if (from < scrollTop) this.box.scrollTop = from;
    else if (from + this.height > scrollTop + clientHeight - head) this.box.scrollTop = from + this.height + head - clientHeight;
    this.paint();
    this.rows.get(this.options.key(this.shown[this.focus]))?.element.focus({ preventScroll: true });
  }

  close() {
    this.watch.disconnect();
  }
}
