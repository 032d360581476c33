"""The interface that a search in training needs of a model: its run along gold, and a step of other hypotheses."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Tuple

from torch import Tensor

State = Tuple[Tensor, ...]


class Rows(NamedTuple):
    """The beam slots, in a flat ``B * width`` beam, of the rows of a batch of hypotheses."""

    slots: Tensor
    """(R,) int64, ascending within the rows that a step scatters"""
    width: int
    """beam slots per sentence"""
    everywhere: bool
    """whether the rows are all ``B * width`` slots in order"""

    @property
    def sentences(self) -> Tensor:
        """(R,) int64"""
        return self.slots.div(self.width, rounding_mode="floor")


class Decoder(Protocol):
    """The interface that the search and the segments need of a model.

    ``times`` is the step whose word is scored next. The step and the sentence together select the dropout masks, which
    all hypotheses of a sentence share.
    """

    def prepare(self, words: Tensor) -> None:
        """Announces the only words (U,), each once, that a search will embed; their embeddings may be looked up now."""

    def embed(self, words: Tensor, sentences: Tensor, times: Tensor) -> Tensor:
        """words, sentences, times (N,) -> (N, I), the words as inputs of ``advance``."""

    def advance(self, inputs: Tensor, states: State, rows: Rows, times: Tensor) -> Tuple[Tensor, State]:
        """inputs (R, I), states each (R, ...), times (R,) -> outputs (R, H) and the states after these inputs."""


class GoldRun(NamedTuple):
    """The model's pass along the gold words."""

    words: Tensor
    """(B, T) int64; positions beyond a sentence's length are arbitrary"""
    lengths: Tensor
    """(B,) int64 >= 1, including ``</s>``"""
    outputs: Tensor
    """(T, B, H): ``outputs[t]`` scores word ``t``"""
    states: State
    """each (T, B, ...): the state that gave ``outputs[t]``"""

    def detach(self) -> GoldRun:
        """The same without gradient."""
        return GoldRun(self.words, self.lengths, self.outputs.detach(), tuple(part.detach() for part in self.states))
