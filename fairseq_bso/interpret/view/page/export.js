// Saves charts as self-contained SVG files, and findings as JSON.
/* global d3 */

import { FONT } from "./dom.js";

const COPIED = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linejoin",
  "stroke-linecap", "opacity", "font-size", "font-weight", "font-style", "text-anchor", "dominant-baseline", "visibility",
  "display", "letter-spacing", "clip-path",
];

// The text of an SVG file: a copy of the chart in which each element carries its computed style.
export function standalone(svg, title) {
  const copy = svg.cloneNode(true);
  const originals = [svg, ...svg.querySelectorAll("*")];
  const copies = [copy, ...copy.querySelectorAll("*")];
  originals.forEach((original, place) => {
    const style = getComputedStyle(original);
    for (const name of COPIED) {
      const value = style.getPropertyValue(name);
      if (value && value !== "auto" && !(name === "clip-path" && value === "none")) {
        copies[place].setAttribute(name, value.replace(/url\("?[^"#)]*#([^")]+)"?\)/, "url(#$1)"));
      }
    }
    for (const name of ["class", "tabindex", "role", "style"]) copies[place].removeAttribute(name);
    for (const name of copies[place].getAttributeNames()) {
      if (name.startsWith("aria-") || name.startsWith("data-")) copies[place].removeAttribute(name);
    }
  });
  for (const unwanted of copy.querySelectorAll('[display="none"], [visibility="hidden"]')) unwanted.remove();
  const { width, height } = svg.getBoundingClientRect();
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", Math.ceil(width));
  copy.setAttribute("height", Math.ceil(height));
  copy.setAttribute("viewBox", `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`);
  copy.setAttribute("font-family", FONT);
  const name = document.createElementNS("http://www.w3.org/2000/svg", "title");
  name.textContent = title;
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, value] of [["width", "100%"], ["height", "100%"], ["fill", "#ffffff"]]) ground.setAttribute(key, value);
  copy.prepend(name, ground);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}\n`;
}

export function download(text, name, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// A button that saves the chart that `find()` returns.
export function svgButton(find, name, title) {
  return d3
    .create("button")
    .attr("type", "button")
    .attr("class", "quiet")
    .attr("title", `Save this chart as ${name}.svg`)
    .attr("data-export", name)
    .text("Save SVG")
    .on("click", () => {
      const svg = find();
      if (svg) download(standalone(svg, title()), `${name}.svg`, "image/svg+xml");
    })
    .node();
}

// Copies a text. If the browser does not permit this, saves it as a file. Returns which.
export async function copy(text, name) {
  try {
    await navigator.clipboard.writeText(text);
    return "copied";
  } catch {
    download(text, name, "application/json");
    return `saved as ${name}`;
  }
}
