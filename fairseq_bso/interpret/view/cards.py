"""The card of one unit and the table of all units, from the cards that the index holds."""

from typing import Any, Dict, List, Optional, Tuple

import numpy

from ..folder.cards import Cards, TrackScores
from ..folder.index import Index, open_cards
from ..folder.reader import CaptureReader, Side
from ..units.peaks import Peaks
from .card_requests import CardRequest, OnRule, TableRequest
from .columns import UnitColumns

__all__ = ["CardAnswers", "numbers"]

MISSING = "This capture was made without cards. Stop the server and add them: fairseq-bso view DIR --index"
BEFORE, AFTER = 16, 14  # words around a peak; the page shows those that fit
BIN = 5  # levels in one bar of the histogram of a card
SMALL_BIN = 15  # of the table
KEPT = 64  # tables
SHARES = 100  # the height of a bar of the table, in whole numbers


class CardAnswers:
    """Answers requests about the units of one capture.

    Args:
        capture: the capture.
        indexes: the index of each side, by its name.
    """

    def __init__(self, capture: CaptureReader, indexes: Dict[str, Index]):
        self.capture, self.indexes = capture, indexes
        self.cards = {name: open_cards(side) for name, side in capture.sides.items()}
        # (side, states): the columns of a table that do not depend on the threshold
        self.fixed: Dict[Tuple[str, Tuple[str, ...]], Dict[str, Any]] = {}

    def card(self, request: CardRequest) -> Dict[str, Any]:
        """The card of one unit; or `missing`, a sentence, if the capture has no cards."""
        side, cards, unit = self.capture.sides[request.side], self.cards[request.side], request.unit
        if cards is None:
            return {"missing": MISSING}
        levels = self.indexes[side.name].units[unit]  # (T,) int8
        state, _, column = side.unit_name(unit).rpartition(":")
        words = side.output_words.of(state, int(column))
        partners = zip(cards.moments.partners[unit].tolist(), cards.moments.correlations[unit].tolist())
        return {
            "unit": side.unit_name(unit),
            "number": unit,
            "of": side.units,
            "steps": side.steps,
            "previous": side.unit_name(unit - 1) if unit else None,
            "next": side.unit_name(unit + 1) if unit + 1 < side.units else None,
            "figures": {
                name: values[0] for name, values in _figures(cards, request.rule, slice(unit, unit + 1)).items()
            },
            "histogram": _binned(cards.levels.steps[unit], BIN).tolist(),
            "highest": [_span(side, levels, *peak) for peak in _peaks(cards.highest, unit)],
            "lowest": [_span(side, levels, *peak) for peak in _peaks(cards.lowest, unit)],
            "correlated": [[side.unit_name(other), round(value, 4)] for other, value in partners if other >= 0],
            "tracks": sorted(
                (_track(track, unit) for track in cards.tracks), key=lambda track: track["control"] - track["score"]
            ),
            "words": None if words is None else {"raised": _rounded(words[0]), "lowered": _rounded(words[1])},
        }

    def table(self, request: TableRequest) -> Dict[str, Any]:
        """The numbers of all units in view, one list for each; or `missing`, a sentence."""
        side, cards = self.capture.sides[request.side], self.cards[request.side]
        if cards is None:
            return {"missing": MISSING}
        units = UnitColumns(side, request.states)
        key = side.name, request.states
        fixed = self.fixed.get(key)
        if fixed is None:
            if len(self.fixed) >= KEPT:
                self.fixed.clear()
            fixed = self.fixed[key] = _fixed(side, cards, units)
        return {**fixed, "figures": _figures(cards, request.rule, units.columns)}


def _fixed(side: Side, cards: Cards, units: UnitColumns) -> Dict[str, Any]:
    """The part of a table that is the same at every threshold."""
    partners = cards.moments.partners[units.columns, 0].tolist()
    counts = _binned(cards.levels.steps[units.columns], SMALL_BIN)  # (C, bars)
    highest = counts.max(1, keepdims=True).clip(min=1)
    return {
        "units": units.names(units.columns),
        "steps": side.steps,
        "partner": [side.unit_name(partner) if partner >= 0 else None for partner in partners],
        "correlation": numbers(cards.moments.correlations[units.columns, 0]),
        "tracks": [
            {"track": track.name, "control": round(track.control, 4), "scores": numbers(track.scores[units.columns])}
            for track in cards.tracks
        ],
        "histograms": (counts * SHARES // highest).tolist(),
    }


def _figures(cards: Cards, rule: OnRule, units: Any) -> Dict[str, List[Optional[float]]]:
    """The numbers of some units by name. A run is a range of steps at which the unit is on; its mean is in steps."""
    on, runs = (part(rule.level, rule.direction)[units] for part in (cards.levels.on, cards.levels.runs))
    moments = cards.moments
    figures = {
        "mean": moments.mean,
        "deviation": moments.deviation,
        "low": moments.low,
        "high": moments.high,
    }
    steps = cards.levels.steps[units].sum(1)
    return {
        **{name: numbers(values[units]) for name, values in figures.items()},
        "share": numbers(on / steps, 6),
        "runs": runs.tolist(),
        "run": numbers(numpy.divide(on, runs, out=numpy.zeros(len(on)), where=runs > 0), 2),
    }


def numbers(values: numpy.ndarray, digits: int = 4) -> List[Optional[float]]:
    """Rounded numbers; None for one that is not finite."""
    rounded = numpy.round(values.astype(numpy.float64), digits)
    return [number if numpy.isfinite(number) else None for number in rounded.tolist()]


def _binned(counts: numpy.ndarray, width: int) -> numpy.ndarray:
    """counts (..., 255) of levels -> (..., 255 / width), the counts of `width` adjacent levels."""
    return counts.reshape(*counts.shape[:-1], -1, width).sum(-1)


def _peaks(peaks: Peaks, unit: int) -> List[Any]:
    """(value, position) of the peaks of one unit, the best first."""
    pairs = zip(peaks.values[unit].tolist(), peaks.steps[unit].tolist())
    return [pair for pair in pairs if pair[1] >= 0]


def _span(side: Side, levels: numpy.ndarray, value: float, position: int) -> Dict[str, Any]:
    """The words around a peak, with the state after each word."""
    begin, end = max(0, position - BEFORE), min(side.steps, position + AFTER + 1)
    return {
        "value": round(value, 4),
        "position": position,
        "sentence": side.sentence_of(position),
        "from": begin,
        "words": side.text(begin, end),
        "values": [level / 100 for level in levels[begin:end].tolist()],
    }


def _track(track: TrackScores, unit: int) -> Dict[str, Any]:
    """How well one unit predicts one track, beside the best unit for shifted tracks."""
    means = None if track.means is None else numbers(track.means[unit], 3)
    return {
        "track": track.name,
        "criterion": track.criterion,
        "score": round(float(track.scores[unit]), 4),
        "value": round(float(track.values[unit]), 4),
        "rank": int((track.scores > track.scores[unit]).sum()) + 1,
        "control": round(track.control, 4),
        "means": means,
    }


def _rounded(words: Any) -> List[Any]:
    return [[word, round(weight, 4)] for word, weight in words]
