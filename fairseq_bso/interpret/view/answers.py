"""The answer to each kind of request: a method of `Answers` takes the parsed request and returns the JSON content."""

import os
import threading
from typing import Any, Dict, Iterable, List, Tuple

import numpy

from ..folder.index import Index
from ..folder.reader import CaptureReader, Side
from ..units.patterns import (
    FAST_CANDIDATES,
    FAST_STEPS,
    PRECISE_CANDIDATES,
    Matches,
    OtherUnits,
    UnitQuery,
    find_matches,
    selected_units,
)
from .card_requests import CardRequest, TableRequest
from .cards import CardAnswers
from .columns import UnitColumns
from .fields import BadRequest, RequestFields
from .own_requests import OWN_PARSERS
from .rankings import Rankings
from .requests import (
    LIMITS,
    PARSERS,
    ContextRequest,
    InfoRequest,
    MatchRequest,
    RankingRequest,
    SearchRequest,
    SelectRequest,
    SentenceRequest,
    WordRange,
)

__all__ = ["Answers", "truncated"]

LONGEST_MATCH = 120  # words of a match that are shown, with its context
MOST_LEVELS = 128_000_000  # of the selected units in one match
LONGEST_SENTENCE = 1_000_000  # weights of one attention
LEAD = 6  # words shown on either side of a phrase that was found


class Answers:
    """Answers requests about one capture. Many threads may ask at the same time.

    Args:
        capture: the capture.
        indexes: the index of each side, by its name.
        own: answers requests about one's own text; None without a model.
    """

    def __init__(self, capture: CaptureReader, indexes: Dict[str, Index], own: Any = None):
        self.own = own
        self.capture, self.indexes = capture, indexes
        self.rankings = Rankings()
        self.cards = CardAnswers(capture, indexes)
        # More simultaneous searches than processors would slow down each one and need the memory of all.
        self.searching = threading.BoundedSemaphore(os.cpu_count() or 1)

    def respond(self, name: str, items: Iterable[Tuple[str, str]]) -> Any:
        """The answer to a request.

        Args:
            name: of the request.
            items: the names and values of its fields.

        Raises:
            BadRequest: there is no such request, it needs a model and there is none, or its fields have no meaning.
        """
        if name not in PARSERS and name not in OWN_PARSERS:
            raise BadRequest(f"there is no /api/{name[:40]}; there are {', '.join((*PARSERS, *OWN_PARSERS))}", 404)
        if name in OWN_PARSERS and self.own is None:
            raise BadRequest("one's own text needs the model: start fairseq-bso view with --model CHECKPOINT", 404)
        parser, answers = (OWN_PARSERS[name], self.own) if name in OWN_PARSERS else (PARSERS[name], self)
        return getattr(answers, name)(parser(self.capture, RequestFields(items)))

    def info(self, request: InfoRequest) -> Dict[str, Any]:
        """The sides of the capture, their states and tracks, and the limits of requests."""
        return {**self.capture.describe(), "limits": LIMITS, "own": None if self.own is None else self.own.describe()}

    def context(self, request: ContextRequest) -> Dict[str, Any]:
        """A window of words: states, tracks, sentences and predictions."""
        side, start, stop = self.capture.sides[request.side], request.start, request.stop
        states = [shown for shown in side.states if shown.name in request.states]
        first, last = side.sentence_of(start), side.sentence_of(stop - 1)
        return {
            "start": start,
            "words": side.text(start, stop),
            "states": [
                {"name": shown.name, "values": truncated(shown.window(start, stop)).T.tolist()} for shown in states
            ],
            "tracks": {name: track.window(start, stop) for name, track in side.tracks.items()},
            "predictions": side.predicted(start, stop),
            "sentences": [_sentence(side, number) for number in range(first, last + 1)],
        }

    def search(self, request: SearchRequest) -> Dict[str, Any]:
        """The positions of a word or phrase. A * at the beginning or end of a word stands for any letters."""
        side, words = self.capture.sides[request.side], request.words
        found = numpy.arange(side.steps - len(words) + 1)  # positions that match all words so far
        for offset, word in enumerate(words):
            fits = numpy.array([_fits(word, known) for known in side.words])  # (V,)
            found = found[fits[side.word_ids[found + offset]]]
        ahead = found[found >= request.start][: request.limit].tolist()
        places = [
            {
                "start": start,
                "from": max(0, start - LEAD),
                "words": side.text(max(0, start - LEAD), start + len(words) + LEAD),
            }
            for start in ahead
        ]
        return {"text": " ".join(words), "length": len(words), "total": len(found), "places": places}

    def sentence(self, request: SentenceRequest) -> Dict[str, Any]:
        """A sentence pair with its attention (target words, source words)."""
        encoder, decoder = (self.capture.sides[name] for name in ("encoder", "decoder"))
        source, target = (_sentence(side, request.number) for side in (encoder, decoder))
        if source["length"] * target["length"] > LONGEST_SENTENCE:
            raise BadRequest(f"sentence {request.number} is too long to be shown")
        read = decoder.text(target["start"], target["start"] + target["length"])
        return {
            "number": request.number,
            "sentences": decoder.sentences,
            "id": target["id"],
            "source": {**source, "words": encoder.text(source["start"], source["start"] + source["length"])},
            # A row holds the weights for the prediction of the next word.
            "target": {**target, "read": read, "words": read[1:] + ["</s>"]},
            "weights": truncated(self.capture.weights(request.number)).tolist(),
        }

    def select(self, request: SelectRequest) -> Dict[str, Any]:
        """The units that are on throughout the range and off around it."""
        units = self._units(request.side, request.states)
        return {"units": units.names(self._selected(units, request.query, request.range)), "of": len(units)}

    def match(self, request: MatchRequest) -> Dict[str, Any]:
        """The other ranges of the corpus that the selected or named units match."""
        units = self._units(request.side, request.states)
        chosen = self._chosen(units, request)
        steps = units.side.steps if request.precise else min(units.side.steps, FAST_STEPS)
        if not len(chosen):
            return {"units": [], "steps": steps, "candidates": 0, "matches": []}
        if len(chosen) * steps > MOST_LEVELS:
            raise BadRequest(
                f"{len(chosen)} units are selected, but over {steps:,} steps at most {MOST_LEVELS // steps} are "
                "searched for: raise the threshold, or switch units off"
            )
        with self.searching:
            levels, found = self._find(units, request, chosen, steps)
        ranges = zip(*(part.tolist() for part in (found.starts, found.lengths, found.overlap, found.others)))
        return {
            "units": units.names(chosen),
            "steps": steps,
            "candidates": found.candidates,
            "before": request.before,
            "matches": [_match(units.side, request, levels, *found_range) for found_range in ranges],
        }

    def statistics(self, request: RankingRequest) -> Dict[str, Any]:
        """The units that predict a track best: one label against the rest, all labels, or a number."""
        units = self._units(request.side, request.states)
        return self.rankings.answer(request, units, self.indexes[request.side])

    def card(self, request: CardRequest) -> Dict[str, Any]:
        """The card of one unit."""
        return self.cards.card(request)

    def table(self, request: TableRequest) -> Dict[str, Any]:
        """The numbers of all units in view."""
        return self.cards.table(request)

    def _units(self, side: str, states: Tuple[str, ...]) -> UnitColumns:
        return UnitColumns(self.capture.sides[side], states)

    def _chosen(self, units: UnitColumns, request: MatchRequest) -> numpy.ndarray:
        """(n,) the columns of the named units, else of those that the range selects."""
        if request.units is not None:
            return numpy.array(request.units, dtype=numpy.int64)
        if request.range is None:
            raise ValueError("a match needs units or a range")
        return self._selected(units, request.query, request.range)

    def _selected(self, units: UnitColumns, query: UnitQuery, place: WordRange) -> numpy.ndarray:
        """(n,) the columns of the units in view that match the range."""
        levels = numpy.asarray(self.indexes[units.side.name].rows)  # (T, C)
        on = selected_units(levels, query, place.first, place.last)  # (C,)
        return units.columns[on[units.columns]]

    def _find(
        self, units: UnitColumns, request: MatchRequest, chosen: numpy.ndarray, steps: int
    ) -> Tuple[numpy.ndarray, Matches]:
        """The levels of the chosen units (n, steps) int8, and the ranges that they match."""
        index = self.indexes[units.side.name]
        levels = numpy.asarray(index.units[chosen, :steps])  # (n, T) int8
        others = OtherUnits(numpy.asarray(index.rows), units.others(chosen))
        candidates = PRECISE_CANDIDATES if request.precise else FAST_CANDIDATES
        exclude = None if request.range is None else (request.range.first, request.range.length)
        return levels, find_matches(levels, request.query, request.limit, candidates, others, exclude)


