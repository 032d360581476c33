// When a unit is on: a threshold and a direction, for the card and the table.

import { numberInput } from "./controls.js";
import { h, press, segments } from "./dom.js";

export const ruleText = ({ threshold, direction }) => `${direction === "below" ? "≤ −" : "≥ "}${threshold.toFixed(2)}`;

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
