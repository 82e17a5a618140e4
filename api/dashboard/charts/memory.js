// Memory against time: resident bytes and peaks of steps and phases before the budget, the blocks, their prediction.

import { MIB, bytes, number, phaseName } from "../format.js";
import { colour, textSize } from "../theme.js";
import { sides, timeChart } from "./time_chart.js";

const STEPS_MIB = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10000, 20000];

/** The key to the chart. */
export const MEMORY_KEY = [
  { colour: "budget", text: "budget", shape: "stroke" },
  { colour: "peak", text: "peak of a step, or of what follows training", shape: "stroke" },
  { colour: "over", text: "above the budget" },
  { colour: "resident", text: "resident after it", shape: "stroke" },
  { colour: "predicted", text: "predicted peak of a block", shape: "dashed" },
  { colour: "part-runtime", text: "Python and torch" },
  { colour: "mark", text: "left its plan", shape: "triangle" },
];

/**
 * The chart. `stages()`, `phases()`: see run_data.js; `budget`: bytes; `marks()`: { seconds, text }; `floor()`: below it
 * nothing happens; `view()`: { isFolded, bytes: [low, high] | null }.
 */
export function memoryChart(place, { budget, stages, phases, marks, floor, view, ...handlers }, signal) {
  const line = (name, width) => ({ stroke: () => colour(name), width, points: { show: false } });
  return timeChart(
    place,
    {
      height: (width) => Math.round(Math.min(Math.max(0.42 * width, 260), 0.6 * innerHeight + 60)),
      padding: () => [null, sides().right, null, null],
      series: [{}, line("resident", 1.5), { ...line("peak", 2), stroke: (chart) => redAbove(chart, budget) }],
      scales: { y: { range: (chart, low, high) => view().bytes ?? ends(chart, low, high, { budget, stages: stages(), phases: phases(), floor: view().isFolded ? floor() : 0 }) } },
      axes: [
        {
          space: 3 * textSize(),
          size: sides().left,
          incrs: STEPS_MIB.map((step) => step * MIB),
          values: (_, splits) => splits.map((value) => `${number(value / MIB, splits.length > 1 && splits[1] - splits[0] < MIB ? 1 : 0)} MiB`),
        },
      ],
      draw: {
        drawClear: [(chart) => drawStages(chart, stages(), budget)],
        draw: [(chart) => drawLimits(chart, { budget, stages: stages(), phases: phases(), marks: marks() })],
      },
      isVertical: true,
      ...handlers,
    },
    signal,
  );
}

/** The colour of peaks, and of bad news above the budget's line. */
function redAbove(chart, budget) {
  const { ctx, bbox } = chart;
  const line = (chart.valToPos(budget, "y", true) - bbox.top) / bbox.height;
  if (!(line > 0)) return colour("peak");
  if (line >= 1) return colour("over");
  const found = ctx.createLinearGradient(0, bbox.top, 0, bbox.top + bbox.height);
  for (const [place, name] of [[0, "over"], [line, "over"], [line, "peak"], [1, "peak"]]) found.addColorStop(place, colour(name));
  return found;
}

/** From a little below where something happens to where two lines of text have room above what is highest. */
function ends(chart, low, high, { budget, stages, phases, floor }) {
  const top = Math.max(high ?? 0, budget, ...stages.map((stage) => stage.predicted), ...phases.map(({ peak }) => peak));
  const least = Number.isFinite(floor) ? Math.min(floor, ...phases.map(({ peak }) => peak)) : 0;
  const from = floor === 0 ? Math.min(0, low ?? 0) : Math.max(0, least - 0.12 * (top - least));
  const room = (3 * textSize()) / Math.max(chart.height - 4 * textSize(), 1);
  return [from, from + (top - from) / (1 - Math.min(room, 0.4))];
}

/** A stage's left and right edge on the canvas, inside the drawing; null where it is out of sight. */
function edges(chart, stage) {
  const { left, width } = chart.bbox;
  const from = Math.max(left, chart.valToPos(stage.start, "x", true));
  const to = Math.min(left + width, chart.valToPos(stage.end, "x", true));
  return to > from ? [from, to] : null;
}

function drawStages(chart, stages, budget) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const stage of stages) {
    const sides = edges(chart, stage);
    if (sides === null) continue;
    const [from, to] = sides;
    ctx.fillStyle = colour(`shade-${stage.block % 2}`);
    ctx.fillRect(from, bbox.top, to - from, bbox.height);
    const top = chart.valToPos(stage.runtime, "y", true);
    const floor = bbox.top + bbox.height;
    if (top >= floor) continue;
    ctx.fillStyle = colour("band");
    ctx.fillRect(from, top, to - from, floor - top);
    nameBand(chart, from, to, top);
  }
  const line = chart.valToPos(budget, "y", true);
  ctx.fillStyle = colour("over-back");
  ctx.fillRect(bbox.left, bbox.top, bbox.width, line - bbox.top);
  // Where some of the runtime is in sight, its band says so.
  if (chart.scales.y.min > Math.max(0, ...stages.map((stage) => stage.runtime))) nameFold(chart, stages);
  ctx.restore();
}

