"""The requests about one's own text, which need a model (`--model`), and the functions that parse them."""

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..attribution.methods import METHODS
from ..folder.reader import CaptureReader, Side
from ..models.settable import settable
from ..units.patterns import UnitQuery
from .columns import UnitColumns, side_of, states_of
from .fields import BadRequest, RequestFields
from .requests import query_of

__all__ = [
    "LONGEST_TEXT",
    "OWN_PARSERS",
    "AttributionRequest",
    "InterventionRequest",
    "OwnRequest",
    "OwnSelectRequest",
    "Text",
]

LONGEST_TEXT = 100  # words of a side
MOST_LETTERS = 4000  # of a side
LARGEST_VALUE = 100  # to which a unit is set


@dataclass(frozen=True)
class Text:
    """One's own sentence, or sentence pair."""

    text: str
    target: Optional[str]
    """None for the model's own output, and for a language model"""


@dataclass(frozen=True)
class OwnRequest:
    """Asks for the states of one's own text on one side, with attention, predictions and losses."""

    text: Text
    side: str
    states: Tuple[str, ...]


@dataclass(frozen=True)
class OwnSelectRequest:
    """Asks for the units that match a range of one's own text."""

    text: Text
    side: str
    states: Tuple[str, ...]
    first: int
    last: int
    query: UnitQuery


@dataclass(frozen=True)
class InterventionRequest:
    """Asks for predictions and losses when units are set."""

    text: Text
    side: str
    units: Tuple[Tuple[str, int], ...]
    """name of the state and column of each"""
    value: Optional[float]
    """None for the mean of each unit over the capture"""
    first: int
    last: int
    """rows of the side"""


@dataclass(frozen=True)
class AttributionRequest:
    """Asks from which words each predicted word comes."""

    text: Text
    method: str


def parse_own(capture: CaptureReader, fields: RequestFields) -> OwnRequest:
    """`text`, `target`, `side`, `states`."""
    text, side = _text(fields), side_of(capture, fields)
    states = states_of(side, fields)
    fields.end()
    return OwnRequest(text, side.name, states)


def parse_own_select(capture: CaptureReader, fields: RequestFields) -> OwnSelectRequest:
    """The fields of `own`, `from`, `to`, and when a unit is on and off."""
    text, side = _text(fields), side_of(capture, fields)
    states = states_of(side, fields)
    first, last = _rows(fields)
    query = query_of(fields, minimum_length=1)
    fields.end()
    return OwnSelectRequest(text, side.name, states, first, last, query)


def parse_intervention(capture: CaptureReader, fields: RequestFields) -> InterventionRequest:
    """`text`, `target`, `side`, `units`, `value`, `from`, `to`."""
    text, side = _text(fields), side_of(capture, fields)
    units = _units(side, fields.text("units", 100_000))
    value = _value(fields.text("value", 20))
    first, last = _rows(fields)
    fields.end()
    return InterventionRequest(text, side.name, units, value, first, last)


def parse_attribution(capture: CaptureReader, fields: RequestFields) -> AttributionRequest:
    """`text`, `target`, `method`."""
    text, method = _text(fields), fields.choice("method", METHODS, METHODS[0])
    fields.end()
    return AttributionRequest(text, method)


OWN_PARSERS: Dict[str, Callable[[CaptureReader, RequestFields], Any]] = {
    "own": parse_own,
    "own_select": parse_own_select,
    "intervention": parse_intervention,
    "attribution": parse_attribution,
}
"""name of a request -> its parser"""


def _text(fields: RequestFields) -> Text:
    """`text` and `target`, of at most LONGEST_TEXT words each and without control characters."""
    text = _plain("text", fields.text("text", MOST_LETTERS))
    target = fields.optional_text("target", MOST_LETTERS)
    return Text(text, None if target is None else _plain("target", target))


def _plain(name: str, text: str) -> str:
    """The words of a text, separated by spaces."""
    for letter in text:
        if unicodedata.category(letter) in ("Cc", "Cs", "Co", "Cn"):
            raise BadRequest(f"{name} holds the control character U+{ord(letter):04X}, but must be words and spaces")
    words = text.split()
    if len(words) > LONGEST_TEXT:
        raise BadRequest(f"{name} has {len(words)} words, but at most {LONGEST_TEXT} are read at a time")
    return " ".join(words)


def _rows(fields: RequestFields) -> Tuple[int, int]:
    """`from` and `to`: rows of the text. The answer checks them against its length."""
    first, last = (fields.integer(name, 0, 100 * LONGEST_TEXT) for name in ("from", "to"))
    if first > last:
        raise BadRequest(f"from is {first} and to is {last}, but a range goes from first to last")
    return first, last


def _units(side: Side, text: str) -> Tuple[Tuple[str, int], ...]:
    """Names that are separated by commas."""
    allowed = settable([states.name for states in side.states])
    columns = UnitColumns(side, allowed) if allowed else None
    found: List[Tuple[str, int]] = []
    for name in text.split(","):
        try:
            if columns is None:
                raise KeyError(name)
            columns.number(name)
        except KeyError:
            settable_states = [states for states in side.states if states.name in allowed]
            ranges = [f"{states.name}:0 to {states.name}:{states.units - 1}" for states in settable_states]
            known = ", ".join(ranges[:20]) or "none"
            raise BadRequest(f"units names {name[:40]!r}, but the units that can be set are {known}") from None
        state, _, column = name.rpartition(":")
        found.append((state, int(column)))
    return tuple(dict.fromkeys(found))


def _value(text: str) -> Optional[float]:
    """A number, or None for the word `mean`."""
    if text == "mean":
        return None
    value = float(text) if re.fullmatch(r"-?[0-9]{0,4}(\.[0-9]{1,6})?", text) and text not in ("", "-") else math.nan
    if not abs(value) <= LARGEST_VALUE:
        raise BadRequest(f"value is {text!r}, but must be mean or a number from -{LARGEST_VALUE} to {LARGEST_VALUE}")
    return value
