"""One frozen dataclass for each kind of request, and the function that parses its fields.

A parser needs the capture for the bounds of the fields. It raises BadRequest for fields that have no meaning.
"""

from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Tuple

from ..folder.reader import CaptureReader
from ..units.patterns import DIRECTIONS, UnitQuery
from .card_requests import CARD_PARSERS
from .columns import UnitColumns, side_of, states_of
from .fields import BadRequest, RequestFields

__all__ = [
    "LIMITS",
    "PARSERS",
    "ContextRequest",
    "InfoRequest",
    "MatchRequest",
    "RankingRequest",
    "SearchRequest",
    "SelectRequest",
    "SentenceRequest",
    "WordRange",
    "query_of",
]

LONGEST_WINDOW = 400  # words in one answer
MOST_VALUES = 500_000  # states in one answer
LONGEST_RANGE = 200  # words of a selection
MOST_OFF = 20  # steps around it
MOST_MATCHES = 200
MOST_RANKED = 100  # units
WIDEST_CONTEXT = 30  # words on either side of a match
MOST_WORDS = 20  # of a phrase that is searched for
# The limits that the page must know.
LIMITS = {"window": LONGEST_WINDOW, "values": MOST_VALUES, "range": LONGEST_RANGE, "off": MOST_OFF}


@dataclass(frozen=True)
class InfoRequest:
    """Asks what the capture holds."""


@dataclass(frozen=True)
class ContextRequest:
    """Asks for a window of words with their states."""

    side: str
    states: Tuple[str, ...]
    start: int
    """the first position"""
    stop: int
    """the position after the last"""


@dataclass(frozen=True)
class SearchRequest:
    """Asks where a phrase occurs."""

    side: str
    words: Tuple[str, ...]
    start: int
    """the first position to report"""
    limit: int
    """the largest number of positions"""


@dataclass(frozen=True)
class SentenceRequest:
    """Asks for a sentence pair with its attention."""

    number: int


@dataclass(frozen=True)
class WordRange:
    """Positions of the selected words."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """The number of words."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class SelectRequest:
    """Asks for the units that match a range."""

    side: str
    states: Tuple[str, ...]
    range: WordRange
    query: UnitQuery


@dataclass(frozen=True)
class MatchRequest:
    """Asks for the other ranges that the selected or named units match."""

    side: str
    states: Tuple[str, ...]
    range: Optional[WordRange]
    """selects the units, and is no match itself; None if the units are named"""
    units: Optional[Tuple[int, ...]]
    """columns of the named units; None for the units that the range selects"""
    query: UnitQuery
    precise: bool
    """search the whole corpus, with more candidates"""
    limit: int
    """the largest number of matches"""
    before: int
    """words of context before a match"""
    after: int
    """words of context after a match"""


@dataclass(frozen=True)
class RankingRequest:
    """Asks for the units that predict a track best."""

    side: str
    states: Tuple[str, ...]
    track: str
    label: Optional[str]
    """the label to compare with the rest; None for all labels and for numbers"""
    limit: int
    """the largest number of units"""


def parse_info(capture: CaptureReader, fields: RequestFields) -> InfoRequest:
    """A request without fields."""
    fields.end()
    return InfoRequest()


