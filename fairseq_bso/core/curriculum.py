"""The growing training beam (Wiseman & Rush 2016, section 5.1): a function of the update number, so resuming needs no
state."""

from __future__ import annotations

from typing import NamedTuple


class _Curriculum(NamedTuple):
    initial: int
    final: int
    updates_per_beam: int


class BeamCurriculum(_Curriculum):
    """Starts at ``initial``, grows by one every ``updates_per_beam`` updates up to ``final``; with 0 it is ``final``.

    Raises:
        ValueError: for a beam below 2, a shrinking beam or a negative number of updates.
    """

    def __new__(cls, initial: int, final: int, updates_per_beam: int) -> BeamCurriculum:
        if final < 2:
            raise ValueError(
                f"the train beam is {final}, but must be at least 2: with one hypothesis gold has no rival"
            )
        if updates_per_beam < 0:
            raise ValueError(f"updates per beam is {updates_per_beam}, but must be 0 (no curriculum) or more")
        if updates_per_beam > 0 and not 2 <= initial <= final:
            raise ValueError(f"the initial beam is {initial}, but must be from 2 to the train beam {final}")
        return super().__new__(cls, initial, final, updates_per_beam)

    def beam(self, update: int) -> int:
        """The beam of update number ``update``, counted from 0."""
        if self.updates_per_beam == 0:
            return self.final
        return min(self.final, self.initial + update // self.updates_per_beam)
