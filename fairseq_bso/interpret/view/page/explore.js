// The select view and the match view: connects controls, line plot, selected units and matches.

import { Latest, ask } from "./api.js";
import { Controls } from "./controls.js";
import { announce, count, h, problem } from "./dom.js";
import { svgButton } from "./export.js";
import { Matches } from "./matches.js";
import { lineColour } from "./palette.js";
import { Plot } from "./plot.js";
import { UnitList, WordDetails } from "./sidebar.js";
import { names, statesInView } from "./state.js";

const LEAD = 6; // words shown before the target of a jump
const MOST_WORDS = 110;

export class Explore {
  constructor(store, info) {
    this.store = store;
    this.info = info;
    this.windows = new Latest("context");
    this.selections = new Latest("select", 60);
    const set = (patch, kind) => store.set(patch, kind);
    this.controls = new Controls({
      set,
      go: (position) => set({ pos: this.inside(position) }),
      page: (pages) => set({ pos: this.inside(store.state.pos + pages * this.shown()) }, "move"),
      step: (words) => set({ pos: this.inside(store.state.pos + words) }, "move"),
      sentence: (number) => this.goToSentence(number),
      select: (from, to) => this.jump(from, to),
      clear: () => this.clear(),
    });
    this.plot = new Plot({
      range: (from, to) => this.select(from, to, "brush"),
      threshold: (threshold) => set({ threshold }, "threshold"),
      hover: (position) => this.details.show(this.context, this.side, position ?? this.head ?? null),
      key: (event) => this.key(event),
    });
    this.list = new UnitList({
      toggle: (name) => this.toggle(name),
      point: (name) => this.plot.highlight(name),
      reset: () => set({ off: "" }),
      release: () => set({ units: "", off: "" }),
      card: (unit) => set({ view: "unit", unit }),
    });
    this.details = new WordDetails();
    this.matches = new Matches({ set, go: (match) => this.jump(match.start, match.start + match.length - 1) });
    this.stage = h("div", { class: "chart" }, h("p", { class: "empty" }, "Reading …"));
    const save = svgButton(() => this.stage.querySelector("svg"), "states", () => "States of the units over the words");
    const keys = "Keys in the plot: ← → move, with shift extend the range; Page up and down turn pages; ↑ ↓ change the threshold; Escape clears.";
    this.node = h(
      "div",
      { class: "view" },
      h(
        "section",
        { class: "card", "aria-labelledby": "select-title" },
        h("div", { class: "card-head" }, h("h2", { id: "select-title" }, "Select"), save),
        this.controls.node,
        h("div", { class: "stage" }, h("div", { class: "main-part" }, this.stage, h("p", { class: "note keys", id: "plot-keys" }, keys)), h("aside", {}, this.list.node, this.details.node)),
      ),
      this.matches.node,
    );
  }

  show(state, side) {
    this.side = side;
    const states = statesInView(state, side);
    const columns = side.states.filter((one) => states.includes(one.name)).reduce((sum, one) => sum + one.units, 0);
    this.controls.show(state, side, states);
    const length = Math.max(1, Math.min(MOST_WORDS, Math.floor(this.info.limits.values / columns)));
    const fields = { side: side.name, states: states.join(","), start: this.inside(state.pos), length };
    this.windows.ask(fields, (context) => this.use(context, fields), (error) => this.fail(error));
    this.showSelection(state, states);
  }

  use(context, fields) {
    problem("");
    this.context = context;
    this.contextFields = fields;
    this.controls.showSentence(context.sentences[0].number);
    this.draw();
  }

  fail(error) {
    problem(error.message);
  }

  showSelection(state, states) {
    this.pinned = names(state.units).filter((name) => states.includes(name.split(":")[0]));
    if (this.pinned.length || state.from === null) {
      this.selections.stop();
      this.selected = this.pinned;
      this.finish(state, states, false);
      return;
    }
    const { from, to, threshold, direction, left, right } = state;
    const fields = { side: this.side.name, states: states.join(","), from, to, threshold: threshold.toFixed(2), direction, left, right };
    const waiting = JSON.stringify(fields) !== this.selections.key || !this.selections.answer;
    if (waiting) {
      this.selected = this.selected ?? [];
      this.draw();
    }
    this.selections.ask(
      fields,
      (answer) => {
        this.selected = answer.units;
        this.of = answer.of;
        if (waiting) announce(`${count(answer.units.length, "unit")} selected`);
        this.finish(this.store.state, states, true);
      },
      (error) => {
        this.selected = [];
        this.fail(error);
        this.finish(this.store.state, states, true);
      },
    );
  }

