// The line plot of the select view: units over words, the threshold, the selected range, words and tracks.
/* global d3 */

import { hideTooltip, h, measure, number, shorten, showTooltip } from "./dom.js";
import { MARGIN, TRACK, WORD, columnAt, columnsOf, domainOf, panelHeight } from "./layout.js";
import { activeColour, trackScale } from "./palette.js";
import { isOn, ruleText, signedThreshold } from "./rule.js";
import { drawLegends, drawTrack } from "./tracks.js";

const GAP = 26; // between panels
const GRIP = 7; // pixels around the threshold in which it can be dragged
const NEAR = 9; // pixels around a line in which its name is shown

export class Plot {
  // `actions`: range(from, to), threshold(value), hover(position or null), key(event).
  constructor(actions) {
    this.actions = actions;
    this.svg = d3
      .create("svg")
      .attr("class", "plot")
      .attr("tabindex", 0)
      .attr("role", "application")
      .attr("aria-label", "States of the units over the words")
      .attr("aria-describedby", "plot-keys");
    const node = (this.node = this.svg.node());
    node.addEventListener("pointerdown", (event) => this.grab(event));
    node.addEventListener("pointermove", (event) => this.move(event));
    node.addEventListener("pointerup", () => this.release());
    node.addEventListener("pointercancel", () => this.release());
    node.addEventListener("pointerleave", () => this.leave());
    node.addEventListener("keydown", (event) => this.actions.key(event));
    this.dragged = null;
    this.panels = [];
    this.columns = [];
  }

  // model: { context, state, side, selected: [{ name, colour, on }], width }
  draw(model) {
    this.model = model;
    const { context, width } = model;
    this.columns = columnsOf(context.words, width);
    const height = panelHeight(context.states.length);
    this.panels = context.states.map((one, place) => {
      const top = MARGIN.top + place * (height + GAP);
      const y = d3.scaleLinear(domainOf(one.values), [top + height, top]);
      return { ...one, top, height, y };
    });
    this.wordsTop = MARGIN.top + this.panels.length * (height + GAP) - 16;
    this.tracksTop = this.wordsTop + WORD + 6;
    this.shownTracks = model.side.tracks.map((track) => ({ ...track, scale: trackScale(track) }));
    this.bottom = this.tracksTop + this.shownTracks.length * (TRACK + 3);
    const legends = this.shownTracks.filter((track) => track.labels);
    const total = this.bottom + 18 + legends.length * 18;
    this.svg.attr("width", width).attr("height", total).attr("viewBox", `0 0 ${width} ${total}`).selectAll("*").remove();
    this.drawGround();
    this.drawSentences();
    for (const panel of this.panels) this.drawPanel(panel);
    this.drawWords();
    this.shownTracks.forEach((track, place) => drawTrack(this, track, this.tracksTop + place * (TRACK + 3)));
    drawLegends(this, legends);
    this.drawRange();
    this.highlightLine = this.svg.append("path").attr("class", "line highlight").attr("visibility", "hidden").attr("d", "");
    this.pointer = this.svg.append("rect").attr("class", "pointer").attr("visibility", "hidden");
  }

  drawGround() {
    const hatch = this.svg.append("defs").append("pattern").attr("id", "hatch");
    hatch.attr("width", 6).attr("height", 6).attr("patternUnits", "userSpaceOnUse").attr("patternTransform", "rotate(45)");
    hatch.append("line").attr("class", "hatch").attr("x1", 0).attr("x2", 0).attr("y1", 0).attr("y2", 6);
  }

  drawSentences() {
    const { context } = this.model;
    const group = this.svg.append("g").attr("class", "sentences");
    for (const one of context.sentences) {
      const column = this.columns[one.start - context.start];
      const first = one.start < context.start;
      if (!column && !first) continue;
      const x = first ? MARGIN.left : column.x;
      if (!first) group.append("line").attr("x1", x).attr("x2", x).attr("y1", 6).attr("y2", this.bottom);
      const next = this.columns[one.start + one.length - context.start]?.x ?? this.right();
      const label = `sentence ${number(one.number)}`;
      if (next - x > measure(label, 11) + 8) group.append("text").attr("x", x + 4).attr("y", 14).text(label);
    }
  }

  right() {
    const last = this.columns[this.columns.length - 1];
    return last.x + last.width;
  }

