// Numbers as people read them, in the browser's locale. Bytes are shown in MiB, as everywhere in the project.

export const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

const cached = new Map();

/** A number with at most `digits` behind the point. */
export function number(value, digits = 0) {
  if (!cached.has(digits)) {
    cached.set(digits, new Intl.NumberFormat(undefined, { maximumFractionDigits: digits, minimumFractionDigits: digits }));
  }
  return cached.get(digits).format(value);
}

/** Bytes as MiB, from 4 GiB on as GiB. */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 4 * GIB) return `${number(value / GIB, 1)} GiB`;
  if (value !== 0 && Math.abs(value) < MIB / 20) return `${number(value / 1024, 1)} KiB`;
  return `${number(value / MIB, 1)} MiB`;
}

/** Seconds as a duration. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${number(seconds, 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 120) return `${number(whole)} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 120) return `${number(minutes)} min ${number(whole % 60)} s`;
  return `${number(Math.floor(minutes / 60))} h ${number(minutes % 60)} min`;
}

/** A share as per cent. */
export function percent(share, digits = 1) {
  return `${number(100 * share, digits)} %`;
}

/** Points of accuracy that a plan is predicted to lose; absent or null: that is not told. */
export function points(loss) {
  return loss ? `${loss.guess ? "≈ " : ""}${loss.expected.toFixed(1)}` : "–";
}

/** Between which bounds, and whether it is a guess. */
export function pointsNote(loss) {
  if (!loss) return "not predicted";
  if (loss.low === 0 && loss.high === 0) return "points: nothing is cut";
  const range = `points, nine of ten between ${loss.low.toFixed(1)} and ${loss.high.toFixed(1)}`;
  return loss.guess ? `${range}; a guess: ${loss.guess}` : range;
}

/** By how much `value` lies above `base`, signed. */
export function deviation(value, base) {
  if (!base) return "–";
  const share = (100 * (value - base)) / base;
  return `${share > 0 ? "+" : share < 0 ? "−" : ""}${number(Math.abs(share), 1)} %`;
}

/** What is trained one after another: a plan's blocks, and its polish as one more. */
export function stagesOf(plan) {
  return plan.polish ? [...plan.blocks, plan.polish.block] : plan.blocks;
}

/** What people call one of them: 0, polish. */
export function stageCell(plan, index) {
  return index < plan.blocks.length ? number(index) : "polish";
}

/** The same in a sentence: block 0, polish. */
export function stageName(plan, index) {
  return index < plan.blocks.length ? `block ${number(index)}` : "polish";
}

/** The numbers that say more of a head than its kind. */
function headFields(head) {
  return Object.entries(head).filter(([, value]) => typeof value === "number");
}

/** What a person calls a head: 64 filters; mlp, 64 width. */
export function headName(head) {
  if (head === undefined) return "–";
  if (head === null) return "own";
  const fields = headFields(head).map(([name, value]) => `${number(value)} ${name.replaceAll("_", " ")}`);
  return (head.kind === "auxiliary" ? fields : [head.kind, ...fields]).join(", ");
}

/** The same where there is little room: 64f. */
export function headLabel(head) {
  return headFields(head).map(([name, value]) => `${value}${name[0]}`)[0] ?? head.kind;
}

/** A large count, shortened: 9.2 M. */
export function count(value) {
  return new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

/** A moment given as UTC. */
export function moment(text) {
  if (!text) return "–";
  return new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(text));
}

/** How long ago a moment was. */
export function ago(text) {
  if (!text) return "never";
  const seconds = Math.max(0, (Date.now() - new Date(text).getTime()) / 1000);
  const words = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
  if (seconds < 60) return words.format(-Math.round(seconds), "second");
  if (seconds < 3600) return words.format(-Math.round(seconds / 60), "minute");
  if (seconds < 86400) return words.format(-Math.round(seconds / 3600), "hour");
  return words.format(-Math.round(seconds / 86400), "day");
}

/** The beginning of an id, enough for people. */
export function short(id) {
  return id.slice(0, 12);
}

/** Names of the units [first, last): the first and the last one. */
export function unitNames(model, [first, last]) {
  const from = model.units[first].name;
  return last - first > 1 ? `${from} … ${model.units[last - 1].name}` : from;
}

/** `name` as people write it, for scopes, phases and parts. */
export function words(name) {
  return name.replaceAll("_", " ").replaceAll("-", " ");
}

const PHASES = { data: "data", start: "start", prepare: "preparing", train: "training", save: "saving", fit: "fitting exits", validate: "measuring exits", cache: "writing the cache", repair: "repairing the cache" };

/** What people call a phase of a block. */
export function phaseName(phase) {
  return PHASES[phase] ?? words(phase);
}
