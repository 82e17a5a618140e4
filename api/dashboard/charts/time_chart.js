// A chart over seconds: uPlot with this page's colours, zooming, and a cursor that the keyboard moves as well.

import { whenResized } from "../dom.js";
import { number } from "../format.js";
import { colour, textSize, whenThemeChanges } from "../theme.js";

const uPlot = globalThis.uPlot;

const INCREMENTS = [
  0.001, 0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 604800,
];

/** So many pixels up or down a drag is one of both ways. */
const UPWARDS = 30;

/** Width of the axes on both sides, so that charts above each other agree. */
export const sides = () => ({ left: Math.round(5.2 * textSize()), right: Math.round(4.2 * textSize()) });

/**
 * A chart in `place` until the signal. `options`: syncKey, span() (all there is, in seconds), height(width),
 * padding(), series, scales, axes (uPlot's own words), draw (hooks), isVertical (whether dragging up and down zooms as
 * well), onRange(from, to, [low, high] | null), onReset(), onCursor(index | null, left, top).
 */
export function timeChart(place, options, signal) {
  let plot = null;
  let data = options.series.map(() => []);
  let range = null;

  function make(width) {
    plot?.destroy();
    plot = new uPlot(configured(width), data, place);
    place.querySelector("canvas").setAttribute("aria-hidden", "true");
  }

  function configured(width) {
    return {
      width,
      height: options.height(width),
      padding: options.padding?.() ?? null,
      legend: { show: false },
      cursor: {
        drag: options.isVertical ? { x: true, y: true, uni: UPWARDS, setScale: false } : { x: true, y: false, setScale: false },
        sync: { key: options.syncKey, setSeries: false },
        focus: { prox: -1 },
        bind: { dblclick: () => () => options.onReset() },
        points: { size: 7 },
      },
      scales: { x: { time: false, range: () => range ?? ends(options.span()) }, ...options.scales },
      series: options.series,
      axes: [timeAxis(width), ...options.axes.map((axis) => ({ ...common(), ...axis }))],
      hooks: {
        ...options.draw,
        setSelect: [selected],
        setCursor: [(chart) => options.onCursor(chart.cursor.idx ?? null, chart.cursor.left, chart.cursor.top)],
      },
    };
  }

  function selected(chart) {
    const { left, width, top, height } = chart.select;
    const isPart = options.isVertical && height > 3 && height < chart.over.clientHeight - 3;
    const values = isPart ? [chart.posToVal(top + height, "y"), chart.posToVal(top, "y")] : null;
    if (width > 3 || isPart) options.onRange(chart.posToVal(left, "x"), chart.posToVal(left + width, "x"), values);
    chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  whenResized(place, signal, (width) => make(width));
  whenThemeChanges(signal, () => plot?.redraw(false));
  signal.addEventListener("abort", () => plot?.destroy());
  return {
    /** Show other data. */
    setData(found) {
      data = found;
      plot?.setData(data);
    },
    /** Show the seconds [from, to]; null: all. */
    setRange(found) {
      range = found;
      plot?.setData(data);
    },
    /** Draw anew: something else has changed than data or range. */
    redraw() {
      plot?.setData(data);
    },
    /** The moment and the value at a place of the drawing. */
    at: (left, top) => [plot.posToVal(left, "x"), plot.posToVal(top, "y")],
    /** What the value axis shows. */
    values: () => [plot?.scales.y.min ?? 0, plot?.scales.y.max ?? 1],
    /** Put the cursor on a point; null takes it away. */
    setCursor(index) {
      if (plot === null) return;
      if (index === null) plot.setCursor({ left: -10, top: -10 });
      else plot.setCursor({ left: plot.valToPos(data[0][index], "x"), top: plot.over.clientHeight / 3 });
    },
    /** The moment of a point. */
    seconds: (index) => data[0][index],
    /** The drawing's left edge within the place. */
    offset: () => (plot === null ? 0 : plot.over.offsetLeft),
  };
}

/** A single moment has no width. */
function ends([low, high]) {
  return high > low ? [low, high] : [low, low + 1];
}

function common() {
  const font = `${textSize()}px system-ui, "DejaVu Sans", sans-serif`;
  const line = { stroke: () => colour("line"), width: 1 };
  return { stroke: () => colour("faint"), font, labelFont: font, grid: line, ticks: { ...line, size: 4 } };
}

function timeAxis() {
  return { ...common(), size: Math.round(2.6 * textSize()), space: 5 * textSize(), incrs: INCREMENTS, values: (_, splits) => splits.map(clock) };
}

/** A moment of a run: seconds up to two minutes, then 2:15 min, then 2:05 h. */
export function clock(seconds) {
  if (seconds < 120) return `${number(seconds, Number.isInteger(seconds) ? 0 : seconds < 10 ? 2 : 1)} s`;
  const isLong = seconds >= 7200;
  const parts = Math.round(isLong ? seconds / 60 : seconds);
  const rest = String(parts % 60).padStart(2, "0");
  return `${number(Math.floor(parts / 60))}${rest === "00" ? "" : `:${rest}`} ${isLong ? "h" : "min"}`;
}
