"""What `capture` asks of an architecture."""

from typing import Any, Dict, NamedTuple, Optional, Tuple

from torch import Tensor


class DecoderStates(NamedTuple):
    """A decoder along B sentences of up to T words, whose encoder read up to S."""

    states: Dict[str, Tensor]
    """(B, T, units) each, under their names in files"""
    attention: Optional[Tensor]
    """(B, T, S), None of a model without"""
    outputs: Tensor
    """(B, T, H) what `StateReader.scores` takes"""


class StateReader:
    """Reads the states of one architecture. Words are padded on the right.

    Args:
        model: in eval mode.
        gates: whether gates are wanted.
    """

    sides: Tuple[str, ...] = ("encoder", "decoder")
    unnormalized = False

    def __init__(self, model, gates: bool) -> None:
        self.model, self.gates = model, gates

    def encode(self, words: Tensor, lengths: Tensor) -> Any:
        """words (B, S), lengths (B,) -> what `decoder_states` needs of the sources."""
        raise NotImplementedError

    def encoder_states(self, words: Tensor, lengths: Tensor) -> Dict[str, Tensor]:
        """words (B, S), lengths (B,) -> states (B, S, units) under their names in files."""
        raise NotImplementedError

    def decoder_states(self, words: Tensor, memory: Any) -> DecoderStates:
        """The decoder forced along words (B, T), the first of which is `</s>`; memory None without an encoder."""
        raise NotImplementedError

    def scores(self, outputs: Tensor) -> Tensor:
        """(R, H) -> (R, V) float32 log-probabilities of all next words; of a model with raw scores `f`."""
        raise NotImplementedError

    def directions(self, side: str) -> int:
        """In how many directions this side reads."""
        raise NotImplementedError
