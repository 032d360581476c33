// The table of all units in view, sorted by any of their numbers.

import { Latest } from "./api.js";
import { smallHistogram } from "./card_charts.js";
import { StateChoice } from "./controls.js";
import { announce, button, count, fixed, h, number, problem } from "./dom.js";
import { OnRule, ruleText } from "./rule.js";
import { statesInView } from "./state.js";

const FIRST = 200; // rows that are shown at first
const figure = (digits) => (value) => fixed(value, digits);
// Each column: key, title, text of a value, explanation.
const COLUMNS = [
  ["mean", "mean", figure(2), "Mean value over all words"],
  ["deviation", "deviation", figure(2), "Standard deviation"],
  ["low", "lowest", figure(2), "Lowest value"],
  ["high", "highest", figure(2), "Highest value"],
  ["share", "on", (value) => `${(100 * value).toFixed(value < 0.01 ? 2 : 1)} %`, "Share of the words at which the unit is on"],
  ["run", "mean run", (value) => (value ? value.toFixed(1) : "–"), "Mean length of a range of words at which the unit is on"],
  ["correlation", "correlation", figure(2), "Correlation with the unit that it is most correlated with"],
  ["track", "track", figure(3), "Score of the track: correlation or correlation ratio"],
];
const NAMED = ["correlation", "track"]; // columns with a name beside the number

export class UnitTable {
  constructor(store) {
    this.store = store;
    this.request = new Latest("table");
    const set = (patch, kind) => store.set(patch, kind);
    this.rule = new OnRule(set);
    this.states = new StateChoice((states) => set({ states }));
    this.track = h("select", { "data-local": true, onchange: () => set({ track: this.track.value, label: "" }) });
    this.note = h("p", { class: "note", role: "status" });
    this.place = h("div", { class: "scroll", id: "units" });
    this.all = false;
    this.node = h(
      "div",
      { class: "view" },
      h(
        "section",
        { class: "card", "aria-labelledby": "units-title" },
        h("div", { class: "card-head" }, h("h2", { id: "units-title" }, "Units")),
        h("div", { class: "row" }, h("div", { class: "field" }, h("span", {}, "States"), this.states.node), ...this.rule.nodes, h("label", { class: "field" }, h("span", {}, "Track"), this.track)),
        this.note,
        this.place,
      ),
    );
  }

  show(state, side) {
    this.side = side;
    this.rule.show(state);
    const states = statesInView(state, side);
    this.states.show(side, states);
    const { threshold, direction } = state;
    const fields = { side: side.name, states: states.join(","), threshold: threshold.toFixed(2), direction };
    if (JSON.stringify(fields) !== this.request.key) this.all = false;
    this.request.ask(fields, (answer) => this.draw(answer), (error) => this.place.replaceChildren(h("p", { class: "empty wrong" }, error.message)));
  }

  // The columns by name, with those that depend on the chosen track.
  columns(answer) {
    const { state } = this.store;
    const chosen = answer.tracks.find((one) => one.track === state.track);
    const best = answer.units.map((_, unit) => {
      const some = chosen ? [chosen] : answer.tracks;
      return some.reduce((found, one) => (found === null || one.scores[unit] - one.control > found.scores[unit] - found.control ? one : found), null);
    });
    const values = { ...answer.figures, correlation: answer.correlation, track: best.map((one, unit) => one?.scores[unit] ?? null) };
    const names = { correlation: answer.partner, track: best.map((one) => one?.track ?? "") };
    return { values, names, best };
  }

  order(answer, values) {
    const key = this.store.state.sort.replace(/^-/, "");
    const places = answer.units.map((_, unit) => unit);
    if (!values[key]) return places;
    const sign = this.store.state.sort.startsWith("-") ? -1 : 1;
    const of = (unit) => (key === "correlation" ? Math.abs(values[key][unit]) : (values[key][unit] ?? -Infinity));
    return places.sort((one, other) => sign * (of(one) - of(other)) || one - other);
  }

  draw(answer) {
    if (answer.missing) {
      this.note.textContent = "";
      return this.place.replaceChildren(h("p", { class: "empty wrong" }, answer.missing));
    }
    problem("");
    const tracks = [["", "the best one"], ...answer.tracks.map((one) => [one.track, one.track])];
    this.track.replaceChildren(...tracks.map(([key, text]) => h("option", { value: key }, text)));
    this.track.value = answer.tracks.some((one) => one.track === this.store.state.track) ? this.store.state.track : "";
    this.track.disabled = !answer.tracks.length;
    const { values, names, best } = this.columns(answer);
    const order = this.order(answer, values);
    const shown = this.all ? order : order.slice(0, FIRST);
    this.note.textContent = `${count(answer.units.length, "unit")} over ${number(answer.steps)} words; on: ${ruleText(this.store.state)}. Click a unit to see its card, a column to sort by it. A track that is no better than its shuffled control is grey.`;
    const rows = shown.map((unit) => this.row(answer, unit, values, names, best));
    const kept = document.activeElement?.dataset?.sort;
    this.place.replaceChildren(h("table", { class: "unit-table" }, h("thead", {}, this.head()), h("tbody", {}, ...rows)));
    if (kept) this.place.querySelector(`[data-sort="${kept}"]`)?.focus();
    if (shown.length < order.length) this.place.append(button(`Show all ${number(order.length)} units`, () => ((this.all = true), this.draw(answer)), { class: "quiet" }));
    return undefined;
  }

  head() {
    const { sort } = this.store.state;
    const cell = (key, title, explanation) => {
      const sorted = sort.replace(/^-/, "") === key;
      const next = sorted && sort.startsWith("-") ? key : sorted || !key ? "" : `-${key}`;
      const choose = () => {
        this.store.set({ sort: next }, "sort");
        announce(`Sorted by ${title}`);
      };
      const arrow = sorted && key ? (sort.startsWith("-") ? " ↓" : " ↑") : "";
      const state = !sorted ? "none" : sort.startsWith("-") ? "descending" : "ascending";
      return h("th", { scope: "col", "aria-sort": state, class: key ? "" : "left" }, button(`${title}${arrow}`, choose, { "data-sort": key || "unit", title: explanation }));
    };
    const bare = h("th", { scope: "col", class: "left" }, "values");
    return h("tr", {}, cell("", "unit", "In order of their numbers"), bare, ...COLUMNS.map(([key, title, , explanation]) => cell(key, title, explanation)));
  }

  row(answer, unit, values, names, best) {
    const name = answer.units[unit];
    const open = button(name, () => this.store.set({ view: "unit", unit: name }), { "data-unit": name, title: "Its card" });
    open.addEventListener("keydown", (event) => this.key(event));
    const cells = COLUMNS.map(([key, , text]) => {
      const grey = key === "track" && best[unit] && best[unit].scores[unit] <= best[unit].control;
      const value = h("span", { class: "figure" }, text(values[key][unit]));
      return h("td", { class: grey ? "grey" : "" }, NAMED.includes(key) ? h("span", { class: "name" }, names[key][unit] ?? "") : null, value);
    });
    return h("tr", {}, h("td", { class: "left" }, open), h("td", { class: "left" }, smallHistogram(answer.histograms[unit])), ...cells);
  }

  key(event) {
    const row = event.target.closest("tr");
    const to = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (!to) return;
    event.preventDefault();
    to.querySelector("button").focus();
  }

  resize() {}
}
