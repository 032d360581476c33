"""Which states have units that can be set, by the names of the states in files."""

from typing import Iterable, List

__all__ = ["settable"]


def settable(states: Iterable[str]) -> List[str]:
    """The names of the states whose units can be set: all but the gates."""
    return [name for name in states if name.startswith(("hidden", "cell", "attentional"))]
