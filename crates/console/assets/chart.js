// Live charts by uPlot, in the colours of the page, and the small bars of tables.

import uPlot from "./vendor/uPlot.esm.js";
import { h, soon } from "./dom.js";
import { HISTORY } from "./store.js";

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/**
 * A chart of the last minutes. `series`: `{label, colour, of}` with the place of its values in the data;
 * `format`: a value as text.
 */
export class Chart {
  constructor(title, series, format) {
    this.title = title;
    this.series = series;
    this.format = format;
    this.data = [[]];
    this.values = series.map(() => h("b", { class: "value" }, "–"));
    this.place = h("div", { class: "plot" });
    this.element = h("figure", { class: "chart" },
      h("figcaption", {}, h("span", { class: "title" }, title),
        h("span", { class: "legend" }, series.map((one, index) =>
          h("span", { class: `key ${one.colour}` }, one.label && [h("i", { class: "swatch", "aria-hidden": "true" }), `${one.label} `], this.values[index])))),
      this.place);
    this.draw = soon(() => this.paint());
    this.size = new ResizeObserver(() => this.fit());
    this.size.observe(this.place);
    this.themed = () => this.make();
    document.addEventListener("theme", this.themed);
  }

  make() {
    this.plot?.destroy();
    this.plot = undefined;
    const width = this.place.clientWidth;
    if (width === 0) return;
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: colour("muted"), font, ticks: { show: false }, grid: { stroke: colour("grid"), width: 1 } };
    this.plot = new uPlot({
      width,
      height: this.place.clientHeight,
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: {
        x: { range: (_, __, max) => [(max ?? Date.now() / 1000) - HISTORY, max ?? Date.now() / 1000] },
        y: { range: (_, __, max) => [0, nice(max)] },
      },
      series: [{}, ...this.series.map((one) => ({
        label: one.label,
        stroke: colour(one.colour),
        fill: this.series.length === 1 ? colour(`${one.colour}-wash`) : undefined,
        width: 1.75,
        points: { show: false },
      }))],
      axes: [
        { ...axis, space: 70, size: 26, values: (plot, all) => all.map((at) => ago(plot.scales.x.max - at)), splits: (plot) => splits(plot) },
        { ...axis, size: 52, space: 28, values: (_, all) => all.map((value) => this.format(value)) },
      ],
      hooks: { setCursor: [() => this.read()] },
    }, this.data, this.place);
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (!this.plot) this.make();
    else if (width > 0) this.plot.setSize({ width, height });
  }

  /** Other values; they are painted in the next frame. */
  set(history) {
    this.history = history;
    this.draw();
  }

  paint() {
    if (!this.place.isConnected || !this.history) return;
    this.data = [this.history[0], ...this.series.map((one) => this.history[one.of])];
    if (!this.plot) this.make();
    this.plot?.setData(this.data);
    this.element.dataset.points = String(this.data[0].length);
    this.read();
    const now = this.series.map((one, index) => `${one.label || this.title} ${this.text(this.data[index + 1].at(-1))}`);
    this.place.setAttribute("role", "img");
    this.place.setAttribute("aria-label", `${this.title}, last ${HISTORY / 60} minutes; now: ${now.join(", ")}`);
  }

  /** What is under the pointer, or else the last values. */
  read() {
    const at = this.plot?.cursor.idx ?? this.data[0].length - 1;
    this.series.forEach((_, index) => {
      const text = this.text(this.data[index + 1]?.[at]);
      if (this.values[index].textContent !== text) this.values[index].textContent = text;
    });
  }

  text(value) {
    return value === undefined || value === null ? "–" : this.format(value);
  }

  close() {
    this.size.disconnect();
    document.removeEventListener("theme", this.themed);
    this.plot?.destroy();
  }
}

/** A little above the highest value, so that its line is not at the edge. */
function nice(max) {
  return Math.max(max ?? 0, 4) * 1.15;
}

function splits(plot) {
  const { max } = plot.scales.x;
  const step = plot.width < 420 ? 120 : 60;
  const all = [];
  for (let back = HISTORY - (HISTORY % step); back >= 0; back -= step) all.push(max - back);
  return all;
}

function ago(back) {
  return back < 5 ? "now" : `−${Math.round(back / 60)} min`;
}

/** Bars of the last values in a table's cell. */
export function bars(cell, values) {
  let canvas = cell.firstChild;
  const ratio = devicePixelRatio;
  const [width, height] = [96, 20];
  if (!canvas) {
    canvas = h("canvas", { width: width * ratio, height: height * ratio, "aria-hidden": "true", class: "bars" });
    cell.append(canvas);
  }
  const mark = `${values.join()} ${document.documentElement.dataset.shade}`;
  if (canvas.mark === mark) return;
  canvas.mark = mark;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const most = Math.max(...values, 1);
  pen.fillStyle = colour("one");
  values.forEach((value, index) => {
    const tall = value > 0 ? Math.max(2, (value / most) * (height - 1)) : 1;
    const at = width - (values.length - index) * 4;
    pen.globalAlpha = value > 0 ? 1 : 0.35;
    pen.fillRect(at, height - tall, 3, tall);
  });
  pen.globalAlpha = 1;
}
