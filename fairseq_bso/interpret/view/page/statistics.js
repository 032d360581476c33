// The statistics view: the units that predict a track best, and what the best unit reaches by chance.
/* global d3 */

import { Latest } from "./api.js";
import { StateChoice } from "./controls.js";
import { svgButton } from "./export.js";
import { count, h, hideTooltip, number, problem, shorten, showTooltip } from "./dom.js";
import { trackScale } from "./palette.js";
import { ruleText } from "./rule.js";
import { statesInView } from "./state.js";

const ROW = 26;
const TOP = 44;
const NAME = 150;
const SCALE = 380;
const MEANS = 300;

const WHAT = {
  area_under_curve: ["area under the curve", "The probability that the unit is higher (or lower) at a word with this label than at a word without it: 0.5 by chance, 1 for a perfect separation."],
  correlation_ratio: ["correlation ratio", "The share of the unit’s variance that lies between the means of the labels (eta squared): 0 for none, 1 for all of it."],
  correlation: ["correlation", "The absolute value of Pearson’s correlation of the unit with the number: 0 for none, 1 for a linear function."],
};

export class Statistics {
  // `look(row)` shows one unit alone in the select view.
  constructor(store, look) {
    this.store = store;
    this.look = look;
    this.request = new Latest("statistics");
    this.states = new StateChoice((states) => store.set({ states }));
    this.track = h("select", { id: "track", onchange: () => store.set({ track: this.track.value, label: "" }) });
    this.label = h("select", { id: "label", onchange: () => store.set({ label: this.label.value }) });
    this.labelField = h("label", { class: "field" }, h("span", {}, "Label"), this.label);
    this.note = h("p", { class: "note", role: "status" });
    this.place = h("div", { class: "scroll", id: "statistics" });
    this.svg = d3.create("svg").attr("class", "ranking").attr("role", "group").attr("aria-label", "Units, the best first");
    const save = svgButton(() => this.place.querySelector("svg"), "statistics", () => this.title());
    this.node = h(
      "div",
      { class: "view" },
      h(
        "section",
        { class: "card", "aria-labelledby": "statistics-title" },
        h("div", { class: "card-head" }, h("h2", { id: "statistics-title" }, "Statistics"), save),
        h(
          "div",
          { class: "row" },
          h("label", { class: "field" }, h("span", {}, "Track"), this.track),
          this.labelField,
          h("div", { class: "field" }, h("span", {}, "States"), this.states.node),
        ),
        this.note,
        this.place,
      ),
    );
  }

  title() {
    return `Units that predict ${this.chosen.name}${this.labelName ? ` ${this.labelName}` : ""}`;
  }

  show(state, side) {
    this.side = side;
    const states = statesInView(state, side);
    this.states.show(side, states);
    if (!side.tracks.length) {
      this.empty("This capture has no tracks: give labels or numbers for the words to fairseq-bso states.");
      return;
    }
    this.chosen = side.tracks.find((track) => track.name === state.track) ?? side.tracks[0];
    this.fill(this.track, side.tracks.map((track) => [track.name, track.name]), this.chosen.name);
    const { labels } = this.chosen;
    this.labelField.hidden = !labels;
    this.labelName = labels?.includes(state.label) ? state.label : "";
    if (labels) this.fill(this.label, [["", "all labels"], ...labels.map((label) => [label, label])], this.labelName);
    const fields = { side: side.name, states: states.join(","), track: this.chosen.name, label: this.labelName };
    if (JSON.stringify(fields) !== this.request.key) {
      this.note.textContent = "Counting; a large corpus takes a few seconds …";
      this.place.classList.add("waiting");
    }
    this.request.ask(fields, (answer) => this.draw(answer), (error) => this.empty(error.message, true));
  }

  fill(select, options, value) {
    select.replaceChildren(...options.map(([key, text]) => h("option", { value: key }, text)));
    select.value = value;
  }

  empty(text, wrong = false) {
    this.note.textContent = "";
    this.place.classList.remove("waiting");
    this.place.replaceChildren(h("p", { class: wrong ? "empty wrong" : "empty" }, text));
  }

  resize() {}

  draw(answer) {
    problem("");
    this.place.classList.remove("waiting");
    const [name, meaning] = WHAT[answer.criterion];
    const all = answer.steps < this.side.steps ? `the first ${number(answer.steps)} words` : `all ${number(answer.steps)} words`;
    this.note.textContent = `${meaning} Over ${all}; the best ${answer.units.length} of ${count(answer.of, "unit")}. The shaded band shows what the best unit reaches by chance, when the track is shifted ${answer.control.length} times. Click a unit to see it alone.`;
    const means = answer.units[0]?.means ? this.chosen.labels : null;
    this.means = means;
    const text = NAME + SCALE + (means ? MEANS + 40 : 0) + 36;
    const legendRows = means ? 1 : 0;
    const width = text + 300;
    const height = TOP + answer.units.length * ROW + 14 + legendRows * 22;
    this.svg.attr("width", width).attr("height", height).attr("viewBox", `0 0 ${width} ${height}`).selectAll("*").remove();
    this.x = d3.scaleLinear([answer.chance, 1], [NAME, NAME + SCALE]);
    this.drawScale(answer, name, height - legendRows * 22);
    answer.units.forEach((row, place) => this.drawRow(row, TOP + place * ROW, text));
    if (means) this.drawLegend(means, height - 16);
    if (this.svg.node().parentNode !== this.place) this.place.replaceChildren(this.svg.node());
  }

