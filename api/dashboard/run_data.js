// A run's samples as they came, its blocks on the time axis, and what is marked there.

import { stageName, stagesOf, unitNames } from "./format.js";

/** More points than any screen has are merged. */
const MOST_POINTS = 6000;

export class RunData {
  constructor(plan) {
    this.plan = plan;
    this.report = null;
    this.samples = []; // seconds never fall, whatever a resumed run's clock says
    this.last = -1;
    this.peaks = []; // of each block
    this.isThinned = false;
    this.breaks = [];
    this.detail = [];
  }

  /** Take samples that are new. */
  add(found) {
    for (const sample of found) {
      if (sample.sequence <= this.last) continue;
      this.last = sample.sequence;
      this.peaks[sample.block] = Math.max(this.peaks[sample.block] ?? 0, sample.peak_bytes);
      const previous = this.samples.at(-1)?.seconds ?? 0;
      const seconds = this.secondsOf(sample);
      if (seconds < previous) {
        this.breaks.push({ sequence: sample.sequence, offset: previous - sample.seconds });
      }
      this.samples.push({ ...sample, seconds: Math.max(seconds, previous) });
    }
    while (this.samples.length > MOST_POINTS) {
      this.samples = merged(this.samples);
      this.isThinned = true;
    }
  }

  /** A sample's time since the run began, sessions before this one included. */
  secondsOf(sample) {
    const { offset } = this.breaks.findLast((one) => one.sequence <= sample.sequence) ?? { offset: 0 };
    return sample.seconds + offset;
  }

  /** The sequence numbers around the seconds [from, to]. */
  around(from, to) {
    const first = this.samples.findLast((sample) => sample.seconds < from);
    const last = this.samples.find((sample) => sample.seconds > to);
    return [first?.sequence ?? -1, last?.sequence ?? this.last + 1];
  }

  /** Take finer samples between two sequence numbers, to be shown in place of what is there. */
  refine(found, first, last) {
    this.detail = found
      .filter((sample) => sample.sequence > first && sample.sequence < last)
      .map((sample) => ({ ...sample, seconds: this.secondsOf(sample) }));
  }

  /** The samples to show, in order; null between two blocks, where a line is broken. */
  shown() {
    return this.finest().flatMap((sample, index, all) => (index && all[index - 1].block !== sample.block ? [null, sample] : [sample]));
  }

  finest() {
    if (this.detail.length === 0) return this.samples;
    const [first, last] = [this.detail[0].sequence, this.detail.at(-1).sequence];
    const before = this.samples.filter((sample) => sample.sequence < first);
    return [...before, ...this.detail, ...this.samples.filter((sample) => sample.sequence > last)];
  }

  /** When the run was at its end, as far as it is known. */
  end() {
    const last = this.samples.at(-1)?.seconds ?? 0;
    return this.breaks.length ? last : Math.max(last, this.report?.seconds ?? 0);
  }

  /** Blocks on the time axis: each from its first step to the next one's. */
  stages() {
    const found = [];
    for (const { block, seconds } of this.samples) {
      const open = found.at(-1);
      if (open) open.end = seconds;
      if (open?.block !== block) found.push(this.stage(block, open ? seconds : 0, seconds));
    }
    if (found.length && this.report) found.at(-1).end = this.end();
    return found;
  }

  stage(block, start, end) {
    const planned = stagesOf(this.plan)[block];
    return {
      block,
      start,
      end,
      name: stageName(this.plan, block),
      title: `${stageName(this.plan, block)}: ${unitNames(this.plan.model, planned.units)}`,
      predicted: planned.predicted.peak_bytes,
      runtime: planned.predicted.breakdown.runtime,
    };
  }

  /** Where the run left its plan: what the report says, and until there is one, where its clock began anew. */
  marks() {
    const samples = this.finest();
    const mark = (text, steps) => {
      const sample = samples.find((one) => one.sequence >= steps - 1) ?? null; // the last of so many steps, or what it is merged with
      return { text, sample, seconds: steps === 0 ? 0 : sample?.seconds ?? this.end() };
    };
    if (this.report === null) return this.breaks.map(({ sequence }) => mark("resumed", sequence));
    const steps = this.report.deviation_steps ?? [];
    return this.report.deviations.map((text, index) => (steps.length ? mark(text, steps[index]) : { text, sample: null, seconds: null }));
  }

  /** Accuracy of the last exit of every block, at the block's end; before a polish that of the full model alone. */
  accuracies() {
    const { exits = [], polish = null } = this.report ?? {};
    return this.stages().flatMap((stage) => {
      const [first, last] = stagesOf(this.plan)[stage.block].units;
      const isBefore = polish !== null && stage.block < this.plan.blocks.length;
      const there = isBefore ? [polish.before] : exits;
      const measured = there.filter((exit) => exit.unit > first && exit.unit <= last).at(-1);
      return measured ? [{ seconds: stage.end, accuracy: measured.accuracy }] : [];
    });
  }

