"""The fields of one request, read strictly: every field is known, given once, and within its bounds."""

import re
from typing import Iterable, List, Optional, Sequence, Tuple

__all__ = ["Fields", "Refused"]


class Refused(Exception):
    """A request that cannot be answered. Its text is one clear sentence; the status is one of 4xx."""

    def __init__(self, text: str, status: int = 400):
        super().__init__(text)
        self.status = status


class Fields:
    """Fields by name, each taken out by the method of its kind; `end` refuses what nobody asked for.

    A default of None makes a field optional; a field without default must be given.
    """

    def __init__(self, items: Iterable[Tuple[str, str]]):
        self.left = {}
        for name, value in items:
            if name in self.left:
                raise Refused(f"the field {_short(name)} is given twice")
            self.left[name] = value
        self.known: List[str] = []

    def integer(self, name: str, low: int, high: int, *default: Optional[int]) -> Optional[int]:
        """A whole number from low to high."""
        text = self._take(name, default)
        if text is None:
            return default[0]
        if not re.fullmatch(r"-?[0-9]{1,15}", text) or not low <= int(text) <= high:
            raise Refused(f"{name} is {_short(text)}, but must be a whole number from {low} to {high}")
        return int(text)

    def hundredths(self, name: str, *default: Optional[int]) -> Optional[int]:
        """A number from 0.01 to 1 in steps of 0.01, as hundredths."""
        text = self._take(name, default)
        if text is None:
            return default[0]
        match = re.fullmatch(r"([01])?(?:\.([0-9]{1,2})0*)?", text)
        level = int(match[1] or 0) * 100 + int((match[2] or "").ljust(2, "0")) if match and text else 0
        if not 1 <= level <= 100:
            raise Refused(f"{name} is {_short(text)}, but must be from 0.01 to 1 in steps of 0.01")
        return level

    def choice(self, name: str, allowed: Sequence[str], *default: Optional[str]) -> Optional[str]:
        """One of some words."""
        text = self._take(name, default)
        if text is None:
            return default[0]
        if text not in allowed:
            raise Refused(f"{name} is {_short(text)}, but must be one of {', '.join(allowed)}")
        return text

    def choices(self, name: str, allowed: Sequence[str], *default: Optional[List[str]]) -> Optional[List[str]]:
        """Some of some words, separated by commas, in the order of `allowed`."""
        text = self._take(name, default)
        if text is None:
            return default[0]
        given = set(text.split(","))
        unknown = sorted(given - set(allowed))
        if unknown:
            raise Refused(f"{name} names {_short(unknown[0])}, but there are only {', '.join(allowed)}")
        return [one for one in allowed if one in given]

    def text(self, name: str, longest: int, *default: Optional[str]) -> Optional[str]:
        """Any text that is not empty."""
        text = self._take(name, default)
        if text is None:
            return default[0]
        if not text.strip() or len(text) > longest:
            raise Refused(f"{name} must hold 1 to {longest} characters")
        return text

    def end(self) -> None:
        """Refuses fields that are left."""
        if self.left:
            known = ", ".join(self.known) or "none"
            raise Refused(f"the field {_short(next(iter(self.left)))} is not known here; known are: {known}")

    def _take(self, name: str, default: Sequence[object]) -> Optional[str]:
        self.known.append(name)
        if name in self.left:
            return self.left.pop(name)
        if not default:
            raise Refused(f"the field {name} is missing")
        return None


def _short(text: str) -> str:
    """As it stands in a message."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
