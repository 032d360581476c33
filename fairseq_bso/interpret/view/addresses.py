"""The requests that the page sends to show an address, the part of its URL from # on.

`page/state.js` and the views of the page do the same in the browser. A saved page therefore holds all that it asks.
"""

from typing import Any, Dict, List, Tuple
from urllib.parse import parse_qsl

from ..folder.reader import CaptureReader, Side
from .answers import Answers
from .fields import BadRequest, RequestFields
from .requests import LIMITS

__all__ = ["FIELDS", "LONGEST", "answers_of"]

LONGEST = 60_000  # characters of an address
MOST_FIELDS = 100
MOST_WORDS = 110  # of the window of the select view
FIELDS = """
view side states pos from to threshold direction left right off units cells shortest mode maps colour track label unit
sort sentence text target first last opos ounits ooff set value sfrom sto tint
""".split()  # of an address, as in page/state.js
VIEWS = ("explore", "units", "unit", "attention", "statistics", "own")
RULE = ("threshold", "direction")
AROUND = ("left", "right")

Fields = Dict[str, Any]


def answers_of(answers: Answers, address: str) -> Dict[str, Any]:
    """The answers that the page needs to show an address, by the name of their request.

    Args:
        answers: of the capture.
        address: of the page; the part before # is ignored.

    Raises:
        BadRequest: the address has no meaning.
    """
    if len(address) > LONGEST:
        raise BadRequest(f"the address has {len(address):,} characters, but may have {LONGEST:,}")
    pairs = parse_qsl(address.rpartition("#")[2], keep_blank_values=True)
    state = dict(pairs)
    if len(state) < len(pairs) or len(pairs) > MOST_FIELDS:
        raise BadRequest(f"the address names a field twice, or more than {MOST_FIELDS} fields")
    view = state.get("view", "explore")
    if view not in VIEWS:
        raise BadRequest(f"view is {view[:40]!r}, but must be one of {', '.join(VIEWS)}")
    _check(answers.capture, state)
    asked = _Asked(answers)
    info = asked.ask("info", {})
    if view != "own":
        info["own"] = None  # a saved page has no model
    elif answers.own is None:
        raise BadRequest("view is 'own', but one's own text needs the model: start fairseq-bso view with --model")
    getattr(asked, f"show_{view}")(state)
    return asked.found


