// The card below one's own text: attention, or from which words each predicted word comes, as a tint.
/* global d3 */

import { Latest } from "./api.js";
import { count, h, hideTooltip, markWords, measure, segments, press, shorten, showTooltip } from "./dom.js";
import { svgButton } from "./export.js";
import { weightColour } from "./palette.js";

const LONGEST = 130; // pixels of a word
const GAP = 26; // between source and target words
const positive = d3.interpolateRgb("#ffffff", "#1f5f9e");
const negative = d3.interpolateRgb("#ffffff", "#c2570c");

const KINDS = [
  ["attention", "attention", "The weights with which the decoder attends to the source words"],
  ["gradient_input", "gradient × input", "The gradient of the predicted word’s score, times the embedded word"],
  ["integrated", "integrated gradients", "The gradients along the way from nothing to the words; they add up to the difference of the scores"],
];
const NOTES = {
  attention: "Each row is a word that the decoder predicts. A dark field means a high attention weight.",
  gradient_input: "Each row is a predicted word. A blue word raises its score, an orange one lowers it: the gradient of the score times the embedded word.",
  integrated: "Each row is a predicted word. A blue word raises its score, an orange one lowers it. The fields of a row add up to the difference between its score and that without any word.",
};

export class PairCard {
  // `own` says whether there is a source, and how many words are attributed at most.
  constructor(store, own) {
    this.own = own;
    this.request = new Latest("attribution");
    this.kinds = segments(KINDS.filter(([name]) => name !== "attention" || own.translation), (tint) => store.set({ tint }), "Shown");
    this.note = h("p", { class: "note", role: "status" });
    this.place = h("div", { class: "scroll", id: "pair" });
    this.svg = d3.create("svg").attr("class", "attention-chart pair-chart").attr("role", "img");
    const save = svgButton(() => this.place.querySelector("svg"), "attribution", () => "From which words each predicted word comes");
    this.node = h(
      "section",
      { class: "card", "aria-labelledby": "pair-title", hidden: true },
      h("div", { class: "card-head" }, h("h2", { id: "pair-title" }, own.translation ? "Attention and attribution" : "Attribution"), save),
      h("div", { class: "row" }, h("div", { class: "field" }, h("span", {}, "Shown"), this.kinds)),
      this.note,
      this.place,
    );
  }

  hide() {
    this.node.hidden = true;
    this.request.stop();
  }

  show(state, text, pair) {
    this.node.hidden = false;
    const weights = pair.weights;
    const kind = state.tint === "attention" && !weights ? "gradient_input" : state.tint;
    press(this.kinds, (value) => value === kind);
    for (const one of this.kinds.children) one.disabled = one.dataset.value === "attention" && !weights;
    this.note.textContent = NOTES[kind];
    if (kind === "attention") {
      this.request.stop();
      this.model = { words: pair.words, read: pair.read, blocks: [{ title: "source, as read →", words: pair.source, values: weights }], weights: true };
      this.draw();
      return;
    }
    if (pair.words.length > this.own.attributed) {
      this.empty(`The text has ${pair.words.length} predicted words; at most ${this.own.attributed} are attributed at a time.`);
      return;
    }
    this.request.ask(
      { ...text, method: kind },
      (answer) => {
        const blocks = [{ title: "earlier words, as read →", words: answer.read, values: answer.target, triangle: true }];
        if (answer.source) blocks.unshift({ title: "source, as read →", words: answer.source_words, values: answer.source });
        this.model = { words: answer.words, read: answer.read, blocks, score: answer.score };
        this.draw();
      },
      (error) => this.empty(error.message),
    );
  }

  empty(text) {
    this.model = null;
    this.place.replaceChildren(h("p", { class: "empty wrong" }, text));
  }

  resize() {
    if (this.model && !this.node.hidden) this.draw();
  }