  drawScale(answer, name, bottom) {
    const group = this.svg.append("g").attr("class", "scale");
    const best = d3.max(answer.control);
    group.append("rect").attr("class", "control").attr("x", this.x(answer.chance)).attr("y", TOP - 4)
      .attr("width", Math.max(1, this.x(best) - this.x(answer.chance))).attr("height", bottom - TOP);
    group.append("line").attr("class", "control-line").attr("x1", this.x(best)).attr("x2", this.x(best)).attr("y1", TOP - 4).attr("y2", bottom - 4);
    group.append("text").attr("class", "title").attr("x", NAME).attr("y", 14).text(`${name}; shuffled control ${best.toFixed(3)}`);
    for (const value of this.x.ticks(5)) {
      group.append("line").attr("class", "grid").attr("x1", this.x(value)).attr("x2", this.x(value)).attr("y1", TOP - 4).attr("y2", bottom - 4);
      group.append("text").attr("class", "tick").attr("x", this.x(value)).attr("y", TOP - 10).text(value);
    }
    if (!this.means) return;
    const scale = (this.m = d3.scaleLinear([-1, 1], [NAME + SCALE + 40, NAME + SCALE + 40 + MEANS - 40]));
    group.append("text").attr("class", "title").attr("x", scale(-1)).attr("y", 14).text("mean of the unit at each label");
    for (const value of [-1, 0, 1]) {
      group.append("line").attr("class", "grid").attr("x1", scale(value)).attr("x2", scale(value)).attr("y1", TOP - 4).attr("y2", bottom - 4);
      group.append("text").attr("class", "tick").attr("x", scale(value)).attr("y", TOP - 10).text(String(value).replace("-", "−"));
    }
  }

  drawRow(row, y, textX) {
    const look = () => this.look(row);
    const group = this.svg.append("g").attr("class", "row").attr("tabindex", 0).attr("role", "button").attr("data-unit", row.unit)
      .attr("aria-label", `${row.unit}, ${row.score.toFixed(3)}: show it alone`).on("click", look)
      .on("keydown", (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), look()));
    group.append("rect").attr("class", "ground").attr("x", 0).attr("y", y - 2).attr("width", "100%").attr("height", ROW);
    group.append("text").attr("class", "unit-name").attr("x", 8).attr("y", y + 15).text(shorten(row.unit, 86, 13));
    group.append("text").attr("class", "figure").attr("x", NAME - 12).attr("y", y + 15).text(row.score.toFixed(3));
    group.append("line").attr("class", "stem").attr("x1", NAME).attr("x2", this.x(row.score)).attr("y1", y + 11).attr("y2", y + 11);
    group.append("circle").attr("class", "score").attr("cx", this.x(row.score)).attr("cy", y + 11).attr("r", 5);
    if (this.means) this.drawMeans(group, row, y);
    const described = describe(row);
    if (described) group.append("text").attr("class", "legend").attr("x", textX).attr("y", y + 15).text(described);
  }

  drawMeans(group, row, y) {
    const scale = trackScale(this.chosen);
    const apart = Math.min(3, 15 / row.means.length); // so that equal means stay visible
    row.means.forEach((mean, label) => {
      if (mean === null) return;
      const middle = y + 11 + (label - (row.means.length - 1) / 2) * apart;
      group.append("circle").attr("class", "mean").attr("cx", this.m(mean)).attr("cy", middle).attr("r", 4.5).attr("fill", scale.colour(label))
        .on("pointermove", (event) => showTooltip(event, h("b", {}, this.chosen.labels[label]), ` ${row.unit} is ${mean.toFixed(2)} on average`))
        .on("pointerleave", hideTooltip);
    });
  }

  drawLegend(labels, y) {
    const scale = trackScale(this.chosen);
    let x = NAME;
    labels.forEach((label, place) => {
      this.svg.append("circle").attr("class", "mean").attr("cx", x + 6).attr("cy", y + 6).attr("r", 5).attr("fill", scale.colour(place));
      const text = this.svg.append("text").attr("class", "legend").attr("x", x + 16).attr("y", y + 10).text(label);
      x += 34 + text.text().length * 7;
    });
  }
}

function describe(row) {
  if (row.threshold !== undefined) {
    return `on at ${ruleText(row)}: F1 ${row.f1.toFixed(2)}, accuracy ${row.accuracy.toFixed(2)}`;
  }
  if (row.error !== undefined) return `${row.value < 0 ? "falls" : "rises"} with it; mean error ${row.error.toFixed(2)} (of the mean ${row.error_of_mean.toFixed(2)})`;
  return "";
}
