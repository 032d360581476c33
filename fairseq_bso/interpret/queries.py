"""What the page asks: each method of Queries takes the fields of one request and gives what becomes JSON."""

import re
from typing import Any, Dict, List, Sequence

import numpy
import torch

from ..core.patterns import (
    DIRECTIONS,
    FAST_CANDIDATES,
    FAST_STEPS,
    PRECISE_CANDIDATES,
    OtherCells,
    find_matches,
    selected_cells,
)
from .capture_folder import Capture, Side, States
from .fields import Fields, Refused
from .index import Index

__all__ = ["Queries"]

LONGEST_WINDOW = 400  # words in one answer
MOST_VALUES = 500_000  # states in one answer
LONGEST_RANGE = 200  # words of a selection
MOST_OFF = 20  # steps around it
MOST_MATCHES = 200
WIDEST_CONTEXT = 30  # words on either side of a match
MOST_LEVELS = 128_000_000  # of the selected cells in one match
LONGEST_SENTENCE = 1_000_000  # weights of one attention


class Queries:
    """Answers about one capture. Many threads may ask at the same time.

    Arguments:
        indexes: of each side, by its name.
    """

    def __init__(self, capture: Capture, indexes: Dict[str, Index]):
        self.capture, self.indexes = capture, indexes

    def info(self, fields: Fields) -> Dict[str, Any]:
        """What there is: sides, their states and tracks, and the largest values of the other fields."""
        fields.end()
        limits = {"window": LONGEST_WINDOW, "values": MOST_VALUES, "range": LONGEST_RANGE, "off": MOST_OFF}
        return {**self.capture.describe(), "limits": limits}

    def context(self, fields: Fields) -> Dict[str, Any]:
        """Words from `start` on: states of every cell, tracks, sentences and predictions."""
        side = self._side(fields)
        states = self._states(side, fields)
        start = fields.integer("start", 0, side.steps - 1)
        length = fields.integer("length", 1, LONGEST_WINDOW, 60)
        fields.end()
        stop = min(start + length, side.steps)
        units = sum(one.units for one in states)
        if units * (stop - start) > MOST_VALUES:
            most = max(1, MOST_VALUES // units)
            raise Refused(f"length is {length}, but of these {units} cells at most {most} words are shown at a time")
        first, last = side.sentence_of(start), side.sentence_of(stop - 1)
        return {
            "start": start,
            "words": side.text(start, stop),
            "states": [{"name": one.name, "values": _cut(one.window(start, stop)).T.tolist()} for one in states],
            "tracks": {name: track.window(start, stop) for name, track in side.tracks.items()},
            "predictions": side.predicted(start, stop),
            "sentences": [self._sentence(side, number) for number in range(first, last + 1)],
        }

    def search(self, fields: Fields) -> Dict[str, Any]:
        """Where a word or phrase stands, from `start` on; a * at a word's beginning or end stands for any letters."""
        side = self._side(fields)
        wanted = fields.text("text", 200).split()
        start = fields.integer("start", 0, side.steps - 1, 0)
        limit = fields.integer("limit", 1, MOST_MATCHES, 50)
        fields.end()
        if len(wanted) > 20:
            raise Refused("text has more than 20 words")
        found = numpy.arange(side.steps - len(wanted) + 1)  # those that may still be it
        for offset, word in enumerate(wanted):
            fits = numpy.array([_fits(word, one) for one in side.words])  # (V,)
            found = found[fits[side.word_ids[found + offset]]]
        ahead = found[found >= start][:limit]
        places = [
            {"start": int(one), "from": max(0, int(one) - 6), "words": side.text(max(0, one - 6), one + len(wanted) + 6)}
            for one in ahead
        ]
        return {"text": " ".join(wanted), "length": len(wanted), "total": len(found), "places": places}

    def sentence(self, fields: Fields) -> Dict[str, Any]:
        """A sentence pair by its number in the capture, with the attention (target words, source words)."""
        if self.capture.attention is None:
            raise Refused("this capture holds no attention", 404)
        encoder, decoder = (self.capture.sides[name] for name in ("encoder", "decoder"))
        number = fields.integer("number", 0, decoder.sentences - 1)
        fields.end()
        source, target = (self._sentence(side, number) for side in (encoder, decoder))
        if source["length"] * target["length"] > LONGEST_SENTENCE:
            raise Refused(f"sentence {number} is too long to be shown")
        read, begin = decoder.text(target["start"], target["start"] + target["length"]), encoder.text
        return {
            "number": number,
            "sentences": decoder.sentences,
            "id": target["id"],
            "source": {**source, "words": begin(source["start"], source["start"] + source["length"])},
            # The weights of a row were used for the word after it.
            "target": {**target, "read": read, "words": read[1:] + ["</s>"]},
            "weights": _cut(self.capture.weights(number)).tolist(),
        }

    def _sentence(self, side: Side, number: int) -> Dict[str, Any]:
        start = int(side.offsets[number])
        name = number if side.sentence_ids is None else int(side.sentence_ids[number])
        return {"number": number, "id": name, "start": start, "length": int(side.offsets[number + 1]) - start}

    def select(self, fields: Fields) -> Dict[str, Any]:
        """The cells that are on throughout the words `from` to `to`, and off around them."""
        view = self._view(fields)
        query = _Query(view.side, fields)
        fields.end()
        return {"cells": view.names(self._selected(view, query)), "of": len(view.columns)}

    def match(self, fields: Fields) -> Dict[str, Any]:
        """Where else in the corpus the selected cells do what they do at `from` to `to`; or those named by `cells`."""
        view = self._view(fields)
        query = _Query(view.side, fields)
        given = fields.text("cells", 100_000, None)
        precise = fields.choice("mode", ("fast", "precise"), "fast") == "precise"
        shortest = fields.integer("minimum", 1, LONGEST_RANGE, 2)
        limit = fields.integer("limit", 1, MOST_MATCHES, 50)
        before = fields.integer("before", 0, WIDEST_CONTEXT, 8)
        after = fields.integer("after", 0, WIDEST_CONTEXT, 12)
        fields.end()
        chosen = self._selected(view, query) if given is None else view.numbers(given)
        steps = view.side.steps if precise else min(view.side.steps, FAST_STEPS)
        if not len(chosen):
            return {"cells": [], "steps": steps, "candidates": 0, "matches": []}
        if len(chosen) * steps > MOST_LEVELS:
            raise Refused(
                f"{len(chosen)} cells are selected, but over {steps:,} steps at most {MOST_LEVELS // steps} are searched "
                "for: raise the threshold, or switch cells off"
            )
        index = self.indexes[view.side.name]
        cells = torch.from_numpy(index.cells[chosen, :steps])  # (n, T) int8
        found = find_matches(
            cells,
            query.level,
            query.left,
            query.right,
            minimum_length=shortest,
            limit=limit,
            candidates=PRECISE_CANDIDATES if precise else FAST_CANDIDATES,
            direction=query.direction,
            others=OtherCells(torch.from_numpy(index.rows), torch.from_numpy(view.others(chosen))),
            exclude=(query.first, query.last - query.first + 1),
        )
        matches = zip(*(part.tolist() for part in (found.starts, found.lengths, found.overlap, found.others)))
        return {
            "cells": view.names(chosen),
            "steps": steps,
            "candidates": found.candidates,
            "before": before,
            "matches": [self._match(view.side, query, cells, before, after, *one) for one in matches],
        }

    def statistics(self, fields: Fields) -> Dict[str, Any]:
        raise Refused("not yet", 404)

    def _match(self, side, query, cells, before, after, start, length, overlap, others) -> Dict[str, Any]:
        """One match in its context: words, active cells and tracks from `from` on."""
        begin, end = max(0, start - before), min(side.steps, start + length + after)
        return {
            "start": start,
            "length": length,
            "overlap": overlap,
            "others": others,
            "sentence": side.sentence_of(start),
            "from": begin,
            "words": side.text(begin, end),
            "active": query.on(cells[:, begin:end].numpy()).sum(0).tolist(),
            "tracks": {name: track.window(begin, end) for name, track in side.tracks.items()},
        }

    def _selected(self, view: "_View", query: "_Query") -> numpy.ndarray:
        """The numbers of the selected columns."""
        begin, end = max(0, query.first - query.left), min(view.side.steps, query.last + 1 + query.right)
        rows = self.indexes[view.side.name].rows[begin:end][:, view.columns]
        before, after = query.first - begin, end - query.last - 1
        on = selected_cells(torch.from_numpy(rows), query.level, before, after, query.direction)
        return view.columns[on.numpy()]

    def _view(self, fields: Fields) -> "_View":
        side = self._side(fields)
        return _View(side, self._states(side, fields))

    def _side(self, fields: Fields) -> Side:
        names = list(self.capture.sides)
        default = names if len(names) == 1 else []
        return self.capture.sides[fields.choice("side", names, *default)]

    def _states(self, side: Side, fields: Fields) -> List[States]:
        """Those that are asked for, else all."""
        names = fields.choices("states", [one.name for one in side.states], None)
        return [one for one in side.states if names is None or one.name in names]


class _View:
    """The columns of the states that are looked at."""

    def __init__(self, side: Side, states: Sequence[States]):
        self.side, self.states = side, states
        self.columns = numpy.concatenate([numpy.arange(one.first, one.first + one.units) for one in states])

    def names(self, columns: Sequence[int]) -> List[str]:
        """ "hidden1:17" for each column."""
        found = []
        for column in columns:
            one = next(one for one in self.states if one.first <= column < one.first + one.units)
            found.append(f"{one.name}:{column - one.first}")
        return found

    def numbers(self, text: str) -> numpy.ndarray:
        """The columns of names that are separated by commas."""
        by_name = {one.name: one for one in self.states}
        columns = set()
        for name in text.split(","):
            states, _, unit = name.rpartition(":")
            one = by_name.get(states)
            if one is None or not re.fullmatch("[0-9]{1,6}", unit) or int(unit) >= one.units:
                raise Refused(f"cells names {name[:40]!r}, but the states in view are {', '.join(by_name)}")
            columns.add(one.first + int(unit))
        return numpy.array(sorted(columns))

    def others(self, chosen: numpy.ndarray) -> numpy.ndarray:
        """The columns in view that are not chosen."""
        return numpy.setdiff1d(self.columns, chosen, assume_unique=True)


class _Query:
    """A range of words and what a cell has to do there."""

    def __init__(self, side: Side, fields: Fields):
        self.first = fields.integer("from", 0, side.steps - 1)
        self.last = fields.integer("to", 0, side.steps - 1)
        self.level = fields.hundredths("threshold", 30)
        self.direction = fields.choice("direction", DIRECTIONS, "above")
        self.left = fields.integer("left", 0, MOST_OFF, 1)
        self.right = fields.integer("right", 0, MOST_OFF, 0)
        if not self.first <= self.last < self.first + LONGEST_RANGE:
            raise Refused(
                f"from is {self.first} and to is {self.last}, but a range has 1 to {LONGEST_RANGE} words, first to last"
            )

    def on(self, levels: numpy.ndarray) -> numpy.ndarray:
        """levels int8 -> bool of the same shape."""
        return levels >= self.level if self.direction == "above" else levels <= -self.level


def _cut(values: numpy.ndarray) -> numpy.ndarray:
    """To four digits, toward zero: a value is then above a threshold in the page exactly where it is in the index."""
    return numpy.trunc(values.astype(numpy.float64) * 10_000) / 10_000 + 0.0


def _fits(pattern: str, word: str) -> bool:
    """Whether a word is what was searched for, in small or capital letters."""
    pattern, word = pattern.lower(), word.lower()
    inner = pattern.strip("*")
    if not inner:  # a word of stars alone is itself
        return pattern == word
    if pattern[0] == "*" and pattern[-1] == "*":
        return inner in word
    if pattern[0] == "*":
        return word.endswith(inner)
    return word.startswith(inner) if pattern[-1] == "*" else pattern == word
