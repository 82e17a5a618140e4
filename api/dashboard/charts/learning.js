// Loss of every step and accuracy of every measured exit, on the time axis of the memory chart.

import { number, percent } from "../format.js";
import { colour } from "../theme.js";
import { sides, timeChart } from "./time_chart.js";

/** The key to the chart. */
export function learningKey({ name }) {
  return [
    { colour: "loss", text: "training loss of a step (left)", shape: "stroke" },
    { colour: "accuracy", text: `test ${name === "Accuracy" ? "accuracy" : name} at a block's end (right)` },
  ];
}

/** The chart; its data: [seconds, loss, metric]. */
export function learningChart(place, { stages, metric, ...handlers }, signal) {
  return timeChart(
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
        loss: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(1.08 * (high ?? 1), 1e-6)] },
        accuracy: { range: metric.isShare ? [0, 1] : (_, low, high) => [0, Math.max(1.08 * (high ?? 1), 1e-6)] },
      },
      axes: [
        { scale: "loss", size: sides().left, values: (_, all) => all.map((one) => number(one, 2)) },
        {
          scale: "accuracy",
          side: 1,
          size: sides().right,
          grid: { show: false },
          values: (_, all) => all.map((one) => (metric.isShare ? percent(one, 0) : number(one, 2))),
        },
      ],
      draw: { drawClear: [(chart) => shade(chart, stages())] },
      ...handlers,
    },
    signal,
  );
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
