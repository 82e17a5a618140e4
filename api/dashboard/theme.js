// Colours for what is drawn on a canvas; they follow the system's dark and light as the style sheet does.

const dark = matchMedia("(prefers-color-scheme: dark)");

/** A colour of the style sheet: `--name`. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Draw again when the system changes between dark and light. */
export function whenThemeChanges(signal, draw) {
  dark.addEventListener("change", draw, { signal });
}

/** The size of text in CSS pixels, relative to the page's. */
export function textSize(share = 0.8) {
  return Math.round(share * parseFloat(getComputedStyle(document.documentElement).fontSize));
}
