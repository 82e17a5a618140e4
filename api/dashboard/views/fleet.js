// The devices: what they are, when they were heard of, what they run, and letting them in and out.

import { address, get, send, service } from "../api.js";
import { freshId, h, say } from "../dom.js";
import { ago, bytes, duration, moment, number } from "../format.js";
import { badge, copyLine, counted, emptyState, meter, problemBox, runState } from "../parts.js";
import { keepButton } from "../keep.js";
import { link } from "../router.js";
import { pause } from "../stream.js";

const LOOK_SECONDS = 5;

export async function show(place, { query, signal }) {
  const list = h("div", { class: "view" });
  const named = query.get("device");
  const look = async () => draw(list, await readFleet(signal), look, named);
  const enrol = h("button", { type: "button", class: "main", onclick: () => askDevice(place, look) }, "Enrol a device");
  place.append(h("div", { class: "heading" }, h("h1", {}, "Fleet"), enrol), list);
  await look();
  list.querySelector("[aria-current]")?.scrollIntoView({ block: "center" });
  keepFresh(list, look, signal);
}

async function keepFresh(list, look, signal) {
  while (!signal.aborted) {
    await pause(LOOK_SECONDS, signal);
    if (signal.aborted || document.hidden || list.contains(document.activeElement)) continue;
    await look().catch(() => {});
  }
}

async function readFleet(signal) {
  const paths = ["/v1/devices?limit=200", "/v1/runs?limit=200&newest=true", "/v1/jobs?limit=20", "/v1/enrolments?limit=50", "/v1/sessions?limit=50"];
  const [devices, runs, jobs, enrolments, sessions] = await Promise.all(paths.map((path) => get(path, signal)));
  return { devices: devices.items, runs: runs.items, jobs: jobs.items, enrolments: enrolments.items, sessions: sessions.items };
}

function draw(list, { devices, runs, jobs, enrolments, sessions }, again, named) {
  const newest = (device) => runs.find((run) => run.device_id === device.id) ?? null;
  const active = jobs.filter((job) => ["queued", "running", "cancelling"].includes(job.state));
  const items = devices.map((device) => item(device, newest(device), device.kind === "server" ? active : [], again, device.id === named));
  const enrolled = devices.some((device) => device.kind === "device");
  list.replaceChildren(
    h("ul", { class: "list" }, items),
    enrolled ? "" : emptyState("No device has enrolled yet",
      h("p", {}, "Enrol a device above: it then takes plans from here and reports its runs. It needs no port of its own.")),
    tokens("Open enrolments", "enrolments", enrolments, again),
    tokens("Browsers that are signed in", "sessions", sessions, again),
  );
}

/** Tokens that let somebody in, each with a button that ends it. */
function tokens(title, kind, items, again) {
  if (items.length === 0) return "";
  return h("section", { class: "card" }, h("h2", {}, title), h("ul", {}, items.map((one) => {
    const words = `${one.is_own ? "this one, " : ""}since ${moment(one.created_at)}, until ${moment(one.expires_at)}`;
    const end = async () => {
      await send("DELETE", address(kind, one.id)).catch(() => {}); // it may have ended by itself
      await again();
    };
    return h("li", {}, words, " ", one.is_own ? null : h("button", { type: "button", "aria-label": `End what is good ${words}`, onclick: end }, "End"));
  })));
}

function item(device, run, jobs, again, isNamed) {
  const { machine } = device;
  const isServer = device.kind === "server";
  const memory = machine.limit_bytes ?? machine.total_bytes;
  const revoke = isServer || device.revoked_at ? null : h("button", { type: "button", onclick: () => askRevoke(device, again) }, "Revoke");
  const state = device.revoked_at ? badge("revoked", "bad") : isServer ? badge("this server") : run && run.state !== "finished" ? runState(run) : badge("idle");
  const seen = device.last_seen_at !== undefined && !isServer ? ` · last seen ${ago(device.last_seen_at)}` : "";
  return h("li", { "aria-current": isNamed ? "true" : null },
    h("div", { class: "heading" }, h("h2", {}, device.name), state),
    h("p", {}, `${bytes(memory)} memory · ${counted(machine.cores, "core")} · ${machine.architecture}`),
    h("p", { class: "faint" }, `${machine.cpu_model}${machine.gpu_name ? ` · ${machine.gpu_name}` : ""} · torch ${machine.torch_version ?? "none"}`),
    h("p", { class: "faint" }, h("span", { title: moment(device.created_at) }, `enrolled ${ago(device.created_at)}`), seen),
    run ? [
      h("p", {}, run.state === "running" ? "Runs " : "Last ran ", h("a", { href: link(["runs", run.id]) }, run.name), ` (${run.model})`),
      meter(run.peak_bytes ?? run.last_sample?.peak_bytes ?? 0, run.budget.bytes),
    ] : null,
    jobs.map((job) => h("p", {}, `Measuring ${job.model}: ${job.phase || job.state}, ${number(job.done)} of ${number(job.total)}${job.eta_seconds === null ? "" : `, ${duration(job.eta_seconds)} left`}`)),
    h("div", { class: "buttons" },
      run ? h("a", { class: "button", href: link(["runs"], { device: device.id }) }, "All its runs") : null,
      revoke,
      isServer ? null : keepButton("devices", device, { saved: again, gone: again, purge: true })));
}

/** A token for one device, shown once; then the device may be there. */
async function askDevice(place, again) {
  const title = freshId("title");
  const box = h("dialog", { "aria-labelledby": title }, h("h2", { id: title }, "Enrol a device"));
  const close = h("button", { type: "button", onclick: () => box.close() }, "Done");
  box.addEventListener("close", () => {
    box.remove();
    again().catch(() => {}); // it looks again by itself
  });
  place.append(box);
  box.showModal();
  try {
    const { document: enrolment } = await send("POST", "/v1/enrolments", {});
    box.append(
      h("p", {}, "Run this on the device. The token is shown this once, is good for one device, and ends at ", moment(enrolment.expires_at), "."),
      copyLine(`neuroflux enroll ${service} --token ${enrolment.token}`, "The command that enrols the device"));
  } catch (error) {
    box.append(problemBox(error, null));
  }
  box.append(h("div", { class: "buttons" }, close));
  close.focus();
}

function askRevoke(device, again) {
  const title = freshId("title");
  const box = h("dialog", { "aria-labelledby": title },
    h("h2", { id: title }, `Revoke ${device.name}?`),
    h("p", {}, "Its token becomes worthless at once; what it uploaded stays. To come back it has to enrol anew."));
  const cancel = h("button", { type: "button", onclick: () => box.close() }, "Keep it");
  const revoke = h("button", { type: "button", class: "main", onclick: act }, "Revoke");
  async function act() {
    try {
      await send("DELETE", address("devices", device.id));
      box.close();
      say(`${device.name} is revoked`);
      await again();
    } catch (error) {
      box.append(problemBox(error, null));
    }
  }
  box.append(h("div", { class: "buttons" }, cancel, revoke));
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
}
