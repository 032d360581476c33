"""The growing training beam (Wiseman & Rush 2016, section 5.1): a function of the update number, so resuming needs no
state."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BeamCurriculum:
    """Starts at ``initial`` and grows by one every ``updates_per_beam`` updates to ``final``; with 0 it is ``final``.

    Raises:
        ValueError: for a beam below 2, a shrinking beam or a negative number of updates.
    """

    initial: int
    final: int
    updates_per_beam: int

    def __post_init__(self) -> None:
        if self.final < 2:
            raise ValueError(
                f"the train beam is {self.final}, but must be at least 2: with one hypothesis gold has no rival"
            )
        if self.updates_per_beam < 0:
            raise ValueError(f"updates per beam is {self.updates_per_beam}, but must be 0 (no curriculum) or more")
        if self.updates_per_beam > 0 and not 2 <= self.initial <= self.final:
            raise ValueError(f"the initial beam is {self.initial}, but must be from 2 to the train beam {self.final}")

    def beam(self, update: int) -> int:
        """The beam of update number ``update``, counted from 0."""
        if self.updates_per_beam == 0:
            return self.final
        return min(self.final, self.initial + update // self.updates_per_beam)