/** What lies below the axis. */
function nameFold(chart, stages) {
  const { ctx, bbox } = chart;
  const pixel = devicePixelRatio;
  const runtime = Math.max(0, ...stages.map((stage) => stage.runtime));
  ctx.font = fontOf(pixel);
  ctx.fillStyle = colour("faint");
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  ctx.fillText(`↓ folded: ${bytes(chart.scales.y.min)}${runtime ? `, Python and torch ${bytes(runtime)}` : ""}`, bbox.left + 5 * pixel, bbox.top + bbox.height - 4 * pixel);
}

function nameBand(chart, from, to, top) {
  const { ctx } = chart;
  const pixel = devicePixelRatio;
  const text = "Python and torch";
  ctx.font = fontOf(pixel);
  if (ctx.measureText(text).width > to - from - 10 * pixel) return;
  ctx.fillStyle = colour("faint");
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  ctx.fillText(text, from + 5 * pixel, top + 5 * pixel);
}

function fontOf(pixel) {
  return `${textSize() * pixel}px system-ui, "DejaVu Sans", sans-serif`;
}

function drawLimits(chart, { budget, stages, phases, marks }) {
  const { ctx, bbox } = chart;
  const pixel = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.font = fontOf(pixel);
  for (const phase of phases) drawPhase(chart, phase, budget, pixel);
  for (const stage of stages) drawStage(chart, stage, pixel);
  line(ctx, colour("budget"), 2 * pixel, [], bbox.left, bbox.left + bbox.width, chart.valToPos(budget, "y", true));
  ctx.fillStyle = colour("budget");
  ctx.textAlign = "right";
  ctx.textBaseline = "bottom";
  ctx.fillText(`budget ${bytes(budget)}`, bbox.left + bbox.width - 6 * pixel, chart.valToPos(budget, "y", true) - 3 * pixel);
  for (const mark of marks) drawMark(chart, mark, pixel);
  ctx.restore();
}

/** A phase's peak as a bar as long as it took, and its name where there is room. */
function drawPhase(chart, phase, budget, pixel) {
  const { ctx, bbox } = chart;
  const sides = edges(chart, phase);
  if (sides === null) return;
  const [from, to] = sides;
  const y = chart.valToPos(phase.peak, "y", true);
  const isOver = phase.peak > budget;
  ctx.fillStyle = colour(isOver ? "over-back" : "phase");
  ctx.fillRect(from, y, to - from, bbox.top + bbox.height - y);
  line(ctx, colour(isOver ? "over" : "peak"), 3 * pixel, [], from, to, y);
  const text = phaseName(phase.phase);
  if (ctx.measureText(text).width > to - from - 6 * pixel) return;
  ctx.fillStyle = colour(isOver ? "bad" : "faint");
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  ctx.fillText(text, from + 3 * pixel, y + 4 * pixel);
}

function drawStage(chart, stage, pixel) {
  const { ctx, bbox } = chart;
  const sides = edges(chart, stage);
  if (sides === null) return;
  const [from, to] = sides;
  line(ctx, colour("predicted"), 2 * pixel, [6 * pixel, 4 * pixel], from, to, chart.valToPos(stage.predicted, "y", true));
  const room = to - from - 8 * pixel;
  const text = [stage.title, stage.name, `${stage.block}`].find((one) => ctx.measureText(one).width <= room);
  if (text === undefined) return;
  ctx.fillStyle = colour("faint");
  ctx.textAlign = "left";
  ctx.textBaseline = "top";
  ctx.fillText(text, from + 5 * pixel, bbox.top + 4 * pixel);
}

function line(ctx, stroke, width, dash, from, to, y) {
  ctx.beginPath();
  ctx.setLineDash(dash);
  ctx.strokeStyle = stroke;
  ctx.lineWidth = width;
  ctx.moveTo(from, y);
  ctx.lineTo(to, y);
  ctx.stroke();
}

/** A triangle that points at the moment on the axis. */
function drawMark(chart, mark, pixel) {
  const { ctx, bbox } = chart;
  const x = chart.valToPos(mark.seconds, "x", true);
  if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) return;
  const floor = bbox.top + bbox.height;
  const size = 7 * pixel;
  ctx.beginPath();
  ctx.fillStyle = colour("mark");
  ctx.moveTo(x, floor);
  ctx.lineTo(x - size, floor - 1.6 * size);
  ctx.lineTo(x + size, floor - 1.6 * size);
  ctx.fill();
}
