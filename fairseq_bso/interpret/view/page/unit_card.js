// The card of one unit: where it is highest and lowest, its values, and what it goes with.

import { Latest } from "./api.js";
import { histogram, trackBar, valueColour } from "./card_charts.js";
import { button, count, fixed, h, number, problem } from "./dom.js";
import { OnRule, ruleText } from "./rule.js";

const share = (value) => `${(100 * value).toFixed(value < 0.01 ? 2 : 1)} %`;

export class UnitCard {
  // `look(patch)` shows a place in the select view. Other changes go to the store.
  constructor(store, look) {
    this.store = store;
    this.look = look;
    this.request = new Latest("card");
    this.rule = new OnRule((patch, kind) => store.set(patch, kind));
    this.title = h("h2", { id: "unit-title" });
    this.of = h("span", { class: "of" });
    const step = (text, label, way) => button(text, () => this.step(way), { "aria-label": label, title: `${label} (${way === "next" ? "→" : "←"})`, class: "arrow" });
    this.steps = { previous: step("‹", "The unit before", "previous"), next: step("›", "The next unit", "next") };
    const all = button("All units", () => store.set({ view: "units" }), { class: "quiet" });
    this.alone = button("Show in the select view", () => this.look({ units: this.answer.unit }), { class: "quiet" });
    this.body = h("div", {});
    this.node = h(
      "div",
      { class: "view" },
      h(
        "section",
        { class: "card unit-card", "aria-labelledby": "unit-title" },
        h(
          "div",
          { class: "card-head" },
          h("div", { class: "row" }, h("div", { class: "segments", role: "group", "aria-label": "Step through the units" }, this.steps.previous, this.steps.next), this.title, this.of),
          h("div", { class: "row" }, ...this.rule.nodes, this.alone, all),
        ),
        this.body,
      ),
    );
    document.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const way = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
    if (!way || !this.node.isConnected || event.ctrlKey || event.altKey || event.metaKey) return;
    if (["INPUT", "SELECT"].includes(event.target.tagName)) return;
    event.preventDefault();
    this.step(way);
  }

  step(way) {
    const unit = this.answer?.[way];
    if (unit) this.store.set({ unit }, "unit");
  }

  show(state, side) {
    this.side = side;
    this.rule.show(state);
    const unit = state.unit || `${side.states[0].name}:0`;
    const { threshold, direction } = state;
    const use = (answer) => this.draw(answer);
    this.request.ask({ side: side.name, unit, threshold: threshold.toFixed(2), direction }, use, (error) => this.empty(unit, error.message));
  }

  empty(unit, text) {
    this.answer = null;
    this.title.textContent = unit;
    this.of.textContent = "";
    this.alone.disabled = this.steps.previous.disabled = this.steps.next.disabled = true;
    this.body.replaceChildren(h("p", { class: "empty wrong" }, text));
  }

  draw(answer) {
    if (answer.missing) return this.empty(this.store.state.unit, answer.missing);
    problem("");
    this.answer = answer;
    this.title.textContent = answer.unit;
    this.of.textContent = `unit ${number(answer.number + 1)} of ${number(answer.of)}, ${this.side.name}, over ${number(answer.steps)} words`;
    this.alone.disabled = false;
    for (const [way, node] of Object.entries(this.steps)) node.disabled = answer[way] === null;
    this.most = Math.max(0.05, Math.abs(answer.figures.low ?? 1), Math.abs(answer.figures.high ?? 1));
    this.body.replaceChildren(
      h(
        "div",
        { class: "unit-parts" },
        h("div", { class: "spans" }, this.spans("Highest", answer.highest), this.spans("Lowest", answer.lowest)),
        h("div", { class: "unit-facts" }, this.values(answer), this.words(answer), this.tracks(answer), this.correlated(answer)),
      ),
    );
    return undefined;
  }

  spans(title, spans) {
    const rows = spans.map((span) => h("li", {}, this.span(span, title === "Highest" ? "above" : "below")));
    return h("section", {}, h("h3", {}, title), h("ul", { class: "span-list", "data-spans": title.toLowerCase() }, ...rows));
  }

