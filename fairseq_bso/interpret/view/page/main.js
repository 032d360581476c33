// Starts the page: reads what the capture holds, and builds the views and the buttons above them.
/* global d3 */

import { SAVED, ask } from "./api.js";
import { Attention } from "./attention.js";
import { button, fillSegments, h, press, problem, announce, number } from "./dom.js";
import { Explore } from "./explore.js";
import { copy, download } from "./export.js";
import { OwnText } from "./own.js";
import { Statistics } from "./statistics.js";
import { Store, names, statesInView } from "./state.js";
import { UnitCard } from "./unit_card.js";
import { UnitTable } from "./unit_table.js";

const store = new Store();

function describe(info) {
  const name = info.checkpoint || info.description || "capture";
  document.title = `${name}: hidden states`;
  document.getElementById("title").textContent = name;
  const mode = { reference: "teacher forcing", output: "on the model’s own output", language_model: "language model" }[info.mode];
  const words = `${number(d3.sum(info.sides, (side) => side.steps))} words`;
  document.getElementById("subtitle").textContent = [info.architecture, mode, words].filter(Boolean).join(" · ");
}

function addActions(explore, info) {
  const say = (node, text) => {
    const before = node.dataset.text ?? node.textContent;
    node.dataset.text = before;
    node.textContent = text;
    announce(text);
    setTimeout(() => (node.textContent = before), 1600);
  };
  const finding = () => {
    const { architecture, checkpoint, mode, description } = info;
    const content = { made_with: "fairseq-bso view", capture: { architecture, checkpoint, mode, description }, ...explore.finding(), address: location.hash };
    return `${JSON.stringify(content, null, 1)}\n`;
  };
  const link = button("Copy link", async () => say(link, (await copy(location.href, "link.txt")) === "copied" ? "Copied" : "Saved"), { class: "quiet", title: "The address describes all that is shown" });
  const taken = button("Copy finding", async () => say(taken, (await copy(finding(), "finding.json")) === "copied" ? "Copied" : "Saved"), { class: "quiet", id: "copy-finding", title: "Query, selected units and matches as JSON" });
  const saved = button("Save finding", () => download(finding(), "finding.json", "application/json"), { class: "quiet", id: "save-finding", title: "Query, selected units and matches as a JSON file" });
  const page = button("Save page", () => savePage(), { class: "quiet", id: "save-page", title: "This view as one HTML file, which opens without server or network" });
  document.getElementById("actions").replaceChildren(...(SAVED ? [taken, saved] : [link, taken, saved, page]));
}

async function savePage() {
  try {
    const answer = await fetch(`export?address=${encodeURIComponent(location.hash || "#")}`);
    const text = await answer.text();
    if (!answer.ok) throw new Error(JSON.parse(text).error);
    download(text, "finding.html", "text/html");
    problem("");
  } catch (error) {
    problem(error.message);
  }
}

// A saved page shows one view: what would lead to another one is hidden or disabled.
function freeze() {
  document.body.classList.add("saved");
  for (const one of document.querySelectorAll("main input, main select:not([data-local])")) one.disabled = true;
}

const sideOf = (info, state) => info.sides.find((side) => side.name === state.side) ?? info.sides[info.sides.length - 1];
const viewOf = (views, state) => (views[state.view] ? state.view : "explore");

// The other views lead to words and units in the select view.
function selectWord(side, position) {
  store.set({ view: "explore", side, pos: Math.max(0, position - 6), from: position, to: position, units: "", off: "" });
}

function selectUnit(info, row) {
  const { threshold = store.state.threshold, direction = store.state.direction } = row;
  const states = [...new Set([...statesInView(store.state, sideOf(info, store.state)), row.unit.split(":")[0]])].join(",");
  store.set({ view: "explore", units: row.unit, states, off: "", threshold, direction });
}

function selectPlace(patch) {
  const states = [...new Set([...names(store.state.states), patch.units.split(":")[0]])].join(",");
  const pos = patch.from === undefined ? {} : { pos: Math.max(0, patch.from - 6) };
  store.set({ view: "explore", off: "", from: null, to: null, ...pos, ...patch, states });
}

function makeViews(info) {
  const views = {
    explore: new Explore(store, info),
    statistics: new Statistics(store, (row) => selectUnit(info, row)),
    units: new UnitTable(store),
    unit: new UnitCard(store, selectPlace),
  };
  if (info.attention) views.attention = new Attention(store, info, selectWord);
  if (info.own) views.own = new OwnText(store, info);
  return views;
}

function addTabs(views) {
  const titles = [["explore", "Select and match"], ["units", "Units"], ["attention", "Attention"], ["statistics", "Statistics"], ["own", "Own text"]].filter(([name]) => views[name]);
  document.getElementById("views").replaceChildren(...titles.map(([view, text]) => button(text, () => store.set({ view }), { "data-value": view })));
}

function addSides(info) {
  const reset = { pos: 0, from: null, to: null, off: "", units: "", unit: "", first: null, last: null, opos: 0, ooff: "", ounits: "", set: "" };
  fillSegments(document.getElementById("sides"), info.sides.map((side) => [side.name, side.name]), (side) => store.set({ side, ...reset }));
}

function render(info, views, state) {
  const side = sideOf(info, state);
  const name = viewOf(views, state);
  if (state.to !== null && state.to >= side.steps) {
    store.set({ from: null, to: null }, "start");
    return;
  }
  views.explore.side = side;
  for (const tab of document.getElementById("views").children) tab.setAttribute("aria-current", tab.dataset.value === (name === "unit" ? "units" : name) ? "page" : "false");
  const sides = document.getElementById("sides");
  press(sides, (value) => value === side.name);
  sides.hidden = info.sides.length < 2 || name === "attention" || SAVED !== null;
  const main = document.getElementById("main");
  if (main.firstElementChild !== views[name].node) main.replaceChildren(views[name].node);
  views[name].show(state, side);
  if (SAVED) freeze();
}

function resizeAfterWindow(views) {
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => views[viewOf(views, store.state)].resize(), 120);
  });
}

function start(info) {
  describe(info);
  const views = makeViews(info);
  addTabs(views);
  addSides(info);
  addActions(views.explore, info);
  store.subscribe((state, before) => {
    if (state.view !== before.view) scrollTo(0, 0);
    render(info, views, state);
  });
  resizeAfterWindow(views);
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main").focus();
  });
  render(info, views, store.state);
}

try {
  start(await ask("info"));
} catch (error) {
  document.getElementById("main").replaceChildren(h("p", { class: "empty wrong" }, "The capture could not be opened."));
  problem(error.message);
}
