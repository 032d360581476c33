// When a unit is on: a threshold and a direction, for the card and the table.

import { numberInput } from "./controls.js";
import { h, press, segments } from "./dom.js";

export const ruleText = ({ threshold, direction }) => `${direction === "below" ? "≤ −" : "≥ "}${threshold.toFixed(2)}`;

// The value from which a unit is on, or down from which with "below".
export const signedThreshold = ({ threshold, direction }) => (direction === "below" ? -threshold : threshold);

export const isOn = (value, rule) => (rule.direction === "below" ? value <= signedThreshold(rule) : value >= signedThreshold(rule));

export class OnRule {
  // `set(patch, kind)` changes the state of the page.
  constructor(set) {
    this.threshold = numberInput({ min: 0.01, max: 1, step: 0.01 }, (value) => set({ threshold: Math.round(value * 100) / 100 }, "threshold"));
    const directions = [["above", "above", "On: at least the threshold"], ["below", "below", "On: at most minus the threshold"]];
    this.direction = segments(directions, (direction) => set({ direction }), "Direction");
    this.nodes = [
      h("label", { class: "field", title: "A unit is on from this value on" }, h("span", {}, "Threshold"), this.threshold),
      h("div", { class: "field" }, h("span", {}, "On if"), this.direction),
    ];
  }

  show(state) {
    this.threshold.value = state.threshold.toFixed(2);
    this.threshold.classList.remove("wrong");
    press(this.direction, (value) => value === state.direction);
  }
}