  // A span in its row: the words before, then the peak and the words after it.
  span(span, direction) {
    const peak = span.position - span.from;
    const word = (text, place) => {
      const value = span.values[place];
      const style = `background:${valueColour(value, this.most)}`;
      return h("span", { class: place === peak ? "word peak" : "word", style, title: `${text}: ${fixed(value)}` }, text);
    };
    const words = span.words.map(word);
    const go = () => this.look({ units: this.answer.unit, from: span.position, to: span.position, direction });
    return button(
      [h("span", { class: "value" }, fixed(span.value)), h("span", { class: "before" }, ...words.slice(0, peak)), h("span", { class: "after" }, ...words.slice(peak))],
      go,
      { class: "span", "data-position": span.position, title: `Position ${number(span.position)}, sentence ${number(span.sentence)}: show it in the select view` },
    );
  }

  values(answer) {
    const { mean, deviation, low, high, share: on, run, runs } = answer.figures;
    const rule = ruleText(this.store.state);
    const rows = [
      ["mean ± deviation", `${fixed(mean)} ± ${fixed(deviation)}`],
      ["lowest, highest", `${fixed(low)}, ${fixed(high)}`],
      [`on (${rule})`, share(on)],
      ["mean run", runs ? `${run.toFixed(1)} words, ${count(runs, "run")}` : "never on"],
    ];
    return h("section", {}, h("h3", {}, "Values"), histogram(answer.histogram, this.store.state), h("dl", {}, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
  }

  words({ words }) {
    if (!words) return null;
    const most = Math.max(...[...words.raised, ...words.lowered].map(([, weight]) => Math.abs(weight)), 1e-9);
    const list = (title, rows, kind) =>
      h("div", {}, h("h4", {}, title), h("ol", { class: `output-words ${kind}` }, ...rows.map(([word, weight]) => {
        const bar = h("span", { class: "bar" }, h("i", { style: `width:${(100 * Math.abs(weight)) / most}%` }));
        return h("li", { title: `${word}: ${fixed(weight)} for each 1 of the unit, relative to the mean of all words` }, h("span", {}, word), bar, h("span", { class: "share" }, fixed(weight)));
      })));
    return h("section", {}, h("h3", {}, "Output words"), h("div", { class: "two" }, list("raised", words.raised, "raised"), list("lowered", words.lowered, "lowered")));
  }

  tracks({ tracks }) {
    if (!tracks.length) return null;
    const rows = tracks.map((row) => {
      const go = () => this.store.set({ view: "statistics", track: row.track, label: "" });
      const { labels } = this.side.tracks.find((one) => one.name === row.track) ?? {};
      const means = row.means && labels ? row.means.map((mean, place) => (mean === null ? null : `${labels[place]} ${fixed(mean)}`)).filter(Boolean).join(" · ") : "";
      const attributes = { class: "track-row", "data-track": row.track, title: "All units for this track" };
      return h("li", {}, button([h("span", {}, row.track), trackBar(row), h("span", { class: "share" }, `${row.score.toFixed(3)}, rank ${number(row.rank)}`)], go, attributes), means ? h("p", { class: "note" }, `means: ${means}`) : null);
    });
    const note = "Correlation with numbers, correlation ratio for labels. The shaded part is what the best unit reaches by chance (shuffled control).";
    return h("section", {}, h("h3", {}, "Tracks"), h("p", { class: "note" }, note), h("ul", { class: "track-list" }, ...rows));
  }

  correlated({ correlated }) {
    if (!correlated.length) return null;
    const chips = correlated.map(([unit, value]) => button([unit, h("span", { class: "share" }, fixed(value))], () => this.store.set({ unit }), { "data-unit": unit, title: "Its card" }));
    return h("section", {}, h("h3", {}, "Most correlated units"), h("div", { class: "units correlated" }, ...chips));
  }

  resize() {}
}
