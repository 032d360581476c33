"""The N sentences of a capture, in the order of the data set, and the word of each row.

A row is one step of one side. Encoder rows of a sentence are its source words and `</s>`. Decoder rows are the input
words: `</s>` and all words but the last. A language model has decoder rows only.
"""

from typing import Any, Iterable, List, Optional, Sequence, Tuple, cast

import numpy
import torch
from fairseq.data import MonolingualDataset, TokenBlockDataset
from torch import Tensor

from ...batches import length_batches
from ...errors import UserError


def offsets(lengths: numpy.ndarray) -> numpy.ndarray:
    """(N,) lengths -> (N + 1,) int64: the first row of each sentence, then the number of rows."""
    return numpy.concatenate([[0], numpy.cumsum(lengths, dtype=numpy.int64)])


def batches(
    lengths: numpy.ndarray, places: Iterable[int], max_tokens: int, batch_size: Optional[int]
) -> List[List[int]]:
    """Batches of sentences of similar lengths.

    Args:
        lengths: (N,) of every sentence.
        places: the sentences to put into batches.
        max_tokens: words in a batch, padding included; a longer sentence makes a batch of its own.
        batch_size: the largest number of sentences in a batch; None for any number.
    """
    size = batch_size or len(lengths)
    by_length = length_batches(cast(Sequence[int], lengths), list(places), max_tokens)
    return [batch[start : start + size] for batch in by_length for start in range(0, len(batch), size)]


def required(lengths: Optional[numpy.ndarray]) -> numpy.ndarray:
    """Lengths of a side that is captured. Raises ValueError without them."""
    if lengths is None:
        raise ValueError("the sentences have no such side")
    return lengths


class Sentences:
    """The sentences of a capture."""

    mode = "reference"
    source_lengths: Optional[numpy.ndarray] = None
    """(N,) int64 encoder rows; None without an encoder"""
    target_lengths: Optional[numpy.ndarray] = None
    """(N,) int64 decoder rows; None without targets"""

    def __len__(self) -> int:
        raise NotImplementedError

    def source(self, place: int) -> Tensor:
        """(S,) int64."""
        raise NotImplementedError

    def target(self, place: int) -> Tuple[Tensor, Tensor]:
        """The decoder's input words, and the next word of each row: (T,) int64 each."""
        raise NotImplementedError

    def lines(self, side: str) -> numpy.ndarray:
        """The number of words of each line of a track for this side, `</s>` not counted."""
        raise NotImplementedError

    def words_of_rows(self, side: str) -> numpy.ndarray:
        """(rows,) int64: the word of those lines that is the input of each row, -1 for `</s>`."""
        raise NotImplementedError


class SentencePairs(Sentences):
    """Sources, and targets if they are known. Each sentence ends with `</s>`.

    Args:
        sources: N of (S,) int64.
        targets: N of (T,) int64, or None.
        end: the id of `</s>`.
        mode: `reference`, or `output` for the model's own output.
    """

    def __init__(self, sources: Sequence, targets: Optional[Sequence], end: int, mode: str = "reference") -> None:
        self.sources, self.targets, self.end, self.mode = sources, targets, end, mode
        self.source_lengths = _lengths(sources, "source")
        self.target_lengths = None if targets is None else _lengths(targets, "target")

    def __len__(self) -> int:
        return len(self.sources)

    def source(self, place: int) -> Tensor:
        """(S,) int64."""
        return torch.as_tensor(self.sources[place]).long()

    def target(self, place: int) -> Tuple[Tensor, Tensor]:
        """(T,) int64 each."""
        if self.targets is None:
            raise ValueError("the sentences have no targets")
        words = torch.as_tensor(self.targets[place]).long()
        return torch.cat([words.new_tensor([self.end]), words[:-1]]), words

    def lines(self, side: str) -> numpy.ndarray:
        """Words without `</s>`."""
        return required(self.source_lengths if side == "encoder" else self.target_lengths) - 1

    def words_of_rows(self, side: str) -> numpy.ndarray:
        """`</s>` is the last row of a sentence in the encoder, and the first row in the decoder."""
        ends = offsets(required(self.source_lengths if side == "encoder" else self.target_lengths))
        return _word_numbers(ends[-1], ends[1:] - 1 if side == "encoder" else ends[:-1])


class Samples(Sentences):
    """The samples of a language model, as fairseq cuts them.

    Args:
        sentences: the lines of the text, (T,) int64 each with `</s>`.
        sizes: their lengths.
        task: a LanguageModelingTask.
        break_mode: one of `options.BREAK_MODES`.
    """

    mode = "language_model"

    def __init__(self, sentences: Sequence, sizes: numpy.ndarray, task: Any, break_mode: str) -> None:
        self.sizes, self.bos = numpy.asarray(sizes, dtype=numpy.int64), int(bool(task.args.add_bos_token))
        dictionary = task.source_dictionary
        blocks = TokenBlockDataset(
            sentences,
            self.sizes,
            task.args.tokens_per_sample,
            pad=dictionary.pad(),
            eos=dictionary.eos(),
            break_mode=break_mode,
            include_targets=True,
        )
        self.dataset = MonolingualDataset(
            blocks,
            blocks.sizes,
            dictionary,
            task.target_dictionary,
            targets=["future"],
            add_bos_token=bool(self.bos),
        )
        self.cuts = blocks.slice_indices.astype(numpy.int64)  # (N, 2) first and last + 1 of the next words
        self.target_lengths = self.cuts[:, 1] - self.cuts[:, 0] + self.bos

    def __len__(self) -> int:
        return len(self.cuts)

    def target(self, place: int) -> Tuple[Tensor, Tensor]:
        """(T,) int64 each."""
        sample = self.dataset[place]
        return sample["source"].long(), sample["target"].long()

    def lines(self, side: str) -> numpy.ndarray:
        """Words without `</s>` of every line of the text, not of every sample."""
        return self.sizes - 1

    def words_of_rows(self, side: str) -> numpy.ndarray:
        """The input of a row is the word before the one that it predicts."""
        ends = offsets(self.sizes)
        words = _word_numbers(ends[-1], ends[1:] - 1)
        before = numpy.concatenate([[-1], words])  # `before[i]` is the word before place i of the text
        rows = [numpy.concatenate([[-1] * self.bos, before[start:stop]]) for start, stop in self.cuts]
        return numpy.concatenate(rows).astype(numpy.int64)


def _word_numbers(rows: int, ends: numpy.ndarray) -> numpy.ndarray:
    """(rows,) int64: the number of each word, counted from 0; -1 for the rows ``ends`` of `</s>`."""
    is_word = numpy.ones(rows, dtype=bool)
    is_word[ends] = False
    return numpy.where(is_word, numpy.cumsum(is_word) - 1, -1)


def _lengths(sentences: Sequence, side: str) -> numpy.ndarray:
    """(N,) int64 words of each sentence. Raises UserError for a sentence without any."""
    # The sizes in the data set are wrong for sources that fairseq truncates (--truncate-source).
    lengths = numpy.array([len(sentences[place]) for place in range(len(sentences))], dtype=numpy.int64)
    empty = numpy.flatnonzero(lengths == 0)
    if len(empty):
        raise UserError(f"the {side} of sentence {empty[0]} (counted from 0) has no words and no </s>: leave it out")
    return lengths