  finish(state, states, own) {
    this.draw();
    const units = this.entries().filter((one) => one.on).map((one) => one.name);
    this.matches.show(state, this.side, states, units, own && units.length === this.selected.length);
  }

  entries() {
    const off = new Set(names(this.store.state.off));
    return (this.selected ?? []).map((name, place) => ({ name, colour: lineColour(place), on: !off.has(name) }));
  }

  draw() {
    const { state } = this.store;
    const selected = this.entries();
    this.list.show({ selected, state, of: this.of, pinned: this.pinned.length > 0, waiting: state.from !== null && !this.selections.answer });
    if (!this.context || this.contextFields.side !== this.side.name) return;
    if (this.plot.node.parentNode !== this.stage) this.stage.replaceChildren(this.plot.node);
    this.plot.draw({ context: this.context, state, side: this.side, selected, width: this.stage.clientWidth });
    if (this.head === undefined || this.head === null) this.details.show(this.context, this.side, state.from);
    else this.details.show(this.context, this.side, this.head);
  }

  resize() {
    this.draw();
    this.matches.redraw();
  }

  shown() {
    return Math.max(1, this.plot.columns.length - 1);
  }

  inside(position) {
    return Math.max(0, Math.min(this.side.steps - 1, position));
  }

  select(from, to, kind) {
    if (to - from >= this.info.limits.range) return;
    const { state } = this.store;
    if (state.from === from && state.to === to) return;
    [this.anchor, this.head] = [from, to];
    this.store.set({ from, to, off: "" }, kind);
  }

  jump(from, to) {
    [this.anchor, this.head] = [from, to];
    this.store.set({ pos: this.inside(from - LEAD), from, to, units: this.store.state.units, off: this.pinned.length ? this.store.state.off : "" });
    this.node.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  clear() {
    this.anchor = this.head = null;
    this.store.set({ from: null, to: null, off: "" });
  }

  toggle(name) {
    const off = new Set(names(this.store.state.off));
    if (!off.delete(name)) off.add(name);
    this.store.set({ off: [...off].join(",") });
  }

  async goToSentence(number) {
    try {
      const states = this.side.states[0].name;
      const answer = await ask("context", { side: this.side.name, states, sentence: number, length: 1 });
      this.store.set({ pos: answer.start });
    } catch (error) {
      this.fail(error);
    }
  }

  key(event) {
    const { state } = this.store;
    const arrows = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in arrows) this.move(arrows[event.key], event.shiftKey);
    else if (event.key === "PageUp" || event.key === "PageDown") {
      this.store.set({ pos: this.inside(state.pos + (event.key === "PageDown" ? 1 : -1) * this.shown()) }, "move");
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const level = Math.round(state.threshold * 100) + (event.key === "ArrowUp" ? 1 : -1);
      this.store.set({ threshold: Math.max(1, Math.min(100, level)) / 100 }, "threshold");
    } else if (event.key === "Home") this.store.set({ pos: 0 });
    else if (event.key === "End") this.store.set({ pos: this.inside(this.side.steps - this.shown()) });
    else if (event.key === "Escape") this.clear();
    else return;
    event.preventDefault();
  }

  // Moves one end of the range by one word. Without shift the range becomes that word.
  move(by, extend) {
    const { state } = this.store;
    if (state.from === null) this.anchor = this.head = this.inside(state.pos);
    else {
      if (![state.from, state.to].includes(this.head) || ![state.from, state.to].includes(this.anchor)) {
        [this.anchor, this.head] = [state.from, state.to];
      }
      this.head = this.inside(this.head + by);
      if (!extend) this.anchor = this.head;
    }
    const [from, to] = [Math.min(this.anchor, this.head), Math.max(this.anchor, this.head)];
    if (to - from >= this.info.limits.range) return;
    let { pos } = state;
    if (this.head < pos) pos = this.inside(this.head - 2);
    else if (this.head >= pos + this.shown()) pos = this.inside(this.head - this.shown() + 3);
    this.store.set({ from, to, pos, off: "" }, "keys");
    const word = this.context?.words[this.head - this.context.start];
    if (word) announce(`${word}, position ${this.head}`);
  }

  // The finding, as it is exported.
  finding() {
    const { state } = this.store;
    const { from, to, threshold, direction, left, right, mode, shortest } = state;
    const place = from === null || !this.context ? null : from - this.context.start;
    const words = place !== null && place >= 0 ? this.context.words.slice(place, place + to - from + 1) : [];
    const query = { side: this.side.name, states: statesInView(state, this.side), from, to, words, threshold, direction, left, right, mode, shortest };
    const units = this.entries().filter((one) => one.on).map((one) => one.name);
    return { query, units, chosen_by_name: this.pinned.length > 0, matches: this.matches.answer?.matches ?? [] };
  }
}