  drawPanel(panel) {
    const { selected, state } = this.model;
    const group = this.svg.append("g").attr("class", "panel");
    const right = this.right();
    const [low, high] = panel.y.domain();
    for (const value of low < 0 ? [low, 0, high] : [0, high / 2, high]) {
      group.append("line").attr("class", value ? "grid" : "grid zero").attr("x1", MARGIN.left).attr("x2", right)
        .attr("y1", panel.y(value)).attr("y2", panel.y(value));
      group.append("text").attr("class", "tick").attr("x", MARGIN.left - 8).attr("y", panel.y(value) + 4).text(String(value).replace("-", "−"));
    }
    group.append("text").attr("class", "name").attr("x", 4).attr("y", panel.top + 14).text(shorten(panel.name, 76, 13));
    const size = `${panel.values.length} units`;
    group.append("text").attr("class", "note").attr("x", 4).attr("y", panel.top + 31).text(size);
    const mine = new Map(selected.map((one) => [one.name, one]));
    const rest = panel.values.filter((_, place) => !mine.get(`${panel.name}:${place}`)?.on);
    group.append("path").attr("class", "line rest").attr("d", rest.map((values) => this.path(panel, values)).join(""));
    const few = selected.filter((one) => one.on).length <= 12;
    panel.values.forEach((values, place) => {
      const one = mine.get(`${panel.name}:${place}`);
      if (!one?.on) return;
      group.append("path").attr("class", few ? "line chosen" : "line chosen many").attr("d", this.path(panel, values))
        .attr("stroke", one.colour).attr("data-unit", one.name);
    });
    this.drawThreshold(group, panel, state, right);
  }

  path(panel, values) {
    let text = "";
    for (let place = 0; place < this.columns.length; place += 1) {
      text += `${place ? "L" : "M"}${this.columns[place].middle.toFixed(1)},${panel.y(values[place]).toFixed(1)}`;
    }
    return text;
  }

  drawThreshold(group, panel, state, right) {
    const y = panel.y(signedThreshold(state));
    const line = group.append("g").attr("class", "threshold");
    line.append("line").attr("x1", MARGIN.left).attr("x2", right).attr("y1", y).attr("y2", y);
    line.append("rect").attr("x", right + 4).attr("y", y - 10).attr("width", 50).attr("height", 20).attr("rx", 4);
    line.append("text").attr("x", right + 29).attr("y", y + 4).text(ruleText(state));
  }

  // The number of active units at each word, among those that are switched on.
  active() {
    const { selected, state, context } = this.model;
    const counts = new Array(context.words.length).fill(0);
    const values = new Map(this.panels.map((panel) => [panel.name, panel.values]));
    for (const one of selected) {
      if (!one.on) continue;
      const [states, column] = one.name.split(":");
      const levels = values.get(states)?.[column];
      if (!levels) continue;
      levels.forEach((value, place) => {
        counts[place] += isOn(value, state);
      });
    }
    return counts;
  }

  drawWords() {
    const most = this.model.selected.filter((one) => one.on).length;
    const counts = this.active();
    const group = this.svg.append("g").attr("class", "words");
    this.label("words", this.wordsTop + 17);
    const { from, to } = this.model.state;
    this.columns.forEach((column, place) => {
      const position = this.model.context.start + place;
      const inside = from !== null && position >= from && position <= to;
      group.append("rect").attr("x", column.x + 1).attr("y", this.wordsTop).attr("width", column.width - 2)
        .attr("height", WORD).attr("rx", 3).attr("fill", activeColour(counts[place], most));
      group.append("text").attr("class", inside ? "word inside" : "word").attr("x", column.middle)
        .attr("y", this.wordsTop + 17).text(column.text);
    });
  }

  label(text, y) {
    this.svg.append("text").attr("class", "row-name").attr("x", MARGIN.left - 8).attr("y", y)
      .text(shorten(text, MARGIN.left - 16, 12));
  }

