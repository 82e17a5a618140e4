// The shell: shows the view that the address names, and ends the one before.

import { get, send, service, Problem } from "./api.js";
import { h, say } from "./dom.js";
import { here } from "./router.js";
import { problemBox } from "./parts.js";

const views = {
  runs: () => import("./views/runs.js"),
  run: () => import("./views/run.js"),
  plans: () => import("./views/plans.js"),
  plan: () => import("./views/plan.js"),
  compare: () => import("./views/compare.js"),
  new: () => import("./views/new_plan.js"),
  fleet: () => import("./views/fleet.js"),
};

const place = document.getElementById("view");
let current = new AbortController();
let isFirst = true;

function viewOf(steps) {
  const [section = "runs", id] = steps;
  if (id !== undefined && (section === "runs" || section === "plans")) return section.slice(0, -1);
  return section;
}

async function show() {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const isFromHere = !isFirst; // asked before anything is waited for: the first page may be left before it is there
  isFirst = false;
  const { steps, query } = here();
  const name = viewOf(steps);
  markNavigation(steps[0] ?? "runs");
  const own = h("div", { class: "view" });
  place.replaceChildren(own);
  try {
    if (!Object.hasOwn(views, name)) throw new Problem({ detail: `There is no page ${name.slice(0, 60)}.` }, 404);
    const view = await views[name]();
    if (signal.aborted) return;
    await view.show(own, { id: steps[1], query, signal });
  } catch (error) {
    if (signal.aborted) return;
    own.replaceChildren(h("h1", {}, "That did not work"), problemBox(error, show));
    if (!(error instanceof Problem)) console.error(error);
  }
  if (!signal.aborted) arrive(own, isFromHere);
}

/** Tell the title bar, and the screen reader too when one page led to another, where we are. */
function arrive(own, isFromHere) {
  const heading = own.querySelector("h1");
  document.title = heading === null ? "neuroflux" : `${heading.textContent} – neuroflux`;
  if (!isFromHere) return;
  if (heading !== null) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  scrollTo(0, 0);
}

function markNavigation(section) {
  for (const each of document.querySelectorAll(".top nav a")) {
    if (each.getAttribute("href") === `#/${section}`) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
}

async function offerSignOut() {
  const button = document.getElementById("sign-out");
  const session = await get("/v1/session").catch(() => null);
  button.hidden = session?.kind !== "session" || !session.authentication;
  button.addEventListener("click", async () => {
    await send("DELETE", "/v1/session");
    location.replace(`${service}/`);
  });
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address' hash is the view's
  place.focus();
});
addEventListener("hashchange", show);
addEventListener("offline", () => say("The network is down."));
show();
offerSignOut();
