// Loss of every step and accuracy of every measured exit, on the time axis of the memory chart.

import { number, percent } from "../format.js";
import { colour, textSize } from "../theme.js";
import { sides, timeChart } from "./time_chart.js";

/** The key to the chart. */
export function learningKey({ name }) {
  return [
    { colour: "loss", text: "training loss of a step (left)", shape: "stroke" },
    { colour: "accuracy", text: `test ${name === "Accuracy" ? "accuracy" : name} at a block's end (right)` },
  ];
}

/** The chart; its data: [seconds, loss, metric]. `isLog()`: whether equal steps of the loss are equal ratios. */
export function learningChart(place, { stages, metric, isLog, ...handlers }, signal) {
  let data = [[], [], []];
  let log = false; // as asked for, where no loss is 0 or below
  const chart = timeChart(
    place,
    {
      height: (width) => Math.round(Math.min(Math.max(0.2 * width, 160), 280)),
      series: [
        {},
        { scale: "loss", stroke: () => colour("loss"), width: 1.5, points: { show: false } },
        {
          scale: "accuracy",
          stroke: () => colour("accuracy"),
          width: 1.5,
          points: { show: true, size: 9, fill: () => colour("accuracy") },
        },
      ],
      scales: {
        loss: { range: (_, low, high) => lossRange(low, high, log) },
        accuracy: { range: metric.isShare ? [0, 1] : (_, low, high) => [0, Math.max(1.08 * (high ?? 1), 1e-6)] },
      },
      axes: [
        {
          scale: "loss",
          size: sides().left,
          splits: (own, _, low, high) => (log ? logSplits(low, high, room(own)) : evenSplits(low, high, room(own))),
          values: (_, all) => all.map((one) => lossText(log ? 10 ** one : one)),
        },
        {
          scale: "accuracy",
          side: 1,
          size: sides().right,
          grid: { show: false },
          values: (_, all) => all.map((one) => (metric.isShare ? percent(one, 0) : number(one, 2))),
        },
      ],
      draw: { drawClear: [(own) => shade(own, stages())] },
      ...handlers,
    },
    signal,
  );
  const show = () => {
    const [seconds, losses, accuracies] = data;
    log = isLog() && losses.every((loss) => loss === null || loss === undefined || loss > 0);
    chart.setData([seconds, log ? losses.map((loss) => (loss ? Math.log10(loss) : loss)) : losses, accuracies]);
  };
  return {
    ...chart,
    setData(found) {
      data = found;
      show();
    },
    redraw: show,
  };
}

/** How many ticks there is room for. */
function room(chart) {
  return Math.max(2, Math.floor(chart.over.clientHeight / (3 * textSize())));
}

function lossRange(low, high, log) {
  if (low === null || high === null) return log ? [-1, 1] : [0, 1];
  if (log) return [low - 0.05 - 0.04 * (high - low), high + 0.05 + 0.04 * (high - low)];
  return [Math.min(0, low), Math.max(1.08 * high, 1e-12)];
}

/** Round numbers between two: 1, 2 or 5 times a power of ten apart. */
function evenSplits(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step); tick * step <= high; tick += 1) found.push(tick * step);
  return found;
}

/** Logarithms of round numbers between two powers: as many of 1, 2, 5 times a power of ten as there is room for. */
function logSplits(low, high, most) {
  for (const digits of [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 5], [1, 3], [1]]) {
    const found = [];
    for (let power = Math.floor(low); power <= high; power += 1) {
      for (const digit of digits) {
        const tick = power + Math.log10(digit);
        if (tick >= low && tick <= high) found.push(tick);
      }
    }
    if (found.length <= most || digits.length === 1) return found.length ? found : [low, high];
  }
  return [low, high];
}

/** Small and large losses as powers of ten. */
function lossText(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 10_000)) return value.toExponential(size < 1 ? 0 : 1).replace("e+", "e").replace("-", "−");
  return number(value, size === 0 || size >= 10 ? 0 : size >= 1 ? 1 : size >= 0.1 ? 2 : 3);
}

function shade(chart, stages) {
  const { ctx, bbox } = chart;
  ctx.save();
  for (const stage of stages) {
    const from = Math.max(bbox.left, chart.valToPos(stage.start, "x", true));
    const to = Math.min(bbox.left + bbox.width, chart.valToPos(stage.end, "x", true));
    ctx.fillStyle = colour(`shade-${stage.block % 2}`);
    if (to > from) ctx.fillRect(from, bbox.top, to - from, bbox.height);
  }
  ctx.restore();
}
