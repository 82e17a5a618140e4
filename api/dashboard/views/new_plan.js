// A new plan: a model, a device, a budget. What is chosen stands in the address.

import { Problem, address, get, send } from "../api.js";
import { budgetField } from "../budget_field.js";
import { h } from "../dom.js";
import { MIB, bytes, count, short } from "../format.js";
import { errorPlace, numberField, selectField, showErrors, textField } from "../form.js";
import { jobProgress } from "../job_progress.js";
import { copyLine, problemBox } from "../parts.js";
import { fieldsOf, termsOf } from "../plan_request.js";
import { go, setQuery } from "../router.js";
import { modelPaste } from "../model_paste.js";

const PREFERENCES = [["balanced", "balanced: little accuracy lost, nearly as fast"], ["speed", "speed: the fastest"], ["fidelity", "fidelity: the least accuracy lost"]];
const DTYPES = [["float32", "float32"], ["bfloat16", "bfloat16: half the activations"]];
const CACHES = [["", "what units compute in"], ["float32", "float32"], ["bfloat16", "bfloat16"], ["uint8", "uint8 with a scale"]];
const AUGMENTS = [["none", "none"], ["crop", "crop: moved a little"], ["flip", "flip: mirrored"], ["crop-flip", "crop and flip"]];
const SCHEDULES = [["cosine", "cosine"], ["constant", "constant"]];
const ALLOCATORS = [["", "whichever is faster and fits"], ["tight", "tight: gives freed memory back"], ["fast", "fast: keeps it"], ["huge", "huge: keeps it, in huge pages; may end above the budget"]];
const RESIZES = [["", "refused, unless they are pictures of a folder"], ["bilinear", "resized to the input: bilinear"]];
const NO_YES = [["false", "no"], ["true", "yes"]];
const OVERLAPS = [["0", "none"], ["1", "a segment trains the unit behind it as well"], ["auto", "auto: at the cuts where that suits the preference"]];
const DECAYS = [["weights", "kernels and matrices"], ["all", "all parameters"]];
const MORE = ["scope", "lr", "dtype", "augment", "views", "freeze", "storage", "cache", "mean", "std", "resize", "shorter_side", "momentum", "nesterov", "weight_decay", "weight_decay_on", "schedule", "warmup", "early_epochs", "polish", "polish_lr", "seed", "max_cuts", "max_accuracy_loss", "linear_segments", "allocator", "reserve", "head", "overlap", "head_time_share", "grouping_threshold"];
const SCOPES = [["process", "everything resident"], ["training", "above the runtime's own"]];

export async function show(place, { query, signal }) {
  const lists = await readLists(signal);
  const form = makeForm(lists, query);
  const said = h("div", { "aria-live": "polite" });
  const submit = h("button", { type: "submit", class: "main" }, "Make the plan");
  const element = h("form", { class: "view", novalidate: true, onsubmit: onSubmit, onchange: onChange },
    form.sections, said, h("div", { class: "buttons" }, submit));
  place.append(h("h1", {}, "New plan"), element);
  let looking = new AbortController();
  signal.addEventListener("abort", () => looking.abort());
  look();
  if (query.get("job")) waitFor(query.get("job"));

  function onChange(event) {
    form.changed(event.target);
    setQuery({ ...form.chosen(), job: null });
    if (form.budget.element.contains(event.target)) return; // nothing else depends on it
    form.follow();
    look();
  }

  /** Ask what the smallest budget is, for the slider. */
  async function look() {
    looking.abort();
    looking = new AbortController();
    const { signal: current } = looking;
    const memory = form.memory();
    form.budget.limits(null, memory);
    try {
      const question = { ...(await form.request(1, current)), budgets_bytes: [1] };
      const { document } = await send("POST", "/v1/plans/compare", question, current);
      form.measured(null);
      const least = document.rows[0].minimum_bytes;
      form.budget.limits(least, memory);
      if (!form.query().has("budget")) form.budget.suggest(Math.ceil((1.15 * least) / MIB) * MIB);
    } catch (error) {
      if (!current.aborted) form.measured(error);
    }
  }

  async function onSubmit(event) {
    event.preventDefault();
    setQuery({ ...form.chosen(), budget: form.budget.value(), job: null });
    await make();
  }

  async function make() {
    submit.disabled = true;
    said.replaceChildren(h("p", { class: "faint" }, "Planning …"));
    showErrors(form.fields, null);
    try {
      const answer = await send("POST", "/v1/plans", await form.request(form.bytes(), signal), signal);
      if (answer.status === 202) {
        setQuery({ job: answer.document.id });
        waitFor(answer.document.id);
      } else {
        go(["plans", answer.document.id]);
      }
    } catch (error) {
      if (signal.aborted) return;
      const least = error.document?.minimum_bytes;
      const isBudget = least && error.field === "$.budget.bytes";
      const take = () => {
        form.budget.set(least);
        setQuery({ budget: least });
        make();
      };
      const shown = showErrors(form.fields, error);
      said.replaceChildren(shown ? "" : problemBox(error, null), isBudget ? h("p", {}, h("button", { type: "button", class: "main", onclick: take }, `Take ${bytes(least)}`)) : "");
    } finally {
      submit.disabled = false;
    }
  }

  /** The model is measured first; then the plan is asked for again. */
  function waitFor(job) {
    const done = () => {
      setQuery({ job: null });
      make();
    };
    said.replaceChildren(jobProgress(job, done, signal));
  }
}

