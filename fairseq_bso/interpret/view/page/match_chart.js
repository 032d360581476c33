// Ranked matches: phrases in their context, with one heat map for the units and one for each track.
/* global d3 */

import { h, hideTooltip, measure, number, shorten, showTooltip } from "./dom.js";
import { NONE, activeColour } from "./palette.js";

const ROW = 24;
const HEAD = 30;
const BEFORE = 6; // words of context in a heat map
const MOST = 22; // columns of a heat map
const FIXED = [["#", 30], ["position", 104], ["units", 156], ["others", 208]]; // right edges of the first columns
const TEXT = 224;
const GAP = 22;
const SHORTEST_TEXT = 360;

export class MatchChart {
  // `go(match)` is called with the match that is clicked or chosen with Enter.
  constructor(go) {
    this.go = go;
    this.svg = d3.create("svg").attr("class", "matches").attr("role", "group").attr("aria-label", "Matches, the best first");
    this.node = this.svg.node();
    this.current = 0;
    this.node.addEventListener("pointerleave", hideTooltip);
  }

  // model: { answer, maps: [{ name, title, colour(value), text(value), values(match), legend }], colour: a map or null, width }
  draw(model) {
    this.model = model;
    const { answer, maps, width } = model;
    const longest = d3.max(answer.matches, (one) => one.length);
    const columns = Math.min(MOST, BEFORE + longest + 8);
    const space = Math.max(500, width - TEXT - 12);
    const each = (space - SHORTEST_TEXT) / Math.max(1, maps.length) - GAP;
    const square = Math.max(5, Math.min(10, Math.floor(each / columns)));
    const mapWidth = columns * square;
    const textWidth = Math.max(SHORTEST_TEXT, Math.min(720, space - maps.length * (mapWidth + GAP)));
    this.layout = { columns, square, mapWidth, textWidth, start: TEXT + Math.round(textWidth * 0.34) };
    const legends = maps.filter((map) => map.legend.length);
    const height = HEAD + answer.matches.length * ROW + 10 + legends.length * 20;
    const total = TEXT + textWidth + maps.length * (mapWidth + GAP) + 4;
    this.svg.attr("width", total).attr("height", height).attr("viewBox", `0 0 ${total} ${height}`).selectAll("*").remove();
    this.svg.append("defs").append("clipPath").attr("id", "phrases").append("rect").attr("x", TEXT).attr("y", 0)
      .attr("width", textWidth).attr("height", height);
    this.drawHead();
    this.current = Math.min(this.current, answer.matches.length - 1);
    answer.matches.forEach((match, place) => this.drawRow(match, place));
    this.drawLegends(legends, HEAD + answer.matches.length * ROW + 12);
  }

  mapLeft(place) {
    const { textWidth, mapWidth } = this.layout;
    return TEXT + textWidth + GAP + place * (mapWidth + GAP);
  }

  drawHead() {
    const head = this.svg.append("g").attr("class", "head");
    for (const [text, x] of FIXED) head.append("text").attr("class", "end").attr("x", x).attr("y", 18).text(text);
    head.append("text").attr("x", this.layout.start).attr("y", 18).text("match");
    this.model.maps.forEach((map, place) => {
      const x = this.mapLeft(place);
      head.append("text").attr("class", "title").attr("x", x).attr("y", 18).text(shorten(map.title, this.layout.mapWidth + GAP - 6, 12));
    });
  }

  drawRow(match, place) {
    const { answer } = this.model;
    const y = HEAD + place * ROW;
    const phrase = match.words.slice(match.start - match.from, match.start - match.from + match.length).join(" ");
    const row = this.svg.append("g").attr("class", "row").attr("role", "button").attr("data-match", place)
      .attr("tabindex", place === this.current ? 0 : -1).attr("data-start", match.start)
      .attr("aria-label", `Match ${place + 1}: ${phrase}, position ${match.start}, ${match.overlap} of ${answer.units.length} units`);
    row.append("rect").attr("class", "ground").attr("x", 0).attr("y", y).attr("width", "100%").attr("height", ROW);
    const figures = [place + 1, number(match.start), `${match.overlap}/${answer.units.length}`, match.others];
    figures.forEach((text, column) => row.append("text").attr("class", "end figure").attr("x", FIXED[column][1]).attr("y", y + 16).text(text));
    this.drawPhrase(row, match, y);
    this.model.maps.forEach((map, column) => this.drawMap(row, match, map, this.mapLeft(column), y));
    row.on("click", () => this.go(match)).on("keydown", (event) => this.key(event, place)).on("focus", () => this.roam(place));
  }

