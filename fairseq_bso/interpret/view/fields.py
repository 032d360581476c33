"""Reads the fields of one request strictly: every field is known, given once, and within its bounds."""

import re
from typing import Dict, Iterable, List, Optional, Sequence, Tuple, TypeVar

__all__ = ["BadRequest", "RequestFields"]

Value = TypeVar("Value", int, str)

# New name -> a name that older addresses have.
OLD_NAMES = {"units": "cells"}


class BadRequest(Exception):
    """A request that has no answer. Its text is one clear sentence.

    Args:
        text: the sentence.
        status: HTTP status, 4xx.
    """

    def __init__(self, text: str, status: int = 400):
        super().__init__(text)
        self.status = status


class RequestFields:
    """The fields of a request by name. Each is taken by the method of its kind; `end` refuses the fields that remain.

    A field without a default must be given, unless its method says that it is optional.

    Args:
        items: names and values.

    Raises:
        BadRequest: a field is given twice. The methods raise it for a value that is missing or out of its bounds.
    """

    def __init__(self, items: Iterable[Tuple[str, str]]):
        self.left: Dict[str, str] = {}
        for name, value in items:
            if name in self.left:
                raise BadRequest(f"the field {_short(name)} is given twice")
            self.left[name] = value
        self.known: List[str] = []

    def integer(self, name: str, low: int, high: int, default: Optional[int] = None) -> int:
        """A whole number from low to high."""
        text = self._take(name)
        if text is None:
            return self._default(name, default)
        if not re.fullmatch(r"-?[0-9]{1,15}", text) or not low <= int(text) <= high:
            raise BadRequest(f"{name} is {_short(text)}, but must be a whole number from {low} to {high}")
        return int(text)

    def optional_integer(self, name: str, low: int, high: int) -> Optional[int]:
        """A whole number from low to high; None if it is not given."""
        if name in self.left:
            return self.integer(name, low, high)
        self.known.append(name)
        return None

    def hundredths(self, name: str, default: int) -> int:
        """A number from 0.01 to 1 in steps of 0.01, as hundredths."""
        text = self._take(name)
        if text is None:
            return default
        match = re.fullmatch(r"([01])?(?:\.([0-9]{1,2})0*)?", text)
        level = int(match[1] or 0) * 100 + int((match[2] or "").ljust(2, "0")) if match and text else 0
        if not 1 <= level <= 100:
            raise BadRequest(f"{name} is {_short(text)}, but must be from 0.01 to 1 in steps of 0.01")
        return level

    def choice(self, name: str, allowed: Sequence[str], default: Optional[str] = None) -> str:
        """One of the allowed words."""
        text = self._take(name)
        if text is None:
            return self._default(name, default)
        if text not in allowed:
            raise BadRequest(f"{name} is {_short(text)}, but must be one of {', '.join(allowed)}")
        return text

    def choices(self, name: str, allowed: Sequence[str]) -> Tuple[str, ...]:
        """Some of the allowed words, separated by commas, in the order of `allowed`; all if the field is not given."""
        text = self._take(name)
        if text is None:
            return tuple(allowed)
        given = set(text.split(","))
        unknown = sorted(given - set(allowed))
        if unknown:
            raise BadRequest(f"{name} names {_short(unknown[0])}, but there are only {', '.join(allowed)}")
        return tuple(name for name in allowed if name in given)

    def text(self, name: str, longest: int) -> str:
        """Any text that is not empty."""
        text = self.optional_text(name, longest)
        if text is None:
            raise BadRequest(f"the field {name} is missing")
        return text

    def optional_text(self, name: str, longest: int) -> Optional[str]:
        """Any text that is not empty; None if the field is not given."""
        text = self._take(name)
        if text is not None and (not text.strip() or len(text) > longest):
            raise BadRequest(f"{name} must hold 1 to {longest} characters")
        return text

    def end(self) -> None:
        """Refuses the fields that were not taken."""
        if self.left:
            known = ", ".join(self.known) or "none"
            raise BadRequest(f"the field {_short(next(iter(self.left)))} is not known here; known are: {known}")

    def _take(self, name: str) -> Optional[str]:
        """Takes the value of a field, also under its old name; None if it is not given."""
        self.known.append(name)
        old = OLD_NAMES.get(name, name)
        if old != name and old in self.left:
            if name in self.left:
                raise BadRequest(f"the field {name} is given twice: {old} is its old name")
            return self.left.pop(old)
        return self.left.pop(name, None)

    def _default(self, name: str, default: Optional[Value]) -> Value:
        """The default of a field that is not given. Raises BadRequest if it has none."""
        if default is None:
            raise BadRequest(f"the field {name} is missing")
        return default


def _short(text: str) -> str:
    """The form of a user's text in a message."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
