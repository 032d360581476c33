"""The answers about one's own text: a method of `OwnAnswers` takes the parsed request and returns the JSON content."""

from typing import Any, Dict, List, Optional, Tuple

import numpy
import torch

from ..folder.index import levels
from ..folder.reader import CaptureReader, Side
from ..folder.states import States
from ..live.session import OwnRun, Session
from ..models.changes import UnitEdit
from ..units.patterns import selected_units
from .answers import truncated
from .columns import UnitColumns
from .fields import BadRequest
from .own_requests import (
    LONGEST_TEXT,
    AttributionRequest,
    InterventionRequest,
    OwnRequest,
    OwnSelectRequest,
    Text,
)
from .requests import MOST_VALUES

__all__ = ["OwnAnswers"]

MOST_ATTRIBUTED = 60  # predicted words of one attribution, each of which takes a backward pass


class OwnAnswers:
    """Answers requests about one's own text. Many threads may ask; the model runs for one at a time.

    Args:
        capture: the capture.
        session: the model of the capture.
    """

    def __init__(self, capture: CaptureReader, session: Session) -> None:
        self.capture, self.session = capture, session
        self.means: Dict[Tuple[str, str], numpy.ndarray] = {}

    def describe(self) -> Dict[str, Any]:
        """The facts about the model that the page needs."""
        return {
            "longest": LONGEST_TEXT,
            "translation": "encoder" in self.session.sides,
            "measure": self.session.measure,
            "attributed": MOST_ATTRIBUTED,
        }

    def own(self, request: OwnRequest) -> Dict[str, Any]:
        """The text as a window of words: states, tracks and predictions; all sides' words and the attention."""
        run, side = self._run(request.text), self.capture.sides[request.side]
        words = _symbols(self.session, request.side, run.words(request.side))
        chosen = UnitColumns(side, request.states)
        if len(chosen) * len(words) > MOST_VALUES:
            raise BadRequest(f"the text has {len(words)} rows: of {len(chosen)} units show fewer at a time")
        states = [
            {"name": name, "values": truncated(_values(run, side, shown)).T.tolist()}
            for name, shown in chosen.states.items()
        ]
        of_decoder = request.side == "decoder" or "encoder" not in self.session.sides
        return {
            "start": 0,
            "words": words,
            "states": states,
            "tracks": {self.session.measure: _rounded(_measure(self.session, run))} if of_decoder else {},
            "predictions": _predictions(self.session, run.record) if of_decoder else None,
            "sentences": [{"number": 0, "id": 0, "start": 0, "length": len(words)}],
            "unknown": run.text.unknown,
            "pair": self._pair(run),
        }

    def own_select(self, request: OwnSelectRequest) -> Dict[str, Any]:
        """The units that are on throughout a range of the text and off around it."""
        run, side = self._run(request.text), self.capture.sides[request.side]
        rows = len(run.words(request.side))
        _check_rows(request.first, request.last, rows)
        units = UnitColumns(side, request.states)
        values = numpy.concatenate([_values(run, side, shown) for shown in units.states.values()], axis=1)  # (n, C)
        on = selected_units(levels(values), request.query, request.first, request.last)
        return {"units": units.names(units.columns[on]), "of": len(units)}

    def intervention(self, request: InterventionRequest) -> Dict[str, Any]:
        """Predictions and losses of the text without and with the units set."""
        run = self._run(request.text)
        _check_rows(request.first, request.last, len(run.words(request.side)))
        edits = self._edits(request)
        changed = self.session.changed(run, request.side, edits)
        before = _measure(self.session, run)
        return {
            "measure": self.session.measure,
            "units": [f"{state}:{column}" for state, column in request.units],
            "values": [round(self._value(request, state, column), 4) for state, column in request.units],
            "read": _symbols(self.session, "decoder", run.words("decoder")),
            "words": self._following(run),
            "before": _rounded(before),
            "after": _rounded(changed.measure),
            "predictions_before": _predictions(self.session, run.record),
            "predictions_after": _named(self.session, changed.ids, changed.scores),
            "mean_before": round(float(before.mean()), 4),
            "mean_after": round(float(changed.measure.mean()), 4),
        }

    def attribution(self, request: AttributionRequest) -> Dict[str, Any]:
        """The words that each predicted word comes from: (T, S) and (T, T), and what their sum misses."""
        run = self._run(request.text)
        words = self._following(run)
        if len(words) > MOST_ATTRIBUTED:
            raise BadRequest(
                f"the text has {len(words)} predicted words, but at most {MOST_ATTRIBUTED} are attributed at a time"
            )
        found = self.session.attribution(run, request.method)
        total = found.target.sum(1) + (0 if found.source is None else found.source.sum(1))
        return {
            "method": request.method,
            "words": words,
            "read": _symbols(self.session, "decoder", run.words("decoder")),
            "source_words": None if found.source is None else self._source(run),
            "source": None if found.source is None else _rounded(found.source.numpy()),
            "target": _rounded(found.target.numpy()),
            "score": _rounded(found.score.numpy()),
            "baseline": _rounded(found.baseline.numpy()),
            "missing": _rounded((found.score - found.baseline - total).numpy()),
        }

    def _run(self, text: Text) -> OwnRun:
        if text.target is not None and "encoder" not in self.session.sides:
            raise BadRequest("target is the other side of a translation, but this is a language model: leave it out")
        return self.session.run(text.text, text.target)

    def _source(self, run: OwnRun) -> List[str]:
        return _symbols(self.session, "encoder", run.words("encoder"))

    def _following(self, run: OwnRun) -> List[str]:
        """The word that each decoder row predicts."""
        symbols = self.session.model.task.target_dictionary.symbols
        return [symbols[word] for word in run.text.sentences.target(0)[1].tolist()]

    def _pair(self, run: OwnRun) -> Dict[str, Any]:
        """Source words, predicted words, the words read, and the attention between them, if there is one."""
        weights = run.record.get(("decoder/attention.hdf5", "weights"))
        rows = len(run.words("decoder"))
        source = self._source(run) if "encoder" in self.session.sides else None
        return {
            "source": source,
            "read": _symbols(self.session, "decoder", run.words("decoder")),
            "words": self._following(run),
            "weights": None if weights is None else _rounded(weights.reshape(rows, -1)),
        }

    def _edits(self, request: InterventionRequest) -> Dict[str, UnitEdit]:
        """The edit of each state whose units the request sets."""
        columns: Dict[str, List[int]] = {}
        for state, column in request.units:
            columns.setdefault(state, []).append(column)
        return {
            state: UnitEdit(
                torch.tensor(some),
                torch.tensor([self._value(request, state, column) for column in some]),
                request.first,
                request.last,
            )
            for state, some in columns.items()
        }

    def _value(self, request: InterventionRequest, state: str, column: int) -> float:
        """The value to which a unit is set, of a cell state before tanh."""
        if request.value is not None:
            return request.value
        key = request.side, state
        if key not in self.means:
            (states,) = (found for found in self.capture.sides[request.side].states if found.name == state)
            self.means[key] = states.mean()
        return float(self.means[key][column])