def _sentence(side: Side, number: int) -> Dict[str, Any]:
    """Number, id, first position and length of a sentence."""
    start = int(side.offsets[number])
    name = number if side.sentence_ids is None else int(side.sentence_ids[number])
    return {"number": number, "id": name, "start": start, "length": int(side.offsets[number + 1]) - start}


def _match(
    side: Side, request: MatchRequest, levels: numpy.ndarray, start: int, length: int, overlap: int, others: int
) -> Dict[str, Any]:
    """One match in its context: words, number of active units, and tracks from position `from` on."""
    begin = max(0, start - request.before)
    end = min(side.steps, start + length + request.after, begin + LONGEST_MATCH)
    active: List[int] = request.query.on(levels[:, begin:end]).sum(0).tolist()
    return {
        "start": start,
        "length": length,
        "overlap": overlap,
        "others": others,
        "sentence": side.sentence_of(start),
        "from": begin,
        "words": side.text(begin, end),
        "active": active,
        "tracks": {name: track.window(begin, end) for name, track in side.tracks.items()},
    }


def truncated(values: numpy.ndarray) -> numpy.ndarray:
    """Values with four digits, truncated toward zero. The page and the index then agree on every threshold."""
    return numpy.trunc(values.astype(numpy.float64) * 10_000) / 10_000 + 0.0


def _fits(pattern: str, word: str) -> bool:
    """Whether a word matches a pattern, in small or capital letters."""
    pattern, word = pattern.lower(), word.lower()
    inner = pattern.strip("*")
    if not inner:  # a pattern of stars alone matches itself
        return pattern == word
    if pattern[0] == "*" and pattern[-1] == "*":
        return inner in word
    if pattern[0] == "*":
        return word.endswith(inner)
    return word.startswith(inner) if pattern[-1] == "*" else pattern == word
