"""What the page asks: each method of Queries takes the fields of one request and gives what becomes JSON."""

import os
import threading
from typing import Any, Dict, List, Tuple

import numpy
import torch

from ..folder.index import Index
from ..folder.reader import Capture, Side, States
from ..units.patterns import (
    FAST_CANDIDATES,
    FAST_STEPS,
    PRECISE_CANDIDATES,
    Matches,
    OtherCells,
    find_matches,
    selected_cells,
)
from .fields import Fields, Refused
from .rankings import Question, Rankings
from .requests import LONGEST_RANGE, MOST_OFF, Query, View

__all__ = ["Queries"]

LONGEST_WINDOW = 400  # words in one answer
MOST_VALUES = 500_000  # states in one answer
MOST_MATCHES = 200
WIDEST_CONTEXT = 30  # words on either side of a match
LONGEST_MATCH = 120  # words of a match that are given, with its context
MOST_LEVELS = 128_000_000  # of the selected cells in one match
LONGEST_SENTENCE = 1_000_000  # weights of one attention


class Queries:
    """Answers about one capture. Many threads may ask at the same time.

    Arguments:
        indexes: of each side, by its name.
    """

    def __init__(self, capture: Capture, indexes: Dict[str, Index]):
        self.capture, self.indexes = capture, indexes
        self.rankings = Rankings()
        # More searches at a time than processors would make each of them slower, and hold the memory of all.
        self.searching = threading.BoundedSemaphore(os.cpu_count() or 1)

    def info(self, fields: Fields) -> Dict[str, Any]:
        """What there is: sides, their states and tracks, and the largest values of the other fields."""
        fields.end()
        limits = {"window": LONGEST_WINDOW, "values": MOST_VALUES, "range": LONGEST_RANGE, "off": MOST_OFF}
        return {**self.capture.describe(), "limits": limits}

    def context(self, fields: Fields) -> Dict[str, Any]:
        """Words from `start` (or the beginning of `sentence`) on: states, tracks, sentences and predictions."""
        side = self._side(fields)
        states = self._states(side, fields)
        sentence = fields.integer("sentence", 0, side.sentences - 1, None)
        if sentence is None:
            start = fields.integer("start", 0, side.steps - 1)
        else:
            start = min(int(side.offsets[sentence]), side.steps - 1)  # the last sentence may be empty
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
            {
                "start": int(one),
                "from": max(0, int(one) - 6),
                "words": side.text(max(0, one - 6), one + len(wanted) + 6),
            }
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
        query = Query(view.side, fields)
        fields.end()
        return {"cells": view.names(self._selected(view, query)), "of": len(view.columns)}

    def match(self, fields: Fields) -> Dict[str, Any]:
        """Where else in the corpus the selected cells do what they do at `from` to `to`; or those named by `cells`."""
        view = self._view(fields)
        query = Query(view.side, fields)
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
                f"{len(chosen)} cells are selected, but over {steps:,} steps at most {MOST_LEVELS // steps} are "
                "searched for: raise the threshold, or switch cells off"
            )
        with self.searching:
            cells, found = self._find(view, query, chosen, steps, precise, shortest, limit)
        matches = zip(*(part.tolist() for part in (found.starts, found.lengths, found.overlap, found.others)))
        return {
            "cells": view.names(chosen),
            "steps": steps,
            "candidates": found.candidates,
            "before": before,
            "matches": [self._match(view.side, query, cells, before, after, *one) for one in matches],
        }

    def _find(
        self, view: View, query: Query, chosen: numpy.ndarray, steps: int, precise: bool, shortest: int, limit: int
    ) -> Tuple[torch.Tensor, Matches]:
        """The levels of the chosen cells (n, steps) int8, and where they match."""
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
            exclude=None if query.first is None else (query.first, query.last - query.first + 1),
        )
        return cells, found

    def statistics(self, fields: Fields) -> Dict[str, Any]:
        """The cells that tell a track best: one label of it from the rest, or all of it."""
        view = self._view(fields)
        tracks = view.side.tracks
        name = fields.text("track", 200)
        if name not in tracks:
            raise Refused(f"track is {name!r}, but must be one of {', '.join(tracks) or 'none: there is no track'}")
        label = fields.text("label", 200, None)
        limit = fields.integer("limit", 1, 100, 30)
        fields.end()
        if label is not None and label not in (tracks[name].labels or []):
            known = tracks[name].labels
            raise Refused(
                f"label is {label!r}, but {name} has " + (f"the labels {', '.join(known)}" if known else "numbers")
            )
        question = Question(view.side.name, tuple(one.name for one in view.states), name, label, limit)
        return self.rankings.answer(question, view, tracks[name], self.indexes[view.side.name])

    def _match(self, side, query, cells, before, after, start, length, overlap, others) -> Dict[str, Any]:
        """One match in its context: words, active cells and tracks from `from` on."""
        begin = max(0, start - before)
        end = min(side.steps, start + length + after, begin + LONGEST_MATCH)
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

    def _selected(self, view: View, query: Query) -> numpy.ndarray:
        """The numbers of the selected columns."""
        begin, end = max(0, query.first - query.left), min(view.side.steps, query.last + 1 + query.right)
        rows = self.indexes[view.side.name].rows[begin:end][:, view.columns]
        before, after = query.first - begin, end - query.last - 1
        on = selected_cells(torch.from_numpy(rows), query.level, before, after, query.direction)
        return view.columns[on.numpy()]

    def _view(self, fields: Fields) -> View:
        side = self._side(fields)
        return View(side, self._states(side, fields))

    def _side(self, fields: Fields) -> Side:
        names = list(self.capture.sides)
        default = names if len(names) == 1 else []
        return self.capture.sides[fields.choice("side", names, *default)]

    def _states(self, side: Side, fields: Fields) -> List[States]:
        """Those that are asked for, else all."""
        names = fields.choices("states", [one.name for one in side.states], None)
        return [one for one in side.states if names is None or one.name in names]


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
