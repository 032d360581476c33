// Colours for every kind of colour vision: Okabe and Ito's for lines, Tol's light colours behind black text, and scales
// of one hue for numbers.
/* global d3 */

export const LINES = ["#0072b2", "#d55e00", "#009e73", "#b8578f", "#c28500", "#3d9bd1", "#6a4c93", "#6b5b4b"];
const LABELS = ["#77aadd", "#ee8866", "#bbcc33", "#ffaabb", "#99ddff", "#eedd88", "#44bb99", "#aaaa00", "#c6a9d9", "#d9c1a5"];
export const NONE = "#eceef1";
const OTHER = "#d3d7dd";

export const lineColour = (place) => LINES[place % LINES.length];

// The background colour, behind black text, for `count` of `most` units that are on.
export function activeColour(count, most) {
  if (!count || !most) return "#ffffff";
  return d3.interpolateRgb("#e3eefa", "#6ba6dd")(most === 1 ? 1 : (count - 1) / (most - 1));
}

// The colour of a field for an attention weight from 0 to 1.
export const weightColour = (value) => d3.interpolateRgb("#ffffff", "#1f5f9e")(Math.sqrt(Math.max(0, Math.min(1, value))));

const isNumber = (label) => /^-?\d+$/.test(label);

// The appearance of a track's values: `colour(value)`, `text(value)`, and `legend(values)` for the values in view.
export function trackScale(track) {
  if (!track.labels) {
    const [low, high] = track.range;
    const scale = d3.scaleSequential(d3.interpolateRgbBasis(["#fff8ec", "#fdd49e", "#ef8a4f", "#b3402a"]));
    scale.domain([low, high > low ? high : low + 1]).clamp(true);
    return {
      colour: (value) => (value === null ? NONE : scale(value)),
      text: (value) => (value === null ? "not known" : String(Number(value.toFixed(3)))),
      legend: () => [],
      range: [low, high],
      scale,
    };
  }
  const ordered = track.labels.length > 2 && track.labels.every(isNumber);
  const ramp = d3.interpolateRgbBasis(["#f3f5f4", "#b9dccb", "#66b29b", "#2f7f80"]);
  const colour = (value) => {
    if (value === null) return NONE;
    if (ordered) return ramp(value / (track.labels.length - 1));
    return value < LABELS.length ? LABELS[value] : OTHER;
  };
  return {
    colour,
    text: (value) => (value === null ? "no label" : track.labels[value]),
    legend: (values) => [...new Set(values.filter((one) => one !== null))].sort((a, b) => a - b).map((one) => [track.labels[one], colour(one)]),
  };
}