  draw() {
    const { words, blocks, weights } = this.model;
    const columns = d3.sum(blocks, (block) => block.words.length);
    const left = 14 + Math.min(LONGEST, Math.max(62, d3.max(words, (word) => measure(word, 13))));
    const top = 30 + Math.min(LONGEST, d3.max(blocks, (block) => d3.max(block.words, (word) => measure(word, 13))));
    const room = (this.place.clientWidth || 1100) - left - 140 - GAP * (blocks.length - 1);
    const column = Math.max(16, Math.min(34, Math.floor(room / columns)));
    const row = Math.max(18, Math.min(28, column));
    const width = left + columns * column + GAP * (blocks.length - 1) + 140;
    const height = Math.max(top + words.length * row + 12, top + 130);
    this.svg.attr("width", width).attr("height", height).attr("viewBox", `0 0 ${width} ${height}`).selectAll("*").remove();
    this.svg.attr("aria-label", `${count(words.length, "predicted word")} by ${count(columns, "word")} read`);
    this.size = { left, top, column, row };
    const largest = weights ? 1 : Math.max(1e-6, d3.max(blocks, (block) => d3.max(block.values.flat(), Math.abs)));
    this.colour = weights ? weightColour : (value) => (value < 0 ? negative : positive)(Math.sqrt(Math.abs(value) / largest));
    this.svg.append("text").attr("class", "legend end").attr("x", left - 8).attr("y", top - 8).text("predicted ↓");
    words.forEach((word, place) => {
      this.svg.append("text").attr("class", "plain-word end").attr("x", left - 8).attr("y", top + (place + 0.5) * row + 4.5).attr("data-row", place).text(shorten(word, LONGEST, 13));
    });
    let x = left;
    let first = 0;
    for (const block of blocks) {
      this.drawBlock(block, x, first);
      x += block.words.length * column + GAP;
      first += block.words.length;
    }
    this.drawKey(x - GAP + 26, top, largest);
    if (this.svg.node().parentNode !== this.place) this.place.replaceChildren(this.svg.node());
  }

  drawBlock(block, x, first) {
    const { top, column, row } = this.size;
    const { words, weights } = this.model;
    this.svg.append("text").attr("class", "legend").attr("x", x).attr("y", 12).text(block.title);
    block.words.forEach((word, place) => {
      const middle = x + (place + 0.5) * column + 4;
      this.svg.append("text").attr("class", "plain-word").attr("transform", `translate(${middle},${top - 7}) rotate(-90)`).attr("data-column", first + place).text(shorten(word, LONGEST, 13));
    });
    const group = this.svg.append("g").attr("class", "fields");
    block.values.forEach((line, y) => {
      line.forEach((value, place) => {
        if (block.triangle && place > y) return;
        const text = weights ? `${(100 * value).toFixed(1)} % of the attention` : value.toFixed(3).replace("-", "−");
        group.append("rect").attr("x", x + place * column).attr("y", top + y * row).attr("width", column - 1).attr("height", row - 1)
          .attr("fill", this.colour(value)).attr("data-value", value)
          .on("pointermove", (event) => {
            markWords(this.svg, first + place, y);
            showTooltip(event, h("b", {}, `${block.words[place]} → ${words[y]}`), ` ${text}`);
          });
      });
    });
    group.on("pointerleave", () => {
      hideTooltip();
      markWords(this.svg, -1, -1);
    });
  }

  drawKey(x, y, largest) {
    const group = this.svg.append("g").attr("class", "key");
    const { weights } = this.model;
    group.append("text").attr("class", "legend").attr("x", x).attr("y", y + 10).text(weights ? "attention" : "raises / lowers");
    const values = weights ? [0, 0.1, 0.25, 0.5, 1] : [largest, largest / 4, 0, -largest / 4, -largest];
    values.forEach((value, place) => {
      const text = weights ? `${Math.round(100 * value)} %` : value.toFixed(2).replace("-", "−");
      group.append("rect").attr("class", "swatch").attr("x", x).attr("y", y + 20 + place * 18).attr("width", 16).attr("height", 14).attr("fill", this.colour(value));
      group.append("text").attr("class", "legend").attr("x", x + 22).attr("y", y + 31 + place * 18).text(text);
    });
  }
}
