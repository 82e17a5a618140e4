// Elements from names and texts. Text only ever becomes a text node, so that no name is read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. `attributes`: `on…` are listeners, `style` an object, true an empty attribute; null is left out. */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function s(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") setStyle(element, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Through the object model: the page's policy refuses style attributes. */
export function setStyle(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
}

/** What a screen reader is to say now. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

let used = 0;

/** An id that is not used yet in this page. */
export function freshId(word) {
  used += 1;
  return `${word}-${used}`;
}

/** Call `draw(width)` now and whenever the place has got another width, until the signal. */
export function whenResized(place, signal, draw) {
  let width = 0;
  const observer = new ResizeObserver(() => {
    const now = Math.floor(place.clientWidth);
    if (now > 0 && now !== width) {
      width = now;
      draw(width);
    }
  });
  observer.observe(place);
  signal.addEventListener("abort", () => observer.disconnect());
}
