"""What a search in training needs of a model: its run along gold, and a step of some other hypotheses."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Tuple

from torch import Tensor

State = Tuple[Tensor, ...]


class Rows(NamedTuple):
    """Which places of a flat ``B * width`` beam the rows of a batch of hypotheses stand for."""

    slots: Tensor
    """(R,) int64, ascending within what a step needs to scatter"""
    width: int
    """places per sentence"""
    everywhere: bool
    """whether the rows are all ``B * width`` places in order"""

    @property
    def sentences(self) -> Tensor:
        """(R,) int64"""
        return self.slots.div(self.width, rounding_mode="floor")


class Decoder(Protocol):
    """What the search and the segments need of a model. ``times`` is the step whose word is scored next; together with
    the sentence it picks the dropout masks, which all hypotheses of a sentence share."""

    def prepare(self, words: Tensor) -> None:
        """The only words (U,), each once, that a search will embed: they may be looked up from here on."""

    def embed(self, words: Tensor, sentences: Tensor, times: Tensor) -> Tensor:
        """words, sentences, times (N,) -> (N, I), the words as inputs of ``advance``."""

    def advance(self, inputs: Tensor, states: State, rows: Rows, times: Tensor) -> Tuple[Tensor, State]:
        """inputs (R, I), states each (R, ...), times (R,) -> outputs (R, H) and the states after these inputs."""


class GoldRun(NamedTuple):
    """The model's pass along the gold words."""

    words: Tensor
    """(B, T) int64, anything beyond a sentence's length"""
    lengths: Tensor
    """(B,) int64 >= 1, including ``</s>``"""
    outputs: Tensor
    """(T, B, H): ``outputs[t]`` scores word ``t``"""
    states: State
    """each (T, B, ...): the state that gave ``outputs[t]``"""

    def detach(self) -> GoldRun:
        """The same without gradient."""
        return GoldRun(self.words, self.lengths, self.outputs.detach(), tuple(part.detach() for part in self.states))
