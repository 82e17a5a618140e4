// Requests to the service. Every error becomes a Problem with words that can be shown.

/** What the service refused (RFC 9457), or that it does not answer (status 0). */
export class Problem extends Error {
  constructor(document, status, retrySeconds = null) {
    super(document.detail ?? document.title ?? `status ${status}`);
    this.status = status;
    this.kind = (document.type ?? "").split(":").pop();
    this.field = document.field ?? null;
    this.document = document;
    this.retrySeconds = retrySeconds;
  }
}

/** Where the service is: a proxy may show it below a path of its own. */
export const service = new URL(".", location.href).href.replace(/\/$/, "");

/** GET a document. */
export async function get(path, signal) {
  return (await request("GET", path, undefined, signal)).document;
}

/** Send a document; the answer's status, headers and document. */
export async function send(method, path, body, signal) {
  return request(method, path, body, signal);
}

/** Send a file that is no document. */
export async function sendFile(path, file, type) {
  return request("POST", path, file, undefined, type);
}

/** The address of something below /v1, its parts escaped. */
export function address(...parts) {
  return `/v1/${parts.map(encodeURIComponent).join("/")}`;
}

async function request(method, path, body, signal, type = "application/json") {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = type;
  let answer;
  let text;
  try {
    answer = await fetch(service + path, { method, headers, body: body === undefined ? undefined : textOf(body), signal });
    text = await answer.text(); // the connection may break here too, after the answer's head
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ detail: "The service does not answer. Does it still run, and is the network up?" }, 0);
  }
  return accepted(answer, text);
}

function textOf(body) {
  return typeof body === "string" || body instanceof Blob ? body : JSON.stringify(body);
}

/** The answer's parts, unless it is a problem. Without a session, the page for signing in is shown instead. */
function accepted(answer, text) {
  let document = null;
  try {
    document = text ? JSON.parse(text) : null;
  } catch {
    document = { detail: `The service answered with status ${answer.status}.` };
  }
  if (answer.ok) return { status: answer.status, headers: answer.headers, document };
  if (answer.status === 401) askForToken();
  throw new Problem(document ?? {}, answer.status, retryAfter(answer));
}

/** Reload: the service answers a browser without a session with its page for signing in. */
export function askForToken() {
  location.reload();
}

/** What Retry-After says, in seconds; null without it. */
export function retryAfter(answer) {
  const seconds = Number(answer.headers.get("retry-after"));
  return Number.isFinite(seconds) && seconds > 0 ? seconds : null;
}
