// Server-sent events read with fetch: unlike EventSource it can begin behind what the page has already, and it sees
// what status an answer has.

import { askForToken, retryAfter, service } from "./api.js";

const FIRST_WAIT = 1;
const LONGEST_WAIT = 30;

/**
 * Follow a stream until its end or the signal. `onEvent(kind, data)`; `onState("live" | "cut" | "ended")`.
 * After a cut it goes on behind the last event that came, waiting longer each time it fails.
 */
export async function follow(path, after, signal, onEvent, onState) {
  let last = after;
  let wait = FIRST_WAIT;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream" };
      if (last !== null) headers["Last-Event-ID"] = String(last);
      const answer = await fetch(service + path, { headers, signal });
      if (answer.status === 401) return askForToken();
      if (answer.status === 204) return onState("ended");
      if (answer.ok) {
        onState("live");
        for await (const event of events(answer.body)) {
          wait = FIRST_WAIT;
          last = event.id ?? last;
          onEvent(event.kind, event.data);
          if (event.kind === "report") return onState("ended");
        }
      } else {
        wait = Math.max(wait, retryAfter(answer) ?? 0);
      }
    } catch (error) {
      if (signal.aborted) return undefined;
      if (!(error instanceof TypeError) && error.name !== "NetworkError") throw error;
    }
    if (signal.aborted) return undefined;
    onState("cut");
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }
  return undefined;
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const event = parsed(part);
        if (event !== null) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(part) {
  const fields = new Map();
  for (const line of part.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 2));
  }
  if (!fields.has("data")) return null;
  return { kind: fields.get("event") ?? "message", id: fields.get("id") ?? null, data: JSON.parse(fields.get("data")) };
}

/** Wait some seconds, or until the signal. */
export function pause(seconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    });
  });
}