def _check_rows(first: int, last: int, rows: int) -> None:
    """Raises BadRequest for a range beyond the text."""
    if last >= rows:
        raise BadRequest(f"from is {first} and to is {last}, but the text has the rows 0 to {rows - 1}")


def _symbols(session: Session, side: str, words: numpy.ndarray) -> List[str]:
    """The words of the ids that a side reads."""
    symbols = session.model.dictionary(side).symbols
    return [symbols[word] for word in words.tolist()]


def _values(run: OwnRun, side: Side, states: States) -> numpy.ndarray:
    """(n, units), after tanh where the page shows the state so."""
    values = run.states(side.name, states.name)
    return numpy.tanh(values) if states.transform == "tanh" else values


def _measure(session: Session, run: OwnRun) -> numpy.ndarray:
    """(T,) the loss or score of each next word."""
    return run.record["decoder/train.hdf5", session.measure]


def _rounded(values: numpy.ndarray) -> List[Any]:
    return numpy.round(values.astype(numpy.float64), 4).tolist()


def _predictions(session: Session, record: Any) -> List[List[Tuple[str, Optional[float]]]]:
    file = "decoder/train.hdf5"
    return _named(session, record[file, "predictions"], record[file, "prediction_scores"])


def _named(session: Session, ids: numpy.ndarray, scores: numpy.ndarray) -> List[List[Tuple[str, Optional[float]]]]:
    """The best next words with their scores, best first."""
    symbols = session.model.task.target_dictionary.symbols
    return [
        [(symbols[word], round(score, 4) if numpy.isfinite(score) else None) for word, score in zip(row, of_row)]
        for row, of_row in zip(ids.tolist(), scores.tolist())
    ]
