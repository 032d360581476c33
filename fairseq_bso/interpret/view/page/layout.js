// The layout of the line plot: one column for each word, as wide as the word.

import { measure, shorten } from "./dom.js";

export const MARGIN = { left: 112, right: 60, top: 22 };
export const WORD = 26; // height of the row of words
export const TRACK = 19; // height of the row of one track
const NARROWEST = 24;
const WIDEST = 120;

// The words that fit into `width`: [{ x, width, middle, text, full }].
export function columnsOf(words, width) {
  const columns = [];
  let x = MARGIN.left;
  for (const full of words) {
    const own = Math.min(WIDEST, Math.max(NARROWEST, Math.ceil(measure(full, 13)) + 12));
    if (x + own > width - MARGIN.right && columns.length) break;
    columns.push({ x, width: own, middle: x + own / 2, full, text: shorten(full, own - 6, 13) });
    x += own;
  }
  return columns;
}

export function panelHeight(panels) {
  return panels === 1 ? 260 : panels === 2 ? 180 : 140;
}

// The range of values of a panel: that of a tanh or a sigmoid unless there are larger values.
export function domainOf(values) {
  let low = 0;
  let high = 0;
  for (const unit of values) {
    for (const value of unit) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  const top = Math.max(1, Math.ceil(high * 2) / 2);
  return [low < 0 ? -Math.max(1, Math.ceil(-low * 2) / 2) : 0, top];
}

// The column at a horizontal position, or the nearest column.
export function columnAt(columns, x) {
  const found = columns.findIndex((one) => x < one.x + one.width);
  return found < 0 ? columns.length - 1 : found;
}
