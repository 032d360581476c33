// The attention view: source words against target words of one sentence pair.
/* global d3 */

import { Latest } from "./api.js";
import { svgButton } from "./export.js";
import { button, h, hideTooltip, markWords, measure, number, problem, shorten, showTooltip } from "./dom.js";
import { weightColour } from "./palette.js";

const LONGEST = 130; // pixels of a word

export class Attention {
  // `look(side, position)` shows the word in the select view.
  constructor(store, info, look) {
    this.store = store;
    this.info = info;
    this.look = look;
    this.request = new Latest("sentence");
    this.number = h("input", { type: "number", min: 0, step: 1, class: "wide" });
    this.number.addEventListener("change", () => this.go(Math.round(Number(this.number.value))));
    this.of = h("span", { class: "of" });
    this.note = h("p", { class: "note" });
    this.place = h("div", { class: "scroll attention", id: "attention" });
    const step = (text, label, by) => button(text, () => this.go(this.store.state.sentence + by), { "aria-label": label, title: label, class: "arrow" });
    const save = svgButton(() => this.place.querySelector("svg"), "attention", () => `Attention, sentence ${this.store.state.sentence}`);
    this.node = h(
      "div",
      { class: "view" },
      h(
        "section",
        { class: "card", "aria-labelledby": "attention-title" },
        h("div", { class: "card-head" }, h("h2", { id: "attention-title" }, "Attention"), save),
        h(
          "div",
          { class: "row" },
          h("div", { class: "segments", role: "group", "aria-label": "Step through the sentences" }, step("‹", "The sentence before", -1), step("›", "The next sentence", 1)),
          h("label", { class: "field" }, h("span", {}, "Sentence"), h("span", {}, this.number, this.of)),
          info.own ? button("Read as own text", () => this.readAsOwn(), { class: "quiet", id: "read-as-own", title: "With attribution, and units that can be set" }) : "",
        ),
        this.note,
        this.place,
      ),
    );
    this.svg = d3.create("svg").attr("class", "attention-chart").attr("role", "img");
    this.node.addEventListener("keydown", (event) => this.key(event));
  }

  go(sentence) {
    const last = this.info.sides[0].sentences - 1;
    this.store.set({ sentence: Math.max(0, Math.min(last, sentence || 0)) }, "sentence");
  }

  // Shows the sentence pair in the view of one's own text.
  readAsOwn() {
    if (!this.answer) return;
    const plain = (words) => words.filter((word) => word !== "</s>").join(" ");
    const { source, target } = this.answer;
    this.store.set({ view: "own", text: plain(source.words), target: plain(target.words), first: null, last: null, opos: 0, ounits: "", ooff: "", set: "" });
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target.tagName === "INPUT") return;
    event.preventDefault();
    this.go(this.store.state.sentence + by);
  }

  show(state) {
    const last = this.info.sides[0].sentences - 1;
    const sentence = Math.min(last, state.sentence);
    this.number.max = last;
    if (document.activeElement !== this.number) this.number.value = sentence;
    this.of.textContent = `of ${number(last + 1)}`;
    this.request.ask(
      { number: sentence },
      (answer) => {
        problem("");
        this.answer = answer;
        this.draw();
      },
      (error) => {
        this.place.replaceChildren(h("p", { class: "empty wrong" }, error.message));
      },
    );
  }

  resize() {
    if (this.answer) this.draw();
  }

  draw() {
    const { source, target, weights } = this.answer;
    this.note.textContent = `Each row is a word that the decoder predicts. Each column is a word that the encoder has read. A dark field means a high attention weight. Click a word to see its states. Sentence ${number(this.answer.id)} of the data set.`;
    const left = 14 + Math.min(LONGEST, Math.max(46, d3.max(target.words, (word) => measure(word, 13))));
    const top = 30 + Math.min(LONGEST, d3.max(source.words, (word) => measure(word, 13)));
    const room = (this.place.clientWidth || 1100) - left - 150;
    const column = Math.max(16, Math.min(34, Math.floor(room / source.words.length)));
    const row = Math.max(18, Math.min(28, column));
    const width = left + source.words.length * column + 150;
    const height = top + target.words.length * row + 12;
    this.svg.attr("width", width).attr("height", height).attr("viewBox", `0 0 ${width} ${height}`).selectAll("*").remove();
    this.svg.attr("aria-label", `Attention of sentence ${this.answer.number}: ${source.words.length} source words, ${target.words.length} target words`);
    this.size = { left, top, column, row };
    this.svg.append("text").attr("class", "legend").attr("x", left).attr("y", 12).text("source, as read →");
    this.svg.append("text").attr("class", "legend end").attr("x", left - 8).attr("y", top - 8).text("target ↓");
    this.drawWords(source, target);
    this.drawFields(source, target, weights);
    this.drawKey(left + source.words.length * column + 30, top);
    if (this.svg.node().parentNode !== this.place) this.place.replaceChildren(this.svg.node());
  }

  drawWords(source, target) {
    const { left, top, column, row } = this.size;
    source.words.forEach((word, place) => {
      const x = left + (place + 0.5) * column + 4;
      this.word(word, source.start + place, "encoder").attr("transform", `translate(${x},${top - 7}) rotate(-90)`).attr("data-column", place);
    });
    target.words.forEach((word, place) => {
      this.word(word, target.start + place, "decoder").attr("class", "word end").attr("x", left - 8).attr("y", top + (place + 0.5) * row + 4.5).attr("data-row", place);
    });
  }

  word(word, position, side) {
    const text = this.svg.append("text").attr("class", "word").attr("tabindex", 0).attr("role", "link").text(shorten(word, LONGEST, 13));
    text.append("title").text(`${word}: show its states`);
    const look = () => this.look(side, position);
    return text.on("click", look).on("keydown", (event) => event.key === "Enter" && look());
  }

  drawFields(source, target, weights) {
    const { left, top, column, row } = this.size;
    const group = this.svg.append("g").attr("class", "fields");
    weights.forEach((line, y) => {
      line.forEach((value, x) => {
        group.append("rect").attr("x", left + x * column).attr("y", top + y * row).attr("width", column - 1).attr("height", row - 1)
          .attr("fill", weightColour(value)).attr("data-weight", value)
          .on("pointermove", (event) => {
            markWords(this.svg, x, y);
            showTooltip(event, h("b", {}, `${target.words[y]} → ${source.words[x]}`), ` ${(100 * value).toFixed(1)} % of the attention; after reading “${target.read[y]}”`);
          });
      });
    });
    group.on("pointerleave", () => {
      hideTooltip();
      markWords(this.svg, -1, -1);
    });
  }

  drawKey(x, y) {
    const group = this.svg.append("g").attr("class", "key");
    group.append("text").attr("class", "legend").attr("x", x).attr("y", y + 10).text("attention");
    [0, 0.05, 0.1, 0.25, 0.5, 1].forEach((value, place) => {
      group.append("rect").attr("class", "swatch").attr("x", x).attr("y", y + 20 + place * 18).attr("width", 16).attr("height", 14).attr("fill", weightColour(value));
      group.append("text").attr("class", "legend").attr("x", x + 22).attr("y", y + 31 + place * 18).text(`${Math.round(100 * value)} %`);
    });
  }
}
