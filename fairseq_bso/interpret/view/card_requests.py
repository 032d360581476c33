"""The requests for the card of one unit, and for the table of all units."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, Tuple

from ..folder.reader import CaptureReader
from ..units.patterns import DIRECTIONS
from .columns import UnitColumns, side_of, states_of
from .fields import BadRequest, RequestFields

__all__ = ["CARD_PARSERS", "CardRequest", "OnRule", "TableRequest"]


@dataclass(frozen=True)
class OnRule:
    """When a unit is on."""

    level: int
    """a hundred times the threshold, 1 to 100"""
    direction: str
    """one of DIRECTIONS"""


@dataclass(frozen=True)
class CardRequest:
    """Asks for the card of one unit."""

    side: str
    unit: int
    """its column"""
    rule: OnRule


@dataclass(frozen=True)
class TableRequest:
    """Asks for the numbers of all units of some states."""

    side: str
    states: Tuple[str, ...]
    rule: OnRule


def parse_card(capture: CaptureReader, fields: RequestFields) -> CardRequest:
    """`side`, `unit`, `threshold`, `direction`."""
    side = side_of(capture, fields)
    units = UnitColumns(side, side.state_names)
    name = fields.text("unit", 100)
    rule = _rule(fields)
    fields.end()
    try:
        return CardRequest(side.name, units.number(name), rule)
    except KeyError:
        known = ", ".join(f"{states.name}:0 to {states.name}:{states.units - 1}" for states in side.states[:20])
        raise BadRequest(f"unit is {name!r}, but the units of the {side.name} are {known}") from None


def parse_table(capture: CaptureReader, fields: RequestFields) -> TableRequest:
    """`side`, `states`, `threshold`, `direction`."""
    side = side_of(capture, fields)
    states = states_of(side, fields)
    rule = _rule(fields)
    fields.end()
    return TableRequest(side.name, states, rule)


def _rule(fields: RequestFields) -> OnRule:
    return OnRule(fields.hundredths("threshold", 30), fields.choice("direction", DIRECTIONS, "above"))


CARD_PARSERS: Dict[str, Callable[[CaptureReader, RequestFields], Any]] = {"card": parse_card, "table": parse_table}
"""name of a request -> its parser"""
