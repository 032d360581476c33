// Beside the line plot: the selected units, and the details of the word under the mouse.

import { button, count, h, number } from "./dom.js";
import { trackScale } from "./palette.js";

const MOST = 60; // units that are listed at once

export class UnitList {
  // `actions`: toggle(name), point(name or null), reset(), release(), card(name).
  constructor(actions) {
    this.actions = actions;
    this.head = h("h3", {}, "Selected units");
    this.note = h("p", { class: "note" });
    this.list = h("ul", { class: "units" });
    this.foot = h("div", { class: "row" });
    this.node = h("section", { class: "panel-box" }, this.head, this.note, this.list, this.foot);
    this.all = false;
  }

  // model: { selected: [{ name, colour, on }], state, of, pinned, waiting }
  show({ selected, state, of, pinned, waiting }) {
    const on = selected.filter((one) => one.on).length;
    this.head.textContent = pinned ? "Chosen units" : selected.length ? `Selected units (${on})` : "Selected units";
    this.note.textContent = this.explain(selected, state, of, pinned, waiting);
    const shown = this.all ? selected : selected.slice(0, MOST);
    const kept = document.activeElement?.dataset?.unit;
    this.list.replaceChildren(...shown.map((one) => this.entry(one)));
    if (kept) this.list.querySelector(`[data-unit="${CSS.escape(kept)}"]`)?.focus();
    const more = selected.length - shown.length;
    this.foot.replaceChildren(
      more > 0 ? button(`Show ${more} more`, () => ((this.all = true), this.show({ selected, state, of, pinned, waiting })), { class: "quiet" }) : "",
      on < selected.length ? button("Switch all on", this.actions.reset, { class: "quiet" }) : "",
      selected.length === 1 ? button(`Card of ${selected[0].name}`, () => this.actions.card(selected[0].name), { class: "quiet" }) : "",
      pinned ? button("Back to the selected units", this.actions.release, { class: "quiet" }) : "",
    );
  }

  explain(selected, state, of, pinned, waiting) {
    if (pinned) return `${count(selected.length, "unit")} chosen by name, independent of the range.`;
    if (state.from === null) {
      return "Drag over words in the plot to select the units that are on there. Or focus the plot and use the arrow keys; shift extends the range.";
    }
    if (waiting) return "Looking …";
    if (!selected.length) {
      const around = state.left || state.right ? " and off around it" : "";
      return `None of ${of} units is on throughout this range${around}. Lower the threshold, shorten the range, or require fewer words off.`;
    }
    return `These units, out of ${of}, are on throughout the range and off around it. Click one to switch it off.`;
  }

  entry(one) {
    const point = (name) => () => this.actions.point(name);
    const swatch = h("i", { style: `background:${one.on ? one.colour : "transparent"};border-color:${one.colour}` });
    const attributes = { "aria-pressed": String(one.on), "data-unit": one.name, title: one.on ? "Switch off" : "Switch on" };
    const entry = button([swatch, one.name], () => this.actions.toggle(one.name), attributes);
    for (const [event, name] of [["pointerenter", one.name], ["pointerleave", null], ["focus", one.name], ["blur", null]]) {
      entry.addEventListener(event, point(name));
    }
    return h("li", {}, entry);
  }
}

export class WordDetails {
  constructor() {
    this.node = h("section", { class: "panel-box word-details" });
  }

  // `position` is a position in the window, or null.
  show(context, side, position) {
    const place = position === null || !context ? -1 : position - context.start;
    if (place < 0 || place >= context.words.length) {
      this.node.replaceChildren(h("h3", {}, "Word"), h("p", { class: "note" }, "Point at a word to see its details."));
      return;
    }
    const sentence = context.sentences.find((one) => position >= one.start && position < one.start + one.length);
    const rows = side.tracks.map((track) => {
      const value = context.tracks[track.name][place];
      const text = track.name === "loss" && value !== null ? `${value.toFixed(2)} (p = ${Math.exp(-value).toFixed(2)})` : trackScale(track).text(value);
      return [track.name === "loss" ? "loss of the next word" : track.name === "score" ? "score of the next word" : track.name, text];
    });
    rows.unshift(["position", number(position)], ["sentence", `${number(sentence.number)}, word ${number(position - sentence.start + 1)} of ${number(sentence.length)}`]);
    this.node.replaceChildren(
      h("h3", {}, "Word"),
      h("p", { class: "big-word" }, context.words[place]),
      h("dl", {}, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      this.predictions(context, side, place) ?? "",
    );
  }

  predictions(context, side, place) {
    const rows = context.predictions?.[place];
    if (!rows) return null;
    const probabilities = side.tracks.some((track) => track.name === "loss");
    const next = context.words[place + 1];
    const bars = rows.map(([word, score]) => {
      const share = probabilities ? Math.exp(score ?? -Infinity) : 0;
      const text = score === null ? "" : probabilities ? `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %` : score.toFixed(2);
      const bar = h("span", { class: "bar" }, h("i", { style: `width:${Math.min(100, 100 * share)}%` }));
      return h("li", { class: word === next ? "hit" : "" }, h("span", {}, word), probabilities ? bar : "", h("span", { class: "share" }, text));
    });
    return h("div", {}, h("h4", {}, "Expected next"), h("ol", { class: "predictions" }, ...bars));
  }
}
