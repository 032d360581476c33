// The fields of the address describe all that a view shows, so that a copied link shows the same.

import { ONE_VIEW, SAVED } from "./api.js";
import { problem } from "./dom.js";

const whole = (low, high) => (text) => {
  const value = Number(text);
  return /^\d+$/.test(text) && value >= low && value <= high ? value : undefined;
};
const oneOf = (...words) => (text) => (words.includes(text) ? text : undefined);
const text = (longest) => (value) => (value.length <= longest ? value : undefined);
const hundredths = (value) => {
  const level = Math.round(Number(value) * 100);
  return level >= 1 && level <= 100 ? level / 100 : undefined;
};

// The names in a field, which are separated by commas.
export const names = (field) => (field ? field.split(",") : []);

// The names of the states in view, in the order of their side; its first state if the address names none of them.
export function statesInView(state, side) {
  const all = side.states.map((one) => one.name);
  const chosen = all.filter((name) => names(state.states).includes(name));
  return chosen.length ? chosen : all.slice(0, 1);
}

const FIELDS = {
  view: ["explore", oneOf("explore", "units", "unit", "attention", "statistics", "own")],
  side: ["", text(20)],
  states: ["", text(2000)], // names, separated by commas; empty: the first
  pos: [0, whole(0, 1e12)], // the first word in the window
  from: [null, whole(0, 1e12)], // the selected words
  to: [null, whole(0, 1e12)],
  threshold: [0.3, hundredths],
  direction: ["above", oneOf("above", "below")],
  left: [1, whole(0, 20)],
  right: [0, whole(0, 20)],
  off: ["", text(20000)], // selected units that are switched off
  units: ["", text(20000)], // units that are shown in place of the selected ones
  shortest: [2, whole(1, 50)], // the smallest length of a match
  mode: ["fast", oneOf("fast", "precise")],
  maps: ["", text(2000)], // heat maps that are shown; empty: the first ones
  colour: ["activity", text(200)], // the heat map that colours the words of the matches
  track: ["", text(200)],
  label: ["", text(200)],
  unit: ["", text(100)], // of the card; empty: the first
  sort: ["", text(40)], // the column that sorts the table, after - if the largest comes first
  sentence: [0, whole(0, 1e12)],
  text: ["", text(4000)], // one's own text
  target: ["", text(4000)], // empty: the model's own output
  first: [null, whole(0, 1e4)], // the selected words of one's own text
  last: [null, whole(0, 1e4)],
  opos: [0, whole(0, 1e4)], // the first word of one's own text in the window
  ounits: ["", text(20000)],
  ooff: ["", text(20000)],
  set: ["", text(20000)], // units that are set in one's own text
  value: ["mean", text(20)],
  sfrom: [0, whole(0, 1e4)], // the words at which they are set
  sto: [0, whole(0, 1e4)],
  tint: ["attention", oneOf("attention", "gradient_input", "integrated")],
};

const OLD_NAMES = { units: "cells" }; // names that older addresses have

const LOCAL = ["sort", "maps", "colour"]; // fields that change nothing but the looks of a view
const SOON = 900; // milliseconds within which changes of one kind are one step of the browser's history

export function parse(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = {};
  for (const [name, [initial, read]] of Object.entries(FIELDS)) {
    const key = given.has(name) ? name : (OLD_NAMES[name] ?? name);
    const value = given.has(key) ? read(given.get(key)) : undefined;
    state[name] = value === undefined ? initial : value;
  }
  if (state.from === null || state.to === null || state.to < state.from) state.from = state.to = null;
  if (state.first === null || state.last === null || state.last < state.first) state.first = state.last = null;
  return state;
}

export function format(state) {
  const fields = new URLSearchParams();
  for (const [name, [initial]] of Object.entries(FIELDS)) {
    if (state[name] !== initial && state[name] !== null) fields.set(name, state[name]);
  }
  return `#${fields}`;
}

export class Store {
  constructor() {
    this.state = parse(SAVED ? SAVED.address : location.hash);
    this.listeners = [];
    this.last = { kind: null, time: 0 };
    if (SAVED) return; // it has no history
    const restore = () => {
      const before = this.state;
      this.state = parse(location.hash);
      this.tell(before);
    };
    addEventListener("popstate", restore);
    addEventListener("hashchange", () => format(this.state) !== location.hash && restore());
  }

  // Changes of one `kind` in quick succession make one entry of the history.
  set(patch, kind = null) {
    const before = this.state;
    if (SAVED && Object.keys(patch).some((name) => patch[name] !== before[name] && !this.isLocal(name))) {
      problem(ONE_VIEW);
      return;
    }
    this.state = { ...before, ...patch };
    if (SAVED) {
      this.tell(before);
      return;
    }
    const hash = format(this.state);
    if (hash !== format(before)) {
      const now = performance.now();
      const continues = kind !== null && kind === this.last.kind && now - this.last.time < SOON;
      if (continues || kind === "start") history.replaceState(null, "", hash);
      else history.pushState(null, "", hash);
      this.last = { kind, time: now };
    }
    this.tell(before);
  }

  isLocal(name) {
    return LOCAL.includes(name) || (this.state.view === "units" && name === "track");
  }

  subscribe(listener) {
    this.listeners.push(listener);
  }

  tell(before) {
    for (const listener of this.listeners) listener(this.state, before);
  }
}