  // Draws the words on both sides of the beginning of the match, as many as fit.
  drawPhrase(row, match, y) {
    const { start, textWidth } = this.layout;
    const group = row.append("g").attr("clip-path", "url(#phrases)");
    const at = match.start - match.from;
    const values = this.model.colour?.values(match);
    const draw = (place, x) => {
      const word = match.words[place];
      const width = measure(word, 13) + 6;
      const inside = place >= at && place < at + match.length;
      if (values) {
        group.append("rect").attr("x", x).attr("y", y + 3).attr("width", width - 1).attr("height", ROW - 6).attr("rx", 2)
          .attr("fill", this.model.colour.colour(values[place]));
      }
      const dark = values && d3.lab(this.model.colour.colour(values[place])).l < 55;
      const kind = `${inside ? "inside" : values?.[place] ? "around coloured" : "around"}${dark ? " light" : ""}`;
      group.append("text").attr("class", kind).attr("x", x + 3).attr("y", y + 16).text(word);
      if (inside) group.append("line").attr("class", "under").attr("x1", x).attr("x2", x + width - 1).attr("y1", y + ROW - 2).attr("y2", y + ROW - 2);
      return width;
    };
    let x = start;
    for (let place = at; place < match.words.length && x < TEXT + textWidth; place += 1) x += draw(place, x);
    x = start;
    for (let place = at - 1; place >= 0; place -= 1) {
      x -= measure(match.words[place], 13) + 6;
      if (x < TEXT) break;
      draw(place, x);
    }
  }

  drawMap(row, match, map, left, y) {
    const { columns, square } = this.layout;
    const values = map.values(match);
    for (let column = 0; column < columns; column += 1) {
      const place = match.start - BEFORE + column - match.from;
      const there = place >= 0 && place < match.words.length;
      row.append("rect").attr("class", "square").attr("x", left + column * square).attr("y", y + 1).attr("width", square)
        .attr("height", ROW - 2).attr("fill", there ? map.colour(values[place]) : NONE)
        .on("pointermove", (event) => {
          if (there) showTooltip(event, h("b", {}, match.words[place]), ` ${map.title}: ${map.text(values[place])}`);
        })
        .on("pointerleave", hideTooltip);
    }
    const width = Math.min(match.length, columns - BEFORE) * square;
    row.append("rect").attr("class", "frame").attr("x", left + BEFORE * square + 0.5).attr("y", y + 1.5).attr("width", width - 1).attr("height", ROW - 3);
  }

  drawLegends(maps, top) {
    maps.forEach((map, place) => {
      const y = top + place * 20;
      const group = this.svg.append("g").attr("class", "key");
      group.append("text").attr("class", "end title").attr("x", TEXT - 12).attr("y", y + 10).text(shorten(map.title, 190, 12));
      let x = TEXT;
      for (const [text, colour] of map.legend) {
        group.append("rect").attr("class", "swatch").attr("x", x).attr("y", y).attr("width", 12).attr("height", 12).attr("rx", 2).attr("fill", colour);
        group.append("text").attr("class", "legend").attr("x", x + 17).attr("y", y + 10).text(text);
        x += measure(text, 11) + 32;
        if (x > TEXT + 900) break;
      }
    });
  }

  key(event, place) {
    const moves = { ArrowDown: 1, ArrowUp: -1, Home: -1e9, End: 1e9 };
    if (event.key === "Enter" || event.key === " ") this.go(this.model.answer.matches[place]);
    else if (event.key in moves) {
      const next = Math.max(0, Math.min(this.model.answer.matches.length - 1, place + moves[event.key]));
      this.node.querySelector(`[data-match="${next}"]`).focus();
    } else return;
    event.preventDefault();
  }

  // Only one row at a time can be reached with Tab.
  roam(place) {
    this.node.querySelector(`[data-match="${this.current}"]`)?.setAttribute("tabindex", -1);
    this.current = place;
    this.node.querySelector(`[data-match="${place}"]`).setAttribute("tabindex", 0);
  }
}

// The heat map of how many of the chosen units are on.
export function activityMap(units) {
  const steps = units < 8 ? d3.range(units + 1) : d3.range(0, units + 1, Math.ceil(units / 6));
  return {
    name: "activity",
    title: "unit activity",
    colour: (value) => activeColour(value, units),
    text: (value) => `${value} of ${units} units on`,
    values: (match) => match.active,
    legend: steps.map((value) => [`${value}${value === steps[steps.length - 1] ? " units on" : ""}`, activeColour(value, units)]),
  };
}
