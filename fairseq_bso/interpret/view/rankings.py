"""The answers of the statistics view, each computed once."""

import threading
from typing import Any, Dict, List, Optional

import numpy

from ..folder.cards import MOST_LEVELS, MOST_MEANS, REPEATS
from ..folder.index import Index
from ..folder.tracks import Track
from ..units.prediction import predict_number
from ..units.ranking import rank_for_track
from ..units.statistics import best_thresholds, joint_histogram, means_by_label
from .cards import numbers
from .columns import UnitColumns
from .fields import BadRequest
from .requests import RankingRequest

__all__ = ["Rankings"]

KEPT = 64  # answers


class Rankings:
    """Computes one ranking at a time, because each keeps the processor busy for seconds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: Dict[RankingRequest, Dict[str, Any]] = {}

    def answer(self, request: RankingRequest, units: UnitColumns, index: Index) -> Dict[str, Any]:
        """The best units, the control for chance, and how well one threshold of each unit predicts the label.

        Raises:
            BadRequest: the track has only one value in the steps that are counted.
        """
        with self.lock:
            if request not in self.answers:
                while len(self.answers) >= KEPT:
                    del self.answers[next(iter(self.answers))]
                try:
                    self.answers[request] = _compute(request, units, index)
                except ValueError as error:
                    raise BadRequest(f"the track {request.track}: {error}") from None
            return self.answers[request]


def _compute(request: RankingRequest, units: UnitColumns, index: Index) -> Dict[str, Any]:
    """The answer: the ranked units and the control, over as many steps as fit into MOST_LEVELS."""
    track = units.side.tracks[request.track]
    steps = min(units.side.steps, max(1, MOST_LEVELS // len(units)))
    levels = numpy.asarray(units.levels(index, steps))  # (C, steps) int8
    values = track.values[:steps]  # (steps,)
    label = None if request.label is None or track.labels is None else track.labels.index(request.label)
    found = rank_for_track(levels, values, label, request.limit, REPEATS)
    ranking = found.ranking
    best = levels[ranking.units]  # (M, steps) int8
    names = units.names(units.columns[ranking.units])
    rows: List[Dict[str, Any]] = [
        {"unit": name, "score": round(score, 4), "value": round(value, 4)}
        for name, score, value in zip(names, ranking.scores.tolist(), ranking.values.tolist())
    ]
    _add_statistics(rows, best, track, values, label)
    return {
        "criterion": found.criterion,
        "steps": steps,
        "of": len(units),
        "chance": found.chance,
        "control": [round(score, 4) for score in sorted(found.control.best.tolist())],
        "units": rows,
    }


def _add_statistics(
    rows: List[Dict[str, Any]], units: numpy.ndarray, track: Track, values: numpy.ndarray, label: Optional[int]
) -> None:
    """Adds thresholds, errors or means to the rows of M units, as the track allows.

    Args:
        rows: M entries of the answer.
        units: (M, steps) int8.
        track: the track.
        values: (steps,) its values.
        label: the code of the label that is compared with the rest, if there is one.
    """
    if label is not None:
        _add_thresholds(rows, units, values, label)
    if track.labels is None:
        for row, unit in zip(rows, units):
            predicted = predict_number(unit, values)
            row.update(error=round(predicted.error, 4), error_of_mean=round(predicted.error_of_mean, 4))
    elif len(track.labels) <= MOST_MEANS:
        for row, means in zip(rows, means_by_label(units, values, len(track.labels))):
            row["means"] = numbers(means, 3)


def _add_thresholds(rows: List[Dict[str, Any]], units: numpy.ndarray, codes: numpy.ndarray, label: int) -> None:
    """Adds to each row the threshold that predicts the label best, in the terms of the select view."""
    renamed = numpy.where(codes >= 0, codes == label, codes)  # (steps,)
    found = best_thresholds(joint_histogram(units, renamed), 1, "f1", as_query=True)
    for place, row in enumerate(rows):
        cut = int(found.cuts[place])
        row.update(
            threshold=abs(cut) / 100,
            direction="above" if cut > 0 else "below",
            f1=round(float(found.f1[place]), 4),
            accuracy=round(float(found.accuracy[place]), 4),
        )
