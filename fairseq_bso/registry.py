"""Registries: functions under the names by which an option chooses them. Users add their own."""

from __future__ import annotations

from typing import Any, Callable, Generic, Sequence, TypeVar

__all__ = ["Registry"]

Member = TypeVar("Member")


class Registry(Generic[Member]):
    """Members by name.

    Args:
        kind: what messages call a member.
        function: the name of the function that registers one.
        reserved: names that the option accepts and that no member may have.
    """

    def __init__(self, kind: str, function: str, reserved: Sequence[str] = ()) -> None:
        self.kind, self.function, self.reserved = kind, function, tuple(reserved)
        self.members: dict[str, Member] = {}

    def names(self) -> list[str]:
        """The reserved names, then those of all members, sorted."""
        return [*self.reserved, *sorted(self.members)]

    def check_free(self, name: str) -> None:
        """Raises TypeError if the name is no string, and ValueError if it is taken."""
        if not isinstance(name, str):
            raise TypeError(f'{self.function} needs a name, as in {self.function}("my_own"); got {name!r}')
        if name in self.names():
            raise ValueError(
                f"a {self.kind} named {name!r} is already registered: choose a name other than "
                f"{', '.join(self.names())}"
            )

    def add(self, name: str, member: Member) -> None:
        """Registers a member. Raises as `check_free`."""
        self.check_free(name)
        self.members[name] = member

    def decorator(self, name: str) -> Callable[[Any], Any]:
        """A decorator that registers a function and returns it. Raises as `check_free`, before it decorates."""
        self.check_free(name)

        def register(member: Member) -> Member:
            self.members[name] = member
            return member

        return register

    def get(self, name: str) -> Member:
        """The member of this name. Raises ValueError, which lists the names, if there is none."""
        if name not in self.members:
            raise ValueError(f"unknown {self.kind} {name!r}; choose from: {', '.join(self.names())}")
        return self.members[name]