  /** What finished blocks did beside training, on the time axis: { block, phase, start, end, peak, isTimed }. */
  phases() {
    const reported = this.report === null ? [] : [...this.report.blocks, ...(this.report.polish ? [this.report.polish.block] : [])];
    const steps = stepTimes(this.samples);
    return reported.flatMap(({ phases = [] }, block) => {
      const trained = phases.findIndex(({ phase }) => phase === "train");
      if (trained < 0 || !steps[block]) return [];
      const begun = steps[block - 1] ? this.finishedAt(block - 1, steps) : 0;
      return [
        ...placed(phases.slice(0, trained), block, begun, steps[block].first, true),
        ...placed(phases.slice(trained + 1), block, steps[block].last, this.finishedAt(block, steps), false),
      ];
    });
  }

  /** When a block's last phase ended: before the next one is prepared, which no step tells. */
  finishedAt(block, steps) {
    const next = steps[block + 1];
    if (!next) return this.end();
    const prepared = (this.report.blocks[block + 1]?.phases ?? []).filter(({ phase }) => phase === "prepare");
    const seconds = prepared.reduce((sum, one) => sum + (one.seconds ?? 0), 0);
    return Math.max(steps[block].last, next.first - seconds);
  }

  /** How far a run is, by what was predicted of its parts: a share, and the seconds that are left at its own speed. */
  progress() {
    const last = this.samples.at(-1);
    if (!last || this.report !== null) return null;
    const stages = stagesOf(this.plan).map((block, index) => ({ trained: block.predicted.seconds_per_epoch * this.epochsOf(index), finished: block.predicted.finish_seconds }));
    const steps = Math.ceil(this.plan.training.samples / this.plan.training.batch) * this.epochsOf(last.block);
    const before = stages.slice(0, last.block).reduce((sum, one) => sum + one.trained + one.finished, 0);
    const whole = stages.reduce((sum, one) => sum + one.trained + one.finished, 0);
    const done = before + Math.min(1, (last.step + 1) / steps) * stages[last.block].trained;
    return { share: done / whole, steps, seconds: done > 0 ? ((whole - done) * this.end()) / done : null };
  }

  /** The epochs of a block, or of the polish. */
  epochsOf(index) {
    if (index >= this.plan.blocks.length) return this.plan.polish.epochs;
    return this.plan.blocks[index].epochs ?? this.plan.training.epochs;
  }

  /** The least that was resident, and what the runtime takes: below both nothing happens. */
  floor() {
    const resident = this.samples.reduce((least, one) => Math.min(least, one.resident_bytes), Infinity);
    return Math.min(resident, ...this.stages().map((stage) => stage.predicted));
  }

  /** The highest peak so far. */
  peak() {
    return this.report?.peak_bytes ?? this.samples.reduce((most, one) => Math.max(most, one.peak_bytes), 0);
  }
}

/** The first and the last step of each block. */
function stepTimes(samples) {
  const found = [];
  for (const { block, seconds } of samples) {
    found[block] ??= { first: seconds, last: seconds };
    found[block].last = seconds;
  }
  return found;
}

/** Phases one after another between two moments; those that end there as long as they took, else alike. */
function placed(phases, block, from, to, isBefore) {
  const isTimed = phases.every(({ seconds }) => seconds !== null && seconds !== undefined);
  const lengths = phases.map(({ seconds }) => (isTimed ? seconds : 1));
  const whole = lengths.reduce((sum, one) => sum + one, 0);
  const room = Math.max(0, to - from);
  const scale = isTimed && whole <= room ? 1 : whole > 0 ? room / whole : 0;
  let start = isBefore ? to - whole * scale : from;
  return phases.map(({ phase, measured_peak_bytes: peak }, index) => {
    const end = start + lengths[index] * scale;
    const found = { block, phase, start, end, peak, isTimed };
    start = end;
    return found;
  });
}

/** Half as many samples: neighbours of one block in one, with the higher peak. */
function merged(samples) {
  const found = [];
  for (let index = 0; index < samples.length; index += 1) {
    const [one, next] = [samples[index], samples[index + 1]];
    if (next === undefined || next.block !== one.block) {
      found.push(one);
      continue;
    }
    index += 1;
    found.push({
      ...next,
      resident_bytes: (one.resident_bytes + next.resident_bytes) / 2,
      peak_bytes: Math.max(one.peak_bytes, next.peak_bytes),
      loss: (one.loss + next.loss) / 2,
    });
  }
  return found;
}