async function readLists(signal) {
  const pages = ["/v1/models?limit=200", "/v1/devices?limit=200", "/v1/profiles?limit=200", "/v1/plans/terms", "/v1/plans/choices"];
  const [models, devices, profiles, usual, choices] = await Promise.all(pages.map((path) => get(path, signal)));
  return {
    models: models.items,
    devices: devices.items.filter((device) => device.revoked_at === null),
    profiles: profiles.items,
    usual,
    choices,
  };
}

/** What a model is for, where that has to be said. */
function taskOf(model) {
  return (model.task ?? "classification") === "classification" ? "" : `, ${model.task}`;
}

/** The form's fields, what they say, and what depends on what. */
function makeForm(lists, given) {
  const { models, devices, profiles, usual, choices } = lists;
  const defaults = fieldsOf(usual);
  const query = () => new URLSearchParams(location.hash.split("?")[1] ?? "");
  const first = (name, value = defaults[name]) => given.get(name) ?? value;
  const fields = {
    model: selectField("Model", "model", []),
    input: textField("Input", "input", first("input", "3x32x32"), "channels x height x width"),
    classes: numberField("Classes", "classes", first("classes", 10)),
    device: selectField("Device", "device", []),
    batch: numberField("Batch", "batch", first("batch"), "samples of one optimizer step"),
    epochs: numberField("Epochs", "epochs", first("epochs")),
    samples: numberField("Samples", "samples", first("samples"), "of one epoch"),
    dtype: selectField("Arithmetic", "dtype", [["", DTYPES]], first("dtype")),
    augment: selectField("Augmentation", "augment", [["", AUGMENTS]], first("augment")),
    views: numberField("Cached views", "views", first("views"), "augmented passes in a cache; empty: the usual few"),
    freeze: numberField("Frozen units", "freeze", first("freeze"), "first units that are not trained"),
    optimizer: selectField("Optimizer", "optimizer", [["", choices.optimizers.map(({ name, words }) => [name, words])]], first("optimizer")),
    lr: numberField("Learning rate", "lr", first("lr"), "empty: the optimizer's usual one, which follows the batch", "any"),
    strategy: selectField("Strategy", "strategy", [["", choices.strategies.map(({ name, words }) => [name, `${name}: ${words}`])]], first("strategy")),
    prefer: selectField("Prefer", "prefer", [["", PREFERENCES]], first("prefer")),
    scope: selectField("Budget counts", "scope", [["", SCOPES]], first("scope")),
    cache: selectField("Caches hold", "cache", [["", CACHES]], first("cache")),
    storage: numberField("Storage for caches in MiB", "storage", first("storage"), "empty: not limited", "any"),
    mean: textField("Mean of images", "mean", first("mean"), "images go in as (value / 255 − mean) / std; one number, or one for each channel: 0.485, 0.456, 0.406; empty: 0.5"),
    std: textField("Deviation of images", "std", first("std"), "empty: 0.25"),
    resize: selectField("Images of other sizes", "resize", [["", RESIZES]], first("resize")),
    shorter_side: numberField("Shorter side", "shorter_side", first("shorter_side"), "resized images have this before the input is cut out of their middle; empty: proportions are not kept"),
    momentum: numberField("Momentum", "momentum", first("momentum"), "of SGD; empty: the usual one", "any"),
    nesterov: selectField("Nesterov's momentum", "nesterov", [["", [["", "as usual for the optimizer"], ...NO_YES]]], first("nesterov")),
    weight_decay: numberField("Weight decay", "weight_decay", first("weight_decay"), "empty: the optimizer's usual one", "any"),
    weight_decay_on: selectField("Weight decay is for", "weight_decay_on", [["", DECAYS]], first("weight_decay_on")),
    schedule: selectField("Schedule", "schedule", [["", SCHEDULES]], first("schedule")),
    warmup: numberField("Warm-up", "warmup", first("warmup"), "epochs of every block over which its learning rate rises; empty: 0, or a few for batches above 256"),
    early_epochs: numberField("Early epochs", "early_epochs", first("early_epochs"), "blocks train for fewer the earlier they end, from this up to all; empty: every block for all"),
    polish: numberField("Polish", "polish", first("polish"), "epochs of end-to-end training behind the blocks, under the same budget"),
    polish_lr: numberField("Polish's learning rate", "polish_lr", first("polish_lr"), "empty: a tenth of the learning rate", "any"),
    seed: numberField("Seed", "seed", first("seed"), "of every random stream"),
    max_cuts: numberField("Most cuts", "max_cuts", first("max_cuts"), "0 trains as backpropagation does; empty: any number"),
    max_accuracy_loss: numberField("Most points lost", "max_accuracy_loss", first("max_accuracy_loss"), "of accuracy, to backpropagation, as predicted; 0: no cut; empty: any number", "any"),
    linear_segments: selectField("Segments without a convolution", "linear_segments", [["", NO_YES]], first("linear_segments")),
    allocator: selectField("Allocator", "allocator", [["", ALLOCATORS]], first("allocator")),
    reserve: numberField("Reserve in MiB", "reserve", first("reserve"), "part of the budget left free", "any"),
    head: selectField("Heads at cuts", "head", [["", [["", "the usual ones"], ...choices.heads.map(({ name, words }) => [name, `${name}: ${words}`])]]], first("head")),
    overlap: selectField("Overlap", "overlap", [["", OVERLAPS]], first("overlap")),
    head_time_share: numberField("Heads' share of time", "head_time_share", first("head_time_share"), "at most, of a typical segment's", "any"),
    grouping_threshold: numberField("Grouping threshold", "grouping_threshold", first("grouping_threshold"), "neuroflux: how far micro-batches of one block differ", "any"),
  };
  const budget = budgetField(Number(first("budget", usual.budget.bytes)) || usual.budget.bytes, (value) => setQuery({ budget: value }));
  fields.budget = { element: budget.element, input: budget.input, error: errorPlace(budget.element, budget.input) };
  const missing = h("div", { class: "field wide", hidden: true });
  const value = (name) => fields[name].input.value.trim();
  fillModels(first("model", given.get("profile") ? `profile:${given.get("profile")}` : models.find((model) => model.name === "vgg16")?.name ?? ""));
  let lastModel = value("model");
  follow(given.get("profile") ? `profile:${given.get("profile")}` : given.get("device"));

  /** Zoo names are good as references; what is only known from a profile is taken from there. */
  function fillModels(chosen) {
    const text = (model) => `${model.name}, ${model.input.join("×")}, ${count(model.parameters)} parameters${taskOf(model)}`;
    const zoo = models.filter((model) => model.created_at === null);
    const stored = models.filter((model) => model.created_at !== null);
    const known = new Set(models.map((model) => model.id));
    const measured = [];
    for (const profile of profiles) {
      if (known.has(profile.model_id)) continue;
      known.add(profile.model_id);
      measured.push(profile);
    }
    fields.model.fill([
      ["Zoo", zoo.map((model) => [model.name, `${model.name}, ${count(model.parameters)} parameters`])],
      ["Stored", stored.map((model) => [model.id, text(model)])],
      ["Measured", measured.map((profile) => [`profile:${profile.id}`, text(profile.model)])],
    ], modelFor(chosen));
  }

  /** A profile's model may be in the list under its own id, or under another profile's. */
  function modelFor(chosen) {
    const profile = profiles.find((one) => `profile:${one.id}` === chosen);
    if (!profile) return chosen;
    const same = profiles.find((one) => one.model_id === profile.model_id);
    return models.find((model) => model.id === profile.model_id && model.created_at)?.id ?? zooName(profile) ?? `profile:${same.id}`;
  }

  function zooName(profile) {
    return models.find((model) => model.id === profile.model_id && model.created_at === null)?.name;
  }

  /** The profiles of the chosen model, as far as that can be told here. */
  function fitting() {
    const model = models.find((one) => one.id === value("model"));
    if (model) return profiles.filter((profile) => profile.model_id === model.id);
    if (value("model").startsWith("profile:")) {
      const chosen = profiles.find((profile) => `profile:${profile.id}` === value("model"));
      return profiles.filter((profile) => profile.model_id === chosen?.model_id);
    }
    return profiles.filter(({ model: { name, input, classes } }) =>
      name === value("model") && input.join("x") === value("input") && String(classes) === value("classes"));
  }

  /** What depends on the model: its size, and where it was measured. */
  function follow(wanted = value("device")) {
    const isZoo = models.some((model) => model.created_at === null && model.name === value("model"));
    fields.input.element.hidden = fields.classes.element.hidden = !isZoo;
    const own = fitting();
    fields.device.fill([
      ["Devices", devices.map((device) => [device.id, device.kind === "server" ? `${device.name} (this server)` : device.name])],
      ["Profiles of this model", own.map((profile) => [`profile:${profile.id}`, `${profile.device.name}, batch ${profile.batch}, ${profile.optimizer}, ${profile.dtype}, ${short(profile.id)}`])],
    ], wanted || (own.length ? `profile:${own[0].id}` : "server"));
  }

  function memory() {
    const chosen = profiles.find((profile) => `profile:${profile.id}` === value("device"));
    const device = devices.find((one) => (chosen ? one.fingerprint === chosen.device.fingerprint : one.id === value("device")));
    return chosen?.device.total_bytes ?? device?.machine.limit_bytes ?? device?.machine.total_bytes ?? null;
  }

  /** What stands in the address. */
  function chosen() {
    const found = Object.fromEntries(Object.keys(fields).filter((name) => name !== "budget").map((name) => [name, value(name)]));
    return { ...found, profile: null };
  }

  async function model(signal) {
    if (value("model").startsWith("profile:")) {
      return (await get(address("profiles", value("model").slice("profile:".length)), signal)).model;
    }
    const zoo = models.find((one) => one.created_at === null && one.name === value("model"));
    if (!zoo) return value("model");
    const input = value("input").split(/[x×,]/).map((part) => Number(part));
    if (input.length > 4 || !input.every((one) => Number.isInteger(one) && one > 0)) {
      throw new Problem({ field: "$.input", detail: "1 to 4 whole numbers are needed, for instance 3x32x32" }, 422);
    }
    return { schema: "model/1", zoo: zoo.name, input, classes: numberOf("classes") };
  }

  function numberOf(name) {
    const found = Number(value(name));
    if (value(name) === "" || !Number.isFinite(found)) throw new Problem({ field: `$.${name}`, detail: "a number is needed" }, 422);
    return found;
  }

  /** Another network of the zoo may be made for another input; one that was typed in stays. */
  function followNetwork() {
    const network = (name) => models.find((one) => one.created_at === null && one.name === name);
    const last = network(lastModel);
    const next = network(value("model"));
    lastModel = value("model");
    if (!last || !next) return;
    if (value("input") === last.input.join("x")) fields.input.input.value = next.input.join("x");
    if (value("classes") === String(last.classes)) fields.classes.input.value = String(next.classes);
  }

  function chosenBytes() {
    if (budget.value() === null) throw new Problem({ field: "$.budget", detail: "a number of MiB is needed, 1 or more" }, 422);
    return budget.value();
  }

  async function request(bytes, signal) {
    const where = value("device").startsWith("profile:") ? { profile: value("device").slice("profile:".length) } : { device: value("device") };
    const { budget, ...terms } = termsOf(usual, value, numberOf);
    return { model: await model(signal), ...where, ...terms, budget: { ...budget, bytes } };
  }

  /** What another choice leaves nothing of: the input that the last network is made for, the last optimizer's values. */
  function changed(input) {
    if (input === fields.model.input) followNetwork();
    if (input !== fields.optimizer.input) return;
    for (const name of ["lr", "momentum", "nesterov", "weight_decay", "weight_decay_on"]) fields[name].input.value = defaults[name];
  }

  /** Whether the device has measured the model; `error` is what the service said, null where it has. */
  function measured(error) {
    const command = error?.document?.command;
    missing.hidden = !command;
    const isServer = value("device") === "server";
    if (!command) missing.replaceChildren();
    else if (isServer) missing.replaceChildren(h("p", { class: "hint" }, "Not measured here yet: making the plan measures the model on this server first, which takes about a minute."));
    else missing.replaceChildren(h("p", { class: "hint" }, `${error.message}:`), copyLine(command, "The command that measures the model"));
  }

  const group = (title, ...children) => h("section", { class: "card" }, h("h2", {}, title), h("div", { class: "form" }, children));
  const paste = modelPaste((stored) => {
    models.unshift(stored);
    fillModels(stored.id);
    fields.model.input.dispatchEvent(new Event("change", { bubbles: true }));
  });
  const element = (...names) => names.map((name) => fields[name].element);
  const sections = [
    group("Network", element("model", "input", "classes"), paste),
    group("Device and budget", element("device"), missing, element("budget")),
    group("Training", element("batch", "epochs", "samples", "optimizer")),
    group("Choice", element("strategy", "prefer")),
    h("details", { class: "card", open: MORE.some((name) => value(name) !== defaults[name]) },
      h("summary", {}, "More terms, for experts"), h("div", { class: "form" }, element(...MORE))),
  ];
  return { fields, sections, budget, bytes: chosenBytes, changed, chosen, follow, memory, measured, query, request };
}
