// The match view: requests the matches of the selected units, and shows them.

import { Latest } from "./api.js";
import { svgButton } from "./export.js";
import { announce, count, h, number, press, segments } from "./dom.js";
import { MatchChart, activityMap } from "./match_chart.js";
import { trackScale } from "./palette.js";

const FIRST_MAPS = 3; // tracks that are shown by default

export class Matches {
  // `actions`: set(patch, kind), go(match).
  constructor(actions) {
    this.actions = actions;
    this.request = new Latest("match", 150);
    this.chart = new MatchChart((match) => actions.go(match));
    const modes = [
      ["fast", "fast", "The first 500,000 words, 1,000 candidates"],
      ["precise", "precise", "All words, 10,000 candidates"],
    ];
    this.mode = segments(modes, (mode) => actions.set({ mode }), "Search mode");
    this.shortest = h("input", { type: "number", min: 1, max: 50, step: 1 });
    this.shortest.addEventListener("change", () => {
      const shortest = Math.round(Number(this.shortest.value));
      if (shortest >= 1 && shortest <= 50) actions.set({ shortest }, "shortest");
    });
    this.maps = h("div", { class: "chips", role: "group", "aria-label": "Heat maps" });
    this.colour = h("select", { "data-local": true, onchange: () => actions.set({ colour: this.colour.value }) });
    this.note = h("p", { class: "note", role: "status" });
    this.place = h("div", { class: "scroll", id: "matches" });
    const save = svgButton(() => this.place.querySelector("svg"), "matches", () => "Matches");
    this.node = h(
      "section",
      { class: "card", "aria-labelledby": "matches-title" },
      h("div", { class: "card-head" }, h("h2", { id: "matches-title" }, "Matches"), save),
      h(
        "div",
        { class: "row" },
        h("div", { class: "field" }, h("span", {}, "Search"), this.mode),
        h("label", { class: "field", title: "The shortest range that counts as a match, in words" }, h("span", {}, "Shortest"), this.shortest),
        h("div", { class: "field" }, h("span", {}, "Heat maps"), this.maps),
        h("label", { class: "field" }, h("span", {}, "Words coloured by"), this.colour),
      ),
      this.note,
      this.place,
    );
  }

  // Requests the matches. `units` are those that are switched on; `own`: the server selects the same ones from the range.
  show(state, side, states, units, own) {
    this.current = { state, side };
    press(this.mode, (value) => value === state.mode);
    if (document.activeElement !== this.shortest) this.shortest.value = state.shortest;
    this.showMaps(state, side);
    this.fillColours(state, side);
    if (!units.length) {
      this.request.stop();
      this.answer = null;
      return this.empty(state.from === null ? "Select words above to see the other places where the same units are on." : "No unit is selected, so there is nothing to match.");
    }
    const range = state.from === null ? {} : { from: state.from, to: state.to };
    const { threshold, direction, left, right, mode, shortest } = state;
    const fields = { side: side.name, states: states.join(","), ...range, threshold: threshold.toFixed(2), direction, left, right, mode, minimum: shortest };
    if (!own || state.from === null) fields.units = units.join(",");
    if (JSON.stringify(fields) !== this.request.key) {
      this.place.classList.add("waiting");
      this.note.textContent = "Searching …";
    }
    return this.request.ask(fields, (answer) => this.draw(answer), (error) => this.empty(error.message, true));
  }

  chosenMaps(state, side) {
    const names = ["activity", ...side.tracks.map((track) => track.name)];
    if (!state.maps) return names.slice(0, 1 + FIRST_MAPS);
    const wanted = state.maps.split("|");
    return names.filter((name) => wanted.includes(name));
  }

  showMaps(state, side) {
    const chosen = this.chosenMaps(state, side);
    const names = ["activity", ...side.tracks.map((track) => track.name)];
    this.maps.replaceChildren(
      ...names.map((name) => {
        const toggle = () => {
          const next = names.filter((other) => (other === name ? !chosen.includes(name) : chosen.includes(other)));
          this.actions.set({ maps: next.length ? next.join("|") : "none" });
        };
        const text = name === "activity" ? "unit activity" : name;
        return h("button", { type: "button", onclick: toggle, "aria-pressed": String(chosen.includes(name)) }, text);
      }),
    );
  }

  fillColours(state, side) {
    const options = [["activity", "unit activity"], ...side.tracks.map((track) => [track.name, track.name]), ["none", "nothing"]];
    const known = options.map(([value]) => value).join("\n");
    if (this.known !== known) {
      this.known = known;
      this.colour.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
    }
    this.colour.value = options.some(([value]) => value === state.colour) ? state.colour : "none";
  }

  empty(text, wrong = false) {
    this.place.classList.remove("waiting");
    this.note.textContent = "";
    this.place.replaceChildren(h("p", { class: wrong ? "empty wrong" : "empty" }, text));
  }

  draw(answer) {
    this.answer = answer;
    this.place.classList.remove("waiting");
    if (!answer.matches.length) {
      return this.empty("These units match no other place. Require fewer words off, lower the threshold, or allow shorter matches.");
    }
    const many = answer.units.length > 1;
    const order = `${many ? `most of the ${answer.units.length} units first, then ` : ""}fewest other units${many ? "" : " first"}, then the longest`;
    const steps = answer.steps < this.current.side.steps ? `the first ${number(answer.steps)} words` : `all ${number(answer.steps)} words`;
    this.note.textContent = `${count(answer.candidates, "candidate")} in ${steps}; the best ${answer.matches.length}, ${order}.`;
    announce(`${count(answer.matches.length, "match").replace("matchs", "matches")} shown`);
    this.redraw();
    return undefined;
  }

  redraw() {
    const { answer } = this;
    if (!answer?.matches.length || !this.place.clientWidth) return;
    const { state, side } = this.current;
    const all = [activityMap(answer.units.length), ...side.tracks.map((track) => this.trackMap(track, answer))];
    const chosen = this.chosenMaps(state, side);
    const maps = all.filter((map) => chosen.includes(map.name));
    const colour = all.find((map) => map.name === state.colour) ?? null;
    this.chart.draw({ answer, maps, colour, width: this.place.clientWidth });
    if (this.chart.node.parentNode !== this.place) this.place.replaceChildren(this.chart.node);
  }

  trackMap(track, answer) {
    const scale = trackScale(track);
    const values = answer.matches.flatMap((match) => match.tracks[track.name]);
    const [low, high] = scale.range ?? [0, 0];
    const ends = scale.range ? [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (high - low)) : [];
    const legend = track.labels ? scale.legend(values).slice(0, 14) : ends.map((value) => [String(Number(value.toFixed(2))), scale.colour(value)]);
    return { name: track.name, title: track.name, colour: scale.colour, text: scale.text, values: (match) => match.tracks[track.name], legend };
  }
}
