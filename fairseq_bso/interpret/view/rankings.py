"""Which cells tell a track best: the answers of the statistics view, each worked out once."""

import threading
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy
import torch

from ..folder.index import Index
from ..folder.tracks import Track
from ..units.ranking import predict_number, rank_cells, shuffled_control
from ..units.statistics import best_thresholds, joint_histogram
from .fields import Refused
from .requests import View

__all__ = ["Question", "Rankings"]

# Levels that are counted in one pass; of a larger corpus the first steps are taken.
MOST_LEVELS = 200_000_000
REPEATS = 10
KEPT = 64  # answers
MOST_MEANS = 12  # labels whose means are shown


class Question(NamedTuple):
    """What is asked for. A new value makes a new answer."""

    side: str
    states: Tuple[str, ...]
    track: str
    label: Optional[str]
    limit: int


class Rankings:
    """Works out one ranking at a time: each keeps the processor busy for seconds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: Dict[Question, Dict[str, Any]] = {}

    def answer(self, question: Question, view: View, track: Track, index: Index) -> Dict[str, Any]:
        """The best cells, what the best of shuffled tracks reaches, and what one threshold of each cell tells.

        Raises:
            Refused: for a track that has one value alone in the steps that are looked at.
        """
        with self.lock:
            if question not in self.answers:
                while len(self.answers) >= KEPT:
                    del self.answers[next(iter(self.answers))]
                try:
                    self.answers[question] = _work_out(question, view, track, index)
                except ValueError as fault:
                    raise Refused(f"the track {track.name}: {fault}") from None
            return self.answers[question]


def _work_out(question: Question, view: View, track: Track, index: Index) -> Dict[str, Any]:
    steps = min(view.side.steps, max(1, MOST_LEVELS // len(view.columns)))
    cells = torch.from_numpy(view.cells(index, steps))  # (C, steps) int8
    values = torch.from_numpy(track.values[:steps])  # (steps,)
    label = None if question.label is None else track.labels.index(question.label)
    criterion = "correlation" if track.labels is None else "correlation_ratio" if label is None else "area_under_curve"
    ranking = rank_cells(cells, values, criterion, label, question.limit)
    control = shuffled_control(cells, values, criterion, label, REPEATS)
    best = cells[ranking.cells]  # (M, steps) int8
    columns = view.columns[ranking.cells.numpy()]
    rows: List[Dict[str, Any]] = [
        {"cell": name, "score": round(score, 4), "value": round(value, 4)}
        for name, score, value in zip(view.names(columns), ranking.scores.tolist(), ranking.values.tolist())
    ]
    if label is not None:
        _add_thresholds(rows, best, values, label)
    if track.labels is None:
        for row, cell in zip(rows, best):
            told = predict_number(cell, values)
            row.update(error=round(told.error, 4), error_of_mean=round(told.error_of_mean, 4))
    elif len(track.labels) <= MOST_MEANS:
        for row, means in zip(rows, _means(best, values, len(track.labels))):
            row["means"] = means
    return {
        "criterion": criterion,
        "steps": steps,
        "of": len(view.columns),
        "chance": 0.5 if criterion == "area_under_curve" else 0.0,
        "control": [round(one, 4) for one in sorted(control.best.tolist())],
        "cells": rows,
    }


def _add_thresholds(rows: List[Dict[str, Any]], cells: torch.Tensor, codes: torch.Tensor, label: int) -> None:
    """To each row the threshold that tells the label best, in the terms of the select view."""
    renamed = torch.where(codes >= 0, (codes == label).to(codes.dtype), codes)  # (steps,)
    found = best_thresholds(joint_histogram(cells, renamed), 1, "f1", as_query=True)
    for place, row in enumerate(rows):
        cut = int(found.cuts[place])
        row.update(
            threshold=abs(cut) / 100,
            direction="above" if cut > 0 else "below",
            f1=round(float(found.f1[place]), 4),
            accuracy=round(float(found.accuracy[place]), 4),
        )


def _means(cells: torch.Tensor, codes: torch.Tensor, labels: int) -> List[List[Optional[float]]]:
    """cells (M, steps), codes (steps,) -> for each cell its mean under each label, None where there is no step."""
    counts = joint_histogram(cells, codes).double()  # (M, L, G)
    sizes = counts.sum(1)  # (M, G)
    means = ((counts * torch.arange(-127, 128).view(1, -1, 1)).sum(1) / sizes / 100).numpy()  # (M, G)
    rows = numpy.where(numpy.isfinite(means), numpy.round(means, 3), numpy.nan).tolist()
    return [[None if value != value else value for value in row] + [None] * (labels - len(row)) for row in rows]
