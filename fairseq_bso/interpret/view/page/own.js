// The view of one's own text: reads a sentence with the model, and shows it as the select view shows the corpus.

import { Latest, ask } from "./api.js";
import { button, h, problem } from "./dom.js";
import { Explore } from "./explore.js";
import { Intervention } from "./intervention.js";
import { PairCard } from "./pair.js";
import { statesInView } from "./state.js";

// The fields of the select view, and those in which this view keeps its own.
const OWN = { from: "first", to: "last", pos: "opos", units: "ounits", off: "ooff" };

// A store for the code of the select view.
class OwnStore {
  constructor(store) {
    this.store = store;
  }

  get state() {
    const state = { ...this.store.state };
    for (const [name, own] of Object.entries(OWN)) state[name] = state[own];
    return state;
  }

  set(patch, kind) {
    this.store.set(Object.fromEntries(Object.entries(patch).map(([name, value]) => [OWN[name] ?? name, value])), kind);
  }
}

export class OwnText extends Explore {
  constructor(store, info) {
    super(new OwnStore(store), info);
    this.real = store;
    this.windows = new Latest("own");
    this.selections = new Latest("own_select", 60);
    this.controls.node.firstElementChild.remove(); // the place in the corpus
    this.note = h("p", { class: "note own-note", role: "status" });
    this.intervention = new Intervention(store);
    this.pair = new PairCard(store, info.own);
    this.card = this.node.firstElementChild;
    this.card.querySelector("h2").textContent = "Own text";
    this.card.querySelector("[data-export]").dataset.export = "own";
    this.controls.node.before(this.form());
    this.controls.node.before(this.note);
    this.card.after(this.intervention.node, this.pair.node);
    this.stage.replaceChildren(h("p", { class: "empty" }, "Type a sentence above: the model reads it, and its states appear here."));
  }

  form() {
    const { longest, translation } = this.info.own;
    this.text = h("input", { type: "text", maxlength: 4000, id: "own-text", placeholder: `words as in the training data, at most ${longest}` });
    this.target = h("input", { type: "text", maxlength: 4000, id: "own-target", placeholder: "empty: the model’s own output" });
    this.number = h("input", { type: "number", min: 0, step: 1, class: "wide", "aria-label": "Sentence of the corpus", placeholder: "number" });
    const field = (label, input) => h("label", { class: "field grow" }, h("span", {}, label), input);
    const form = h(
      "form",
      { class: "own-form" },
      h("div", { class: "row" }, field(translation ? "Source" : "Text", this.text), h("button", { type: "submit", id: "own-read" }, "Read")),
      h(
        "div",
        { class: "row" },
        translation ? field("Target", this.target) : "",
        h("div", { class: "field" }, h("span", {}, "Sentence of the corpus"), this.number, button("Copy to here", () => this.load(Number(this.number.value)), { class: "quiet" })),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.read(this.text.value, this.target.value);
    });
    return form;
  }

  read(text, target) {
    this.real.set({ text: text.trim(), target: target.trim(), first: null, last: null, opos: 0, ooff: "", set: "" });
  }

  // Copies a sentence of the corpus into the fields.
  async load(number) {
    const words = async (name) => {
      const side = this.info.sides.find((one) => one.name === name);
      if (!side) return "";
      const answer = await ask("context", { side: name, states: side.states[0].name, sentence: number, length: this.info.own.longest + 1 });
      return answer.words.slice(0, answer.sentences[0].length).filter((word) => word !== "</s>").join(" ");
    };
    try {
      const translation = this.info.own.translation;
      this.read(await words(translation ? "encoder" : "decoder"), translation ? await words("decoder") : "");
    } catch (error) {
      problem(error.message);
    }
  }

  show(state, side) {
    const mine = this.store.state;
    if (document.activeElement !== this.text) this.text.value = state.text;
    if (document.activeElement !== this.target) this.target.value = state.target;
    this.corpus = side;
    this.side = { ...side, steps: this.rows(side), sentences: 1, tracks: [] };
    this.number.max = side.sentences - 1;
    const states = statesInView(mine, side);
    this.controls.show(mine, this.side, states);
    this.fields = { text: state.text, target: state.target };
    if (!state.text) return this.clearAll();
    const fields = { ...this.fields, side: side.name, states: states.join(",") };
    this.windows.ask(fields, (answer) => this.use(answer, fields), (error) => this.fail(error));
    return undefined;
  }