def parse_context(capture: CaptureReader, fields: RequestFields) -> ContextRequest:
    """`side`, `states`; `start`, or `sentence` for its first word; `length`."""
    side = side_of(capture, fields)
    states = states_of(side, fields)
    sentence = fields.optional_integer("sentence", 0, side.sentences - 1)
    if sentence is None:
        start = fields.integer("start", 0, side.steps - 1)
    else:
        start = min(int(side.offsets[sentence]), side.steps - 1)  # the last sentence may be empty
    length = fields.integer("length", 1, LONGEST_WINDOW, 60)
    fields.end()
    stop = min(start + length, side.steps)
    units = len(UnitColumns(side, states))
    if units * (stop - start) > MOST_VALUES:
        most = max(1, MOST_VALUES // units)
        raise BadRequest(f"length is {length}, but of these {units} units at most {most} words are shown at a time")
    return ContextRequest(side.name, states, start, stop)


def parse_search(capture: CaptureReader, fields: RequestFields) -> SearchRequest:
    """`side`, `text`, `start`, `limit`."""
    side = side_of(capture, fields)
    words = tuple(fields.text("text", 200).split())
    start = fields.integer("start", 0, side.steps - 1, 0)
    limit = fields.integer("limit", 1, MOST_MATCHES, 50)
    fields.end()
    if len(words) > MOST_WORDS:
        raise BadRequest(f"text has more than {MOST_WORDS} words")
    return SearchRequest(side.name, words, start, limit)


def parse_sentence(capture: CaptureReader, fields: RequestFields) -> SentenceRequest:
    """`number`."""
    if capture.attention is None:
        raise BadRequest("this capture holds no attention", 404)
    number = fields.integer("number", 0, capture.sides["decoder"].sentences - 1)
    fields.end()
    return SentenceRequest(number)


def parse_select(capture: CaptureReader, fields: RequestFields) -> SelectRequest:
    """`side`, `states`, `from`, `to`, and when a unit is on and off."""
    side = side_of(capture, fields)
    states = states_of(side, fields)
    first, last = (fields.integer(name, 0, side.steps - 1) for name in ("from", "to"))
    query = query_of(fields, minimum_length=1)
    fields.end()
    return SelectRequest(side.name, states, _range(first, last), query)


def parse_match(capture: CaptureReader, fields: RequestFields) -> MatchRequest:
    """The fields of a selection, where `units` makes `from` and `to` optional, and what to search and show."""
    side = side_of(capture, fields)
    states = states_of(side, fields)
    named = fields.optional_text("units", 100_000)
    read = fields.integer if named is None else fields.optional_integer
    first, last = (read(name, 0, side.steps - 1) for name in ("from", "to"))
    query = query_of(fields, fields.integer("minimum", 1, LONGEST_RANGE, 2))
    precise = fields.choice("mode", ("fast", "precise"), "fast") == "precise"
    limit = fields.integer("limit", 1, MOST_MATCHES, 50)
    before = fields.integer("before", 0, WIDEST_CONTEXT, 8)
    after = fields.integer("after", 0, WIDEST_CONTEXT, 12)
    fields.end()
    chosen = None if named is None else _numbers(UnitColumns(side, states), named)
    if first is None and last is None:
        place = None
    elif first is None or last is None:
        raise BadRequest("of from and to only one is given")
    else:
        place = _range(first, last)
    return MatchRequest(side.name, states, place, chosen, query, precise, limit, before, after)


def parse_ranking(capture: CaptureReader, fields: RequestFields) -> RankingRequest:
    """`side`, `states`, `track`, `label`, `limit`."""
    side = side_of(capture, fields)
    states = states_of(side, fields)
    name = fields.text("track", 200)
    if name not in side.tracks:
        known = ", ".join(side.tracks) or "none: there is no track"
        raise BadRequest(f"track is {name!r}, but must be one of {known}")
    label = fields.optional_text("label", 200)
    limit = fields.integer("limit", 1, MOST_RANKED, 30)
    fields.end()
    labels = side.tracks[name].labels
    if label is not None and label not in (labels or []):
        known = f"the labels {', '.join(labels)}" if labels else "numbers"
        raise BadRequest(f"label is {label!r}, but {name} has {known}")
    return RankingRequest(side.name, states, name, label, limit)


Parser = Callable[[CaptureReader, RequestFields], Any]

PARSERS: Dict[str, Parser] = {
    "info": parse_info,
    "context": parse_context,
    "select": parse_select,
    "match": parse_match,
    "search": parse_search,
    "sentence": parse_sentence,
    "statistics": parse_ranking,
    **CARD_PARSERS,
}
"""name of a request -> its parser"""


def query_of(fields: RequestFields, minimum_length: int) -> UnitQuery:
    """When a unit is on, and where it must be off."""
    level = fields.hundredths("threshold", 30)
    direction = fields.choice("direction", DIRECTIONS, "above")
    left = fields.integer("left", 0, MOST_OFF, 1)
    right = fields.integer("right", 0, MOST_OFF, 0)
    return UnitQuery(level, left, right, minimum_length, direction)


def _range(first: int, last: int) -> WordRange:
    """A range of words, first to last."""
    if not first <= last < first + LONGEST_RANGE:
        raise BadRequest(f"from is {first} and to is {last}, but a range has 1 to {LONGEST_RANGE} words, first to last")
    return WordRange(first, last)


def _numbers(units: UnitColumns, text: str) -> Tuple[int, ...]:
    """The columns of names that are separated by commas, ascending."""
    columns = set()
    for name in text.split(","):
        try:
            columns.add(units.number(name))
        except KeyError:
            known = ", ".join(units.states)
            raise BadRequest(f"units names {name[:40]!r}, but the states in view are {known}") from None
    return tuple(sorted(columns))
