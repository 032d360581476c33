// The rows of controls above the line plot: the window, and when a unit is on and off.

import { ask } from "./api.js";
import { button, count, h, number, press, problem, segments } from "./dom.js";

function field(label, control, title) {
  return h("label", { class: "field", title }, h("span", {}, label), control);
}

export function numberInput(attributes, use) {
  const input = h("input", { type: "number", ...attributes });
  input.addEventListener("change", () => {
    const value = input.step === "1" ? Math.round(Number(input.value)) : Number(input.value);
    const inside = input.value !== "" && value >= Number(input.min) && value <= Number(input.max);
    input.classList.toggle("wrong", !inside);
    if (inside) use(value);
    else problem(`This field takes numbers from ${number(input.min)} to ${number(input.max)}.`);
  });
  return input;
}

// The choice of the states in view, one or more.
export class StateChoice {
  constructor(choose) {
    this.node = h("div", { class: "chips", role: "group", "aria-label": "States" });
    this.choose = choose;
  }

  show(side, chosen) {
    this.node.replaceChildren(
      ...side.states.map((one) => {
        const on = chosen.includes(one.name);
        const toggle = () => {
          const names = side.states.map((other) => other.name);
          const next = names.filter((name) => (name === one.name ? !on : chosen.includes(name)));
          if (next.length) this.choose(next.join(","));
        };
        const title = `${one.units} units${one.transform === "tanh" ? ", shown after tanh" : ""}`;
        return button(one.name, toggle, { "aria-pressed": String(on), title });
      }),
    );
  }
}

export class Controls {
  // `actions`: go(position), page(pages), step(words), sentence(number), select(from, to), clear(), and set(patch, kind).
  constructor(actions) {
    this.actions = actions;
    this.position = numberInput({ min: 0, step: 1, class: "wide" }, (value) => actions.go(value));
    this.total = h("span", { class: "of" });
    this.sentence = numberInput({ min: 0, step: 1, class: "wide" }, (value) => actions.sentence(value));
    this.sentences = h("span", { class: "of" });
    this.states = new StateChoice((states) => actions.set({ states }));
    this.threshold = numberInput({ min: 0.01, max: 1, step: 0.01 }, (threshold) =>
      actions.set({ threshold: Math.round(threshold * 100) / 100 }, "threshold"),
    );
    this.threshold.id = "threshold";
    const directions = [["above", "above", "On: at least the threshold"], ["below", "below", "On: at most minus the threshold"]];
    this.direction = segments(directions, (direction) => actions.set({ direction }), "Direction");
    this.left = numberInput({ min: 0, max: 20, step: 1 }, (left) => actions.set({ left }, "left"));
    this.right = numberInput({ min: 0, max: 20, step: 1 }, (right) => actions.set({ right }, "right"));
    this.clear = button("Clear range", () => actions.clear(), { class: "quiet", title: "Escape, in the plot" });
    this.node = h("div", { class: "controls" }, this.places(), this.rules());
  }

  places() {
    const move = (text, label, action) => button(text, action, { "aria-label": label, title: label, class: "arrow" });
    return h(
      "div",
      { class: "row" },
      h(
        "div",
        { class: "segments", role: "group", "aria-label": "Move the window" },
        move("«", "A page back", () => this.actions.page(-1)),
        move("‹", "Five words back", () => this.actions.step(-5)),
        move("›", "Five words on", () => this.actions.step(5)),
        move("»", "A page on", () => this.actions.page(1)),
      ),
      field("Position", h("span", {}, this.position, this.total), "Go to a word by its number"),
      field("Sentence", h("span", {}, this.sentence, this.sentences), "Go to a sentence by its number"),
      this.searching(),
    );
  }

  searching() {
    this.search = h("input", { type: "search", placeholder: "word or phrase", "aria-label": "Search a word or phrase", maxlength: 200 });
    this.search.title = "An asterisk stands for any letters: walk*, *ing";
    this.found = h("div", { class: "found", hidden: true });
    const form = h("form", { class: "search", role: "search" }, this.search, h("button", { type: "submit" }, "Search"), this.found);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.search.value.trim()) this.find(this.search.value.trim());
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.found.hidden) return;
      this.found.hidden = true;
      this.search.focus();
    });
    document.addEventListener("pointerdown", (event) => {
      if (!form.contains(event.target)) this.found.hidden = true;
    });
    return form;
  }

  async find(text, start = 0) {
    try {
      this.showFound(await ask("search", { side: this.side.name, text, start, limit: 30 }));
      problem("");
    } catch (error) {
      problem(error.message);
    }
  }

  showFound(answer) {
    const rows = answer.places.map((place) => {
      const at = place.start - place.from;
      const [before, words, after] = [[0, at], [at, at + answer.length], [at + answer.length]].map((cut) =>
        place.words.slice(...cut).join(" "),
      );
      const choose = () => {
        this.found.hidden = true;
        this.actions.select(place.start, place.start + answer.length - 1);
      };
      return h("li", {}, button([`${number(place.start)}  `, h("span", {}, before, " "), h("b", {}, words), h("span", {}, " ", after)], choose));
    });
    const last = answer.places[answer.places.length - 1];
    const more = last && answer.places.length === 30 ? button("More", () => this.find(answer.text, last.start + 1), { class: "quiet" }) : null;
    const title = answer.total ? `“${answer.text}” occurs at ${count(answer.total, "place")}` : `“${answer.text}” does not occur here`;
    this.found.replaceChildren(h("p", { role: "status" }, title), h("ul", {}, ...rows), more ?? "");
    this.found.hidden = false;
    this.found.querySelector("li button")?.focus();
  }

  rules() {
    return h(
      "div",
      { class: "row" },
      h("div", { class: "field" }, h("span", {}, "States"), this.states.node),
      field("Threshold", this.threshold, "A unit is on from this value on. Drag the line in the plot, or use ↑ and ↓ there."),
      h("div", { class: "field" }, h("span", {}, "On if"), this.direction),
      field("Off before", this.left, "The number of words before the range at which a unit must be off"),
      field("Off after", this.right, "The number of words after the range at which a unit must be off"),
      this.clear,
    );
  }

  show(state, side, chosen) {
    this.side = side;
    const set = (input, value) => {
      if (document.activeElement !== input || Number(input.value) !== value) input.value = value;
      input.classList.remove("wrong");
    };
    set(this.position, state.pos);
    this.position.max = side.steps - 1;
    this.total.textContent = `of ${number(side.steps)}`;
    this.sentence.max = side.sentences - 1;
    this.sentences.textContent = `of ${number(side.sentences)}`;
    this.states.show(side, chosen);
    this.threshold.value = state.threshold.toFixed(2);
    set(this.left, state.left);
    set(this.right, state.right);
    press(this.direction, (value) => value === state.direction);
    this.clear.disabled = state.from === null;
  }

  showSentence(value) {
    if (document.activeElement !== this.sentence) this.sentence.value = value;
  }
}
