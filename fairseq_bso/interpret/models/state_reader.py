"""The interface to an architecture: its states, also under a change of the run.

Sentences are padded on the right. Padded places of the results are undefined and never affect real places.
"""

from abc import ABC, abstractmethod
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from .changes import UNCHANGED, Change
from .lstm_steps import EncoderRun, named

LARGEST_PRODUCT = 1 << 24  # scores of all words that are in memory at a time


class DecoderStates(NamedTuple):
    """A decoder on B sentences of up to T words, whose sources have up to S words."""

    states: Dict[str, Tensor]
    """(B, T, units) each, by their names in files"""
    attention: Optional[Tensor]
    """(B, T, S); None for a model without attention"""
    outputs: Tensor
    """(B, T, H), the input of `StateReader.scores`"""


class StateReader(ABC):
    """Reads the states of one architecture. Words are padded on the right.

    Args:
        model: in eval mode.
        gates: whether to return the gates.
    """

    sides: Tuple[str, ...] = ("encoder", "decoder")

    def __init__(self, model: Any, gates: bool) -> None:
        self.model, self.gates = model, gates

    @property
    def unnormalized(self) -> bool:
        """Whether scores are raw output-layer scores f, not log-probabilities."""
        return False

    @abstractmethod
    def embed(self, side: str, words: Tensor) -> Tensor:
        """words (B, T) -> (B, T, E), the inputs of the first layer of a side."""

    @abstractmethod
    def encode(self, words: Tensor, lengths: Tensor, change: Change = UNCHANGED) -> Any:
        """words (B, S), lengths (B,) -> the memory of the sources for `decoder_states`."""

    @abstractmethod
    def run_encoder(self, words: Tensor, lengths: Tensor, change: Change) -> EncoderRun:
        """words (B, S), lengths (B,) -> all states of the encoder under a change."""

    def encoder_states(self, words: Tensor, lengths: Tensor) -> Dict[str, Tensor]:
        """words (B, S), lengths (B,) -> states (B, S, units) by their names in files."""
        found: Dict[str, Tensor] = {}
        for layer, states in enumerate(self.run_encoder(words, lengths, UNCHANGED).states, start=1):
            found.update(named(layer, states))
        return found

    @abstractmethod
    def decoder_states(self, words: Tensor, memory: Any, change: Change = UNCHANGED) -> DecoderStates:
        """The decoder under teacher forcing.

        Args:
            words: (B, T), the first of which is `</s>`.
            memory: of `encode`; None without an encoder.
            change: of the decoder's run.
        """

    @abstractmethod
    def scores(self, outputs: Tensor) -> Tensor:
        """(R, H) -> (R, V) float32 log-probabilities of all next words, or raw scores f if `unnormalized`."""

    def score_blocks(self, outputs: Tensor, words: Tensor) -> Iterator[Tuple[Tensor, Tensor]]:
        """The scores (r, V) and the words (r,) of blocks of the R rows, so that few scores are in memory at a time."""
        size = max(1, LARGEST_PRODUCT // len(self.model.decoder.dictionary))
        for block, following in zip(outputs.split(size), words.split(size)):
            yield self.scores(block), following

    def output_columns(self) -> Dict[str, Tensor]:
        """(V, units) for each state of the last decoder layer: what one unit adds to the score of every word.

        The path from a hidden state to the output layer is taken as linear: the tanh of an attentional vector is left
        out. The cell state has the columns of the hidden state, whose sign it has. Empty if there is no such path.
        """
        return {}

    @abstractmethod
    def directions(self, side: str) -> int:
        """The number of directions in which this side reads."""


class LoadedModel(NamedTuple):
    """A model whose states can be read."""

    architecture: str
    """`bso_lstm`, `lstm` or `lstm_lm`"""
    reader: StateReader
    task: Any
    """the task of its training"""
    device: torch.device

    def dictionary(self, side: str) -> Any:
        """The dictionary of the words that a side reads. A language model reads words of the source dictionary."""
        of_source = side == "encoder" or self.architecture == "lstm_lm"
        return self.task.source_dictionary if of_source else self.task.target_dictionary

    def symbols(self) -> Dict[str, List[str]]:
        """The words that each side reads, by id."""
        return {side: self.dictionary(side).symbols for side in self.reader.sides}
