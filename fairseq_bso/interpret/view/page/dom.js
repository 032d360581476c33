// Small helpers to build the page.

export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function button(text, action, attributes = {}) {
  return h("button", { type: "button", onclick: action, ...attributes }, text);
}

// A row of buttons for one of several words. `choose(word)` is called with the word of the pressed button.
export function segments(options, choose, label) {
  const group = h("div", { class: "segments", role: "group", "aria-label": label });
  fillSegments(group, options, choose);
  return group;
}

export function fillSegments(group, options, choose) {
  group.replaceChildren(
    ...options.map(([value, text, title]) => button(text, () => choose(value), { "data-value": value, title })),
  );
}

export function press(group, isOn) {
  for (const one of group.children) one.setAttribute("aria-pressed", String(isOn(one.dataset.value)));
}

export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

export function problem(text) {
  const place = document.getElementById("problem");
  place.hidden = !text;
  place.textContent = text || "";
}

const measurer = document.createElement("canvas").getContext("2d");
const widths = new Map();
export const FONT = 'system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif';

// The width of a text in pixels.
export function measure(text, size = 13, weight = 400) {
  const key = `${weight} ${size} ${text}`;
  if (!widths.has(key)) {
    if (widths.size > 20000) widths.clear();
    measurer.font = `${weight} ${size}px ${FONT}`;
    widths.set(key, measurer.measureText(text).width);
  }
  return widths.get(key);
}

// The beginning of a text that fits into a width.
export function shorten(text, width, size = 13) {
  if (measure(text, size) <= width) return text;
  let length = text.length;
  while (length > 1 && measure(`${text.slice(0, length)}…`, size) > width) length -= 1;
  return `${text.slice(0, length)}…`;
}

const tooltip = document.getElementById("tooltip");

export function showTooltip(event, ...content) {
  tooltip.replaceChildren(...content);
  tooltip.hidden = false;
  const box = tooltip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, innerWidth - box.width - 8);
  const below = event.clientY + 18;
  tooltip.style.left = `${Math.max(8, left)}px`;
  tooltip.style.top = `${below + box.height > innerHeight - 8 ? event.clientY - box.height - 10 : below}px`;
}

export function hideTooltip() {
  tooltip.hidden = true;
}

// Marks the words of one column and one row of a chart (a selection of d3); -1 marks none.
export function markWords(svg, column, row) {
  for (const [axis, place] of [["column", column], ["row", row]]) {
    svg.selectAll(`[data-${axis}]`).classed("marked", function isMarked() { return Number(this.dataset[axis]) === place; });
  }
}

export const number = (value) => Number(value).toLocaleString("en-US");
// A number with a fixed number of digits; – for none.
export const fixed = (value, digits = 2) => {
  if (value === null || value === undefined) return "–";
  const text = value.toFixed(digits);
  return (Number(text) ? text : (0).toFixed(digits)).replace("-", "−");
};
export const count = (value, word) => `${number(value)} ${word}${value === 1 ? "" : "s"}`;
