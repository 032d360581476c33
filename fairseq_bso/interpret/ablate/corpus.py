"""The sentences of a capture, and the word that each decoder row predicts."""

from typing import List, NamedTuple, Optional

import numpy
import torch
from torch import Tensor

from ...errors import UserError
from ..folder.reader import CaptureReader, Side
from ..models.state_reader import LoadedModel

__all__ = ["Corpus", "read_corpus"]


class Corpus(NamedTuple):
    """The N sentences of a capture; R decoder rows in all."""

    sources: Optional[List[Tensor]]
    """N of (S,) int64; None for a language model"""
    inputs: List[Tensor]
    """N of (T,) int64, the words that the decoder reads"""
    following: List[Tensor]
    """N of (T,) int64, the word that each row predicts"""
    offsets: numpy.ndarray
    """(N + 1,) the first row of each sentence, then R"""
    measured: Optional[numpy.ndarray]
    """(R,) float32, the loss or score of the capture; None if it holds none"""


def read_corpus(model: LoadedModel, capture: CaptureReader) -> Corpus:
    """The sentences of a capture. Raises UserError if a side of the model is missing."""
    missing = [side for side in model.reader.sides if side not in capture.sides]
    if missing:
        raise UserError(
            f"{capture.folder} has no {' and no '.join(missing)}, without which no loss is known: run fairseq-bso "
            "states without --sides"
        )
    decoder = capture.sides["decoder"]
    sources = _sentences(capture.sides["encoder"]) if "encoder" in model.reader.sides else None
    words = decoder.word_ids.astype(numpy.int64)  # (R,)
    following = following_words(words, decoder.offsets, model)
    name = "score" if model.reader.unnormalized else "loss"
    measured = decoder.tracks[name].values if name in decoder.tracks else None
    return Corpus(sources, _sentences(decoder), _split(following, decoder.offsets), decoder.offsets, measured)


def following_words(words: numpy.ndarray, offsets: numpy.ndarray, model: LoadedModel) -> numpy.ndarray:
    """The word that each row predicts.

    It is the input of the next row of the sentence. After the last row of a translation it is `</s>`. After the last
    row of a language model's sample it is the first word that the next sample reads, because fairseq cuts a running
    text; at the end of the text it is `</s>`. With --add-bos-token a sample begins with a row that predicts `<s>`.

    Args:
        words: (R,) int64, the input of each row.
        offsets: (N + 1,) int64.
        model: of the capture.

    Returns:
        (R,) int64.
    """
    dictionary = model.dictionary("decoder")
    end = dictionary.eos()
    if model.architecture != "lstm_lm":
        following = numpy.append(words[1:], end)
        following[offsets[1:] - 1] = end
        return following
    if not model.task.args.add_bos_token:
        return numpy.append(words[1:], end)
    begins = offsets[:-1]
    running = numpy.delete(words, begins)  # without the first rows, which read <s>
    following = numpy.empty_like(words)
    following[numpy.setdiff1d(numpy.arange(len(words)), begins)] = numpy.append(running[1:], end)
    following[begins] = dictionary.bos()
    return following


def _sentences(side: Side) -> List[Tensor]:
    return _split(side.word_ids.astype(numpy.int64), side.offsets)


def _split(values: numpy.ndarray, offsets: numpy.ndarray) -> List[Tensor]:
    """(R,) -> N of (T,)."""
    return [torch.from_numpy(part) for part in numpy.split(values, offsets[1:-1])]
