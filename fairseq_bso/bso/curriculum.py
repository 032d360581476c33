"""The beam of each update: the same, growing (Wiseman & Rush 2016, section 5.1), or mixed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class BeamCurriculum:
    """The beam as a function of the update number, so that resuming needs no state.

    The beam starts at ``initial`` and grows by one every ``updates_per_beam`` updates up to ``final``. With
    ``updates_per_beam`` 0 it is always ``final``. With ``mixed`` there are ``final - initial + 1`` beams, and every run
    of as many updates has each beam once. The order is shuffled anew for each run. Large beams alone lose in greedy
    decoding, and small beams prevent this loss.

    Raises:
        ValueError: for a beam below 2, a shrinking beam, a negative number of updates, or mixed beams that grow.
    """

    initial: int
    final: int
    updates_per_beam: int
    mixed: bool = False

    def __post_init__(self) -> None:
        if self.final < 2:
            raise ValueError(
                f"the train beam is {self.final}, but must be at least 2: with one hypothesis gold has no rival"
            )
        if self.updates_per_beam < 0:
            raise ValueError(f"updates per beam is {self.updates_per_beam}, but must be 0 (no curriculum) or more")
        if self.mixed and self.updates_per_beam > 0:
            raise ValueError(
                f"updates per beam is {self.updates_per_beam}, but mixed beams do not grow: leave out one of the two"
            )
        if (self.mixed or self.updates_per_beam > 0) and not 2 <= self.initial <= self.final:
            raise ValueError(f"the initial beam is {self.initial}, but must be from 2 to the train beam {self.final}")

    @property
    def changes(self) -> bool:
        """Whether the beam depends on the update."""
        return self.mixed or self.updates_per_beam > 0

    def beam(self, update: int) -> int:
        """The beam of update number ``update``, counted from 0."""
        if self.mixed:
            beams = range(self.initial, self.final + 1)
            run, place = divmod(update, len(beams))
            return Random(run).sample(beams, len(beams))[place]
        if self.updates_per_beam == 0:
            return self.final
        return min(self.final, self.initial + update // self.updates_per_beam)
