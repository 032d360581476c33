// The card that sets units of one's own text, and shows how predictions and losses change.

import { Latest } from "./api.js";
import { button, count, h, number } from "./dom.js";

const MOST = 40; // units that are put into the field

export class Intervention {
  constructor(store) {
    this.store = store;
    this.request = new Latest("intervention");
    this.units = h("input", { type: "text", id: "set-units", maxlength: 20000, placeholder: "hidden1:3, hidden1:17" });
    this.value = h("input", { type: "text", id: "set-value", maxlength: 20, class: "wide", title: "A number, of cell states before tanh, or mean for the mean of each unit over the corpus" });
    this.first = h("input", { type: "number", min: 0, step: 1, id: "set-from", "aria-label": "First word" });
    this.last = h("input", { type: "number", min: 0, step: 1, id: "set-to", "aria-label": "Last word" });
    this.place = h("div", { class: "set-result" });
    this.note = h("p", { class: "note", role: "status" });
    this.remove = button("Remove", () => store.set({ set: "" }), { class: "quiet" });
    const form = h(
      "form",
      { class: "row", id: "set-form" },
      h("label", { class: "field grow" }, h("span", {}, "Units"), this.units),
      h("label", { class: "field" }, h("span", {}, "set to"), this.value),
      h("div", { class: "field" }, h("span", {}, "at words"), this.first, h("span", {}, "to"), this.last),
      h("button", { type: "submit", id: "set-run" }, "Set"),
      this.remove,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const set = this.units.value.split(/[\s,]+/).filter(Boolean).join(",");
      store.set({ set, value: this.value.value.trim() || "mean", sfrom: Number(this.first.value), sto: Number(this.last.value) });
    });
    this.node = h(
      "section",
      { class: "card", "aria-labelledby": "set-title", hidden: true },
      h("div", { class: "card-head" }, h("h2", { id: "set-title" }, "Set units")),
      form,
      this.note,
      this.place,
    );
  }

  hide() {
    this.node.hidden = true;
    this.request.stop();
    this.offered = null;
  }

  // `units` are those that are selected; `range` has the selected words.
  show(state, text, side, units, range) {
    this.node.hidden = false;
    const last = side.steps - 1;
    for (const input of [this.first, this.last]) input.max = last;
    this.offer(state, side, units, range, last);
    this.remove.hidden = !state.set;
    if (!state.set) {
      this.request.stop();
      this.note.textContent = "Sets hidden or cell units after each of these words, and compares what the model predicts. The next step, the layer above and the attention see the values that are set.";
      this.place.replaceChildren();
      return;
    }
    const fields = { ...text, side: side.name, units: state.set, value: state.value, from: state.sfrom, to: Math.min(state.sto, last) };
    this.request.ask(
      fields,
      (answer) => this.draw(answer),
      (error) => {
        this.note.textContent = "";
        this.place.replaceChildren(h("p", { class: "empty wrong" }, error.message));
      },
    );
  }

  // Fills the fields with the selection when it changes, or with what is set.
  offer(state, side, units, range, last) {
    const offered = JSON.stringify([state.set, state.value, state.sfrom, state.sto, side.name, side.steps, units, range.from, range.to]);
    if (offered === this.offered) return;
    this.offered = offered;
    const able = units.filter((name) => /^(hidden|cell|attentional)/.test(name));
    this.units.value = state.set ? state.set.split(",").join(", ") : able.slice(0, MOST).join(", ");
    this.value.value = state.value;
    this.first.value = state.set ? state.sfrom : (range.from ?? 0);
    this.last.value = state.set ? Math.min(state.sto, last) : (range.to ?? last);
  }

  draw(answer) {
    const { measure, mean_before: before, mean_after: after } = answer;
    const set = answer.units.slice(0, 4).map((name, place) => `${name} = ${answer.values[place]}`).join(", ");
    const more = answer.units.length > 4 ? ` and ${count(answer.units.length - 4, "more unit")}` : "";
    this.note.textContent = `With ${set}${more}, the mean ${measure} of the next word goes from ${before.toFixed(2)} to ${after.toFixed(2)} (${signed(after - before)}).`;
    const changes = answer.words.map((_, place) => answer.after[place] - answer.before[place]);
    const most = Math.max(0.5, ...changes.map(Math.abs));
    const rows = answer.words.map((word, place) => this.row(answer, place, changes[place], most));
    const head = ["", "after reading", "next word", `${measure} before`, `${measure} after`, "change", "expected before", "expected after"];
    this.place.replaceChildren(
      h(
        "div",
        { class: "scroll" },
        h("table", { class: "changes" }, h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, ...rows)),
      ),
    );
  }

  row(answer, place, change, most) {
    const expected = (rows) => h("td", { class: "expected" }, ...rows[place].slice(0, 3).map(([word, score]) => h("span", { class: word === answer.words[place] ? "hit" : "" }, `${word}${answer.measure === "score" || score === null ? "" : ` ${percent(score)}`}`)));
    const width = (100 * Math.abs(change)) / most / 2;
    const bar = h("i", { class: change > 0 ? "worse" : "better", style: `width:${width}%;${change > 0 ? "left:50%" : `right:50%`}` });
    return h(
      "tr",
      { "data-change": change.toFixed(4) },
      h("td", { class: "place" }, number(place)),
      h("td", {}, answer.read[place]),
      h("td", { class: "next" }, answer.words[place]),
      h("td", { class: "figure" }, answer.before[place].toFixed(2)),
      h("td", { class: "figure" }, answer.after[place].toFixed(2)),
      h("td", {}, h("div", { class: "change" }, h("span", { class: "track" }, bar), h("span", { class: "figure" }, signed(change)))),
      expected(answer.predictions_before),
      expected(answer.predictions_after),
    );
  }
}

const signed = (value) => `${value < -0.004 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
const percent = (score) => `${(100 * Math.exp(score)).toFixed(0)} %`;
