// Small charts of the card and of the table.
/* global d3 */

import { h } from "./dom.js";
import { isOn, ruleText, signedThreshold } from "./rule.js";

const WIDTH = 348;
const HEIGHT = 92;

// The background of a word behind black text: blue for values above zero, orange below, as strong as `value / most`.
export function valueColour(value, most) {
  const share = Math.min(1, Math.abs(value) / most);
  return d3.interpolateRgb("#ffffff", value < 0 ? "#f3a46b" : "#6ba6dd")(share);
}

// The steps at each value: bars of equal width from -1.275 to 1.275. Bars that are on are dark.
export function histogram(counts, state) {
  const width = 2.55 / counts.length;
  const first = counts.findIndex((one) => one > 0);
  const last = counts.length - 1 - [...counts].reverse().findIndex((one) => one > 0);
  const centre = (place) => -1.275 + (place + 0.5) * width;
  const ends = [Math.min(-1, centre(first) - width), Math.max(1, centre(last) + width)];
  const x = d3.scaleLinear(ends, [6, WIDTH - 6]);
  const y = d3.scaleSqrt([0, d3.max(counts)], [HEIGHT - 18, 8]);
  const svg = d3.create("svg").attr("class", "histogram").attr("width", WIDTH).attr("height", HEIGHT).attr("role", "img");
  svg.attr("aria-label", "Histogram of the values; the heights are square roots of counts");
  const edge = signedThreshold(state);
  counts.forEach((one, place) => {
    if (!one) return;
    const middle = centre(place);
    const top = Math.min(y(one), HEIGHT - 19.5);
    svg.append("rect").attr("class", isOn(middle, state) ? "on" : "off").attr("x", x(middle - width / 2) + 0.4).attr("width", Math.max(1, x(width) - x(0) - 0.8))
      .attr("y", top).attr("height", HEIGHT - 18 - top).append("title").text(`${middle.toFixed(2)}: ${one.toLocaleString("en-US")}`);
  });
  svg.append("line").attr("class", "base").attr("x1", 4).attr("x2", WIDTH - 4).attr("y1", HEIGHT - 17.5).attr("y2", HEIGHT - 17.5);
  svg.append("line").attr("class", "edge").attr("x1", x(edge)).attr("x2", x(edge)).attr("y1", 2).attr("y2", HEIGHT - 18);
  svg.append("title").text(`On: ${ruleText(state)}`);
  for (const value of [-1, -0.5, 0, 0.5, 1]) {
    svg.append("text").attr("class", "tick").attr("x", x(value)).attr("y", HEIGHT - 4).text(String(value).replace("-", "−"));
  }
  return svg.node();
}

// One row of the table: heights from 0 to 100.
export function smallHistogram(heights) {
  const path = heights.map((one, place) => (one ? `M${place * 5},22v${-Math.max(1, Math.round(one / 5))}h4v${Math.max(1, Math.round(one / 5))}z` : "")).join("");
  const svg = d3.create("svg").attr("class", "small-histogram").attr("width", heights.length * 5).attr("height", 23).attr("aria-hidden", "true");
  svg.append("line").attr("class", "base").attr("x1", 0).attr("x2", heights.length * 5).attr("y1", 22.5).attr("y2", 22.5);
  svg.append("path").attr("d", path);
  return svg.node();
}

// The score of a track from 0 to 1, with what chance reaches.
export function trackBar({ score, control }) {
  const bar = h("span", { class: "bar track-bar" }, h("i", { style: `width:${100 * score}%` }), h("b", { style: `width:${100 * Math.min(1, control)}%` }));
  bar.title = `${score.toFixed(3)}; shuffled control ${control.toFixed(3)}`;
  return bar;
}