class _Asked:
    """Asks for one view, and keeps the answers."""

    def __init__(self, answers: Answers):
        self.answers, self.capture = answers, answers.capture
        self.found: Dict[str, Any] = {}

    def ask(self, name: str, fields: Fields) -> Any:
        """The answer to one request. Fields without a value are left out."""
        items = [(key, str(value)) for key, value in fields.items() if value not in (None, "")]
        self.found[name] = self.answers.respond(name, items)
        return self.found[name]

    def show_explore(self, state: Fields) -> None:
        """The window, the selected units and their matches."""
        side, states = self._scope(state)
        units = sum(shown.units for shown in side.states if shown.name in states)
        length = max(1, min(MOST_WORDS, LIMITS["values"] // units))
        scope = {"side": side.name, "states": ",".join(states)}
        start = _position(side, state.get("pos", "0"))
        self.ask("context", {**scope, "start": start, "length": length})
        pinned = [name for name in _names(state, "units") if name.split(":")[0] in states]
        place = {key: state[key] for key in ("from", "to") if "from" in state and "to" in state}
        rule = {**{key: state.get(key) for key in RULE + AROUND}, **place}
        selected = pinned
        if place and not pinned:
            selected = self.ask("select", {**scope, **rule})["units"]
        on = [name for name in selected if name not in _names(state, "off")]
        if not on:
            return
        search = {"mode": state.get("mode"), "minimum": state.get("shortest")}
        named = None if place and not pinned and len(on) == len(selected) else ",".join(on)
        self.ask("match", {**scope, **rule, **search, "units": named})

    def show_units(self, state: Fields) -> None:
        """The table of the units."""
        side, states = self._scope(state)
        self.ask("table", {"side": side.name, "states": ",".join(states), **_rule(state)})

    def show_unit(self, state: Fields) -> None:
        """The card of a unit."""
        side, _ = self._scope(state)
        unit = state.get("unit") or side.unit_name(0)
        self.ask("card", {"side": side.name, "unit": unit, **_rule(state)})

    def show_attention(self, state: Fields) -> None:
        """A sentence pair; a capture without attention has no such view."""
        if self.capture.attention is None:
            return self.show_explore(state)
        self.ask("sentence", {"number": state.get("sentence", "0")})
        return None

    def show_own(self, state: Fields) -> None:
        """One's own text: its states, the units of a range with their matches, units that are set, and attribution."""
        if not state.get("text"):
            return
        side, states = self._scope(state)
        text = {key: state.get(key) for key in ("text", "target")}
        scope = {"side": side.name, "states": ",".join(states)}
        shown = self.ask("own", {**text, **scope})
        rule = {key: state.get(key) for key in RULE + AROUND}
        selected = [name for name in _names(state, "ounits") if name.split(":")[0] in states]
        if not selected and "first" in state and "last" in state:
            place = {"from": state["first"], "to": state["last"]}
            selected = self.ask("own_select", {**text, **scope, **rule, **place})["units"]
        on = [name for name in selected if name not in _names(state, "ooff")]
        if on:
            search = {"mode": state.get("mode"), "minimum": state.get("shortest")}
            self.ask("match", {**scope, **rule, **search, "units": ",".join(on)})
        if state.get("set"):
            last = min(
                RequestFields([("sto", state.get("sto", "0"))]).integer("sto", 0, 10**4), len(shown["words"]) - 1
            )
            value = {"value": state.get("value", "mean"), "from": state.get("sfrom", "0"), "to": last}
            self.ask("intervention", {**text, "side": side.name, "units": state["set"], **value})
        kind = state.get("tint", "attention")
        pair = shown["pair"]
        if kind == "attention" and pair["weights"] is None:
            kind = "gradient_input"
        if kind != "attention" and len(pair["words"]) <= self.answers.own.describe()["attributed"]:
            self.ask("attribution", {**text, "method": kind})

    def show_statistics(self, state: Fields) -> None:
        """The ranking of the units for a track, if there is one."""
        side, states = self._scope(state)
        if not side.tracks:
            return
        track = state["track"] if state.get("track") in side.tracks else next(iter(side.tracks))
        label = state.get("label") if state.get("label") in (side.tracks[track].labels or ()) else None
        self.ask("statistics", {"side": side.name, "states": ",".join(states), "track": track, "label": label})

    def _scope(self, state: Fields) -> Tuple[Side, List[str]]:
        """The side and the states in view: the last side and its first state, if the address names none."""
        side = _side(self.capture, state)
        states = [name for name in side.state_names if name in _names(state, "states")]
        return side, states or [side.states[0].name]


def _check(capture: CaptureReader, state: Fields) -> None:
    """Refuses fields and names that are unknown. The page ignores them, but a saved page would show something else."""
    sides = list(capture.sides.values())
    known = {
        "the field": (state, FIELDS),
        "side": (list(filter(None, [state.get("side")])), list(capture.sides)),
        "states": (_names(state, "states"), [name for side in sides for name in side.state_names]),
        "track": (list(filter(None, [state.get("track")])), [name for side in sides for name in side.tracks]),
    }
    for what, (given, allowed) in known.items():
        for name in given:
            if name not in allowed:
                there = ", ".join(dict.fromkeys(allowed)) or "none"
                raise BadRequest(f"{what} {name[:40]!r} is not known; known are: {there}")


def _side(capture: CaptureReader, state: Fields) -> Side:
    sides = list(capture.sides.values())
    return capture.sides.get(state.get("side", ""), sides[-1])


def _names(state: Fields, field: str) -> List[str]:
    """The names of a field, separated by commas. `units` has an older name."""
    old = {"units": "cells"}.get(field, field)
    return [name for name in str(state.get(field) or state.get(old) or "").split(",") if name]


def _position(side: Side, text: str) -> int:
    """A position within the corpus."""
    return min(RequestFields([("pos", text)]).integer("pos", 0, 10**12), side.steps - 1)


def _rule(state: Fields) -> Fields:
    return {key: state.get(key) for key in RULE}