  drawRange() {
    const { state, context } = this.model;
    if (state.from === null) return;
    const group = this.svg.append("g").attr("class", "range");
    const top = MARGIN.top - 4;
    const zone = (first, last, kind, text) => {
      const begin = Math.max(0, first - context.start);
      const end = Math.min(this.columns.length - 1, last - context.start);
      if (begin > end) return;
      const x = this.columns[begin].x;
      const width = this.columns[end].x + this.columns[end].width - x;
      if (kind === "on-zone") {
        group.append("rect").attr("class", "on-ground").attr("x", x).attr("y", top).attr("width", width)
          .attr("height", this.wordsTop - 2 - top);
      }
      group.append("rect").attr("class", kind).attr("x", x).attr("y", top).attr("width", width)
        .attr("height", this.wordsTop + WORD + 2 - top).attr("rx", 3);
      if (width > measure(text, 11) + 2) {
        group.append("text").attr("class", "zone-name").attr("x", x + width / 2).attr("y", top + 12).text(text);
      }
    };
    if (state.left) zone(state.from - state.left, state.from - 1, "off-zone", "off");
    zone(state.from, state.to, "on-zone", "on");
    if (state.right) zone(state.to + 1, state.to + state.right, "off-zone", "off");
  }

  // Draws the line of one unit on top, for the name under the mouse.
  highlight(name) {
    const [states, column] = (name || "").split(":");
    const panel = this.panels.find((one) => one.name === states);
    const values = panel?.values[column];
    this.highlightLine?.attr("visibility", values ? "visible" : "hidden").attr("d", values ? this.path(panel, values) : "");
  }

  place(event) {
    const box = this.node.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  thresholdPanel([x, y]) {
    if (x < MARGIN.left) return undefined;
    const { state } = this.model;
    return this.panels.find((panel) => Math.abs(panel.y(signedThreshold(state)) - y) <= (x > this.right() ? 11 : GRIP));
  }

  grab(event) {
    if (event.button !== 0 || !this.columns.length) return;
    const [x, y] = this.place(event);
    this.node.focus({ preventScroll: true });
    const panel = this.thresholdPanel([x, y]);
    if (panel) this.dragged = { panel };
    else if (x >= MARGIN.left && x <= this.right()) {
      const position = this.model.context.start + columnAt(this.columns, x);
      const { from, to } = this.model.state;
      const anchor = event.shiftKey && from !== null ? (position < from ? to : from) : position;
      this.dragged = { anchor };
      this.actions.range(Math.min(anchor, position), Math.max(anchor, position));
    } else return;
    event.preventDefault();
    this.node.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.columns.length) return;
    const [x, y] = this.place(event);
    if (this.dragged?.panel) {
      const value = Math.round(this.dragged.panel.y.invert(y) * (this.model.state.direction === "below" ? -100 : 100));
      this.actions.threshold(Math.min(100, Math.max(1, value)) / 100);
    } else if (this.dragged) {
      const position = this.model.context.start + columnAt(this.columns, x);
      this.actions.range(Math.min(this.dragged.anchor, position), Math.max(this.dragged.anchor, position));
    } else this.point(event, x, y);
  }

  release() {
    this.dragged = null;
  }

  // Shows the names of the word and the line under the mouse.
  point(event, x, y) {
    const inside = x >= MARGIN.left && x <= this.right();
    const grip = this.thresholdPanel([x, y]);
    this.node.style.cursor = grip ? "ns-resize" : inside ? "crosshair" : "default";
    if (!inside) return this.leave();
    const place = columnAt(this.columns, x);
    const column = this.columns[place];
    this.pointer.attr("visibility", "visible").attr("x", column.x).attr("width", column.width)
      .attr("y", MARGIN.top - 4).attr("height", this.bottom - MARGIN.top + 4);
    this.actions.hover(this.model.context.start + place);
    const panel = this.panels.find((one) => y >= one.top - 4 && y <= one.top + one.height + 4);
    const unit = panel && !grip ? nearest(panel, place, y) : -1;
    this.highlight(unit >= 0 ? `${panel.name}:${unit}` : null);
    if (unit < 0) return hideTooltip();
    return showTooltip(event, h("b", {}, `${panel.name}:${unit}`), ` ${panel.values[unit][place].toFixed(3)} at “${column.full}”`);
  }

  leave() {
    if (this.dragged) return;
    hideTooltip();
    this.highlight(null);
    this.pointer?.attr("visibility", "hidden");
    this.actions.hover(null);
  }
}

function nearest(panel, place, y) {
  let best = -1;
  let distance = NEAR;
  panel.values.forEach((values, unit) => {
    const away = Math.abs(panel.y(values[place]) - y);
    if (away < distance) [best, distance] = [unit, away];
  });
  return best;
}
