// What is shown is what the address says: `#/runs/ID?from=10&to=20`.

/** The address' parts: the path's steps and the query. */
export function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { steps: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query ?? "") };
}

function decoded(step) {
  try {
    return decodeURIComponent(step);
  } catch {
    return step;
  }
}

/** An address. Values that are null, undefined or empty are left out of the query. */
export function link(steps, query = {}) {
  const kept = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
  return `#/${steps.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Change the query of the address in place: no step in the history, no new view. */
export function setQuery(changes) {
  const { steps, query } = here();
  history.replaceState(null, "", link(steps, { ...Object.fromEntries(query), ...changes }));
}

/** Say where we are without showing it anew: the view has done so itself. */
export function moveTo(steps, query = {}) {
  history.replaceState(null, "", link(steps, query));
}

/** Go to another view. */
export function go(steps, query = {}) {
  location.hash = link(steps, query);
}