  // The rows of this side of the text, as far as they are known.
  rows(side) {
    const known = this.whole && this.contextFields.side === side.name && this.contextFields.text === this.real.state.text;
    return known ? this.whole.words.length : 1;
  }

  clearAll() {
    for (const request of [this.windows, this.selections]) request.stop();
    this.whole = this.context = null;
    this.intervention.hide();
    this.pair.hide();
    this.note.textContent = "";
    this.selected = [];
    this.matches.show({ ...this.real.state, from: null }, this.corpus, statesInView(this.real.state, this.corpus), [], false);
    this.matches.node.hidden = true;
  }

  use(answer, fields) {
    problem("");
    const { state } = this.store;
    this.whole = answer;
    this.contextFields = fields;
    const tracks = Object.entries(answer.tracks).map(([name, values]) => ({ name, range: [Math.min(0, ...values), Math.max(1, ...values)] }));
    this.side = { ...this.corpus, steps: answer.words.length, sentences: 1, tracks };
    this.context = from(answer, this.inside(state.pos));
    this.tell(answer.unknown);
    this.matches.node.hidden = false;
    if (state.to !== null && state.to >= answer.words.length) return this.store.set({ from: null, to: null }, "start");
    this.showSelection(state, statesInView(state, this.side));
    this.intervention.show(this.real.state, this.fields, this.side, this.entries().filter((one) => one.on).map((one) => one.name), state);
    this.pair.show(this.real.state, this.fields, answer.pair);
    return undefined;
  }

  tell(unknown) {
    const parts = Object.entries(unknown).filter(([, words]) => words.length);
    const sides = parts.length > 1 || this.info.own.translation;
    const said = parts.map(([side, words]) => `${sides ? `${side}: ` : ""}${words.slice(0, 12).join(", ")}${words.length > 12 ? ` and ${words.length - 12} more` : ""}`);
    const total = parts.reduce((sum, [, words]) => sum + words.length, 0);
    this.note.textContent = total ? `${total === 1 ? "One word is" : `${total} words are`} not in the dictionary and read as <unk>: ${said.join("; ")}.` : "";
    this.note.classList.toggle("warning", total > 0);
  }

  fail(error) {
    super.fail(error);
    this.whole = this.context = null;
    this.stage.replaceChildren(h("p", { class: "empty wrong" }, error.message));
    this.intervention.hide();
    this.pair.hide();
    this.matches.node.hidden = true;
  }

  showSelection(state, states) {
    if (!this.whole) return;
    const { text, target } = this.fields;
    const ask = this.selections.ask.bind(this.selections);
    // The select view sends its own fields; the text belongs to them here.
    this.selections.ask = (fields, use, fail) => ask({ text, target, ...fields }, use, fail);
    super.showSelection(state, states);
    this.selections.ask = ask;
  }

  // The matches are those of the corpus, for the units that the text selects.
  finish(state, states) {
    this.draw();
    const units = this.entries().filter((one) => one.on).map((one) => one.name);
    this.matches.show({ ...state, from: null, to: null }, this.corpus, states, units, false);
    if (this.whole) this.intervention.show(this.real.state, this.fields, this.side, units, state);
  }

  draw() {
    if (!this.whole) return;
    super.draw();
  }

  resize() {
    super.resize();
    this.pair.resize();
  }

  // A match is shown in the corpus, in the select view.
  jump(first, last) {
    this.real.set({ view: "explore", pos: Math.max(0, first - 6), from: first, to: last, units: "", off: "" });
  }
}

// The window of a text from a word on.
function from(answer, start) {
  const cut = (values) => values?.slice(start) ?? null;
  const states = answer.states.map((one) => ({ ...one, values: one.values.map((values) => values.slice(start)) }));
  const tracks = Object.fromEntries(Object.entries(answer.tracks).map(([name, values]) => [name, values.slice(start)]));
  return { ...answer, start, words: cut(answer.words), states, tracks, predictions: cut(answer.predictions) };
}
