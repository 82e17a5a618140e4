// A measurement on the server, watched until it ends.

import { Problem, address, get, send } from "./api.js";
import { h } from "./dom.js";
import { duration, number } from "./format.js";
import { problemBox } from "./parts.js";
import { pause } from "./stream.js";

const LOOK_SECONDS = 1;

/** What is shown of a job; `onDone` is called when its profile is there. */
export function jobProgress(id, onDone, signal) {
  const place = h("div", { class: "note" });
  watch(id, place, onDone, signal).catch((error) => {
    if (!signal.aborted) place.replaceChildren(problemBox(error, null));
  });
  return place;
}

async function watch(id, place, onDone, signal) {
  const bar = h("progress", { "aria-label": "Measuring" });
  const words = h("p", { "aria-live": "off" }); // it changes every second
  const cancel = h("button", { type: "button", onclick: () => send("DELETE", address("jobs", id)).catch(() => {}) }, "Cancel");
  place.append(h("h2", {}, "Measuring the model on this server"), words, bar, h("p", {}, cancel));
  while (!signal.aborted) {
    const job = await get(address("jobs", id), signal).catch(orNone);
    words.textContent = job === null ? "The service does not answer; trying again." : said(job);
    if (job?.total > 0) {
      bar.max = job.total;
      bar.value = job.done;
    }
    if (job?.state === "done") return onDone();
    if (job?.state === "failed" || job?.state === "cancelled") {
      place.replaceChildren(h("p", {}, `Measuring ${job.state === "failed" ? `failed: ${job.error}` : "was cancelled."}`));
      return undefined;
    }
    await pause(LOOK_SECONDS, signal);
  }
  return undefined;
}

/** The measurement goes on while the service is away or busy. */
function orNone(error) {
  if (error instanceof Problem && (error.status === 0 || error.status === 503)) return null;
  throw error;
}

function said(job) {
  const left = job.eta_seconds === null ? "" : `, about ${duration(job.eta_seconds)} left`;
  const parts = job.total ? `, ${number(job.done)} of ${number(job.total)}` : "";
  return `${job.model}: ${job.state}${job.phase ? `, ${job.phase}` : ""}${parts}${left}`;
}
