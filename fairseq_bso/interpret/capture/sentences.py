"""The N sentences of a capture, in the order of the data set, and the word of each row.

A row is one step of one side. Encoder rows of a sentence are its source words and `</s>`. Decoder rows are the input
words: `</s>` and all words but the last. A language model has decoder rows only.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, cast

import numpy
import torch
from fairseq import utils
from fairseq.data import MonolingualDataset, TokenBlockDataset, data_utils
from torch import Tensor
from tqdm import tqdm

from ...batches import length_batches
from ...errors import UserError
from ...subsets import check_subset, refuse_empty
from ..models.state_reader import LoadedModel
from .options import CaptureOptions


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
        lengths = required(self.source_lengths if side == "encoder" else self.target_lengths)
        ends = offsets(lengths)
        is_word = numpy.ones(ends[-1], dtype=bool)
        is_word[ends[1:] - 1 if side == "encoder" else ends[:-1]] = False
        return numpy.where(is_word, numpy.cumsum(is_word) - 1, -1)


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
        is_word = numpy.ones(ends[-1], dtype=bool)
        is_word[ends[1:] - 1] = False
        words = numpy.where(is_word, numpy.cumsum(is_word) - 1, -1)
        before = numpy.concatenate([[-1], words])  # `before[i]` is the word before place i of the text
        rows = [numpy.concatenate([[-1] * self.bos, before[start:stop]]) for start, stop in self.cuts]
        return numpy.concatenate(rows).astype(numpy.int64)


def _lengths(sentences: Sequence, side: str) -> numpy.ndarray:
    # The sizes in the data set are wrong for sources that fairseq truncates (--truncate-source).
    lengths = numpy.array([len(sentences[place]) for place in range(len(sentences))], dtype=numpy.int64)
    empty = numpy.flatnonzero(lengths == 0)
    if len(empty):
        raise UserError(f"the {side} of sentence {empty[0]} (counted from 0) has no words and no </s>: leave it out")
    return lengths


def from_data_set(task: Any, subset: str, break_mode: Optional[str]) -> Sentences:
    """The sentences of a binarised data set.

    Raises:
        UserError: the subset does not exist or is empty.
    """
    cfg = task.args if hasattr(task, "args") else task.cfg
    folder = utils.split_paths(cfg.data)[0]
    try:
        if not hasattr(task, "args"):
            check_subset(cfg.data, subset, cfg.source_lang, cfg.target_lang)
            getattr(task, "load_original_dataset", task.load_dataset)(subset)
            pairs = task.dataset(subset)
            sentences: Sentences = SentencePairs(pairs.src, pairs.tgt, task.target_dictionary.eos())
        else:
            refuse_empty(folder, [subset], subset)
            lines = data_utils.load_indexed_dataset(f"{folder}/{subset}", task.source_dictionary, cfg.dataset_impl)
            if lines is None:
                raise FileNotFoundError
            sentences = _samples(lines, lines.sizes, task, break_mode)
    except FileNotFoundError:
        subsets = sorted({path.name.split(".")[0] for path in Path(folder).glob("*.idx")})
        raise UserError(
            f"the data folder {folder} has no subset {subset!r} of this model's languages: --gen-subset must be one of "
            f"those prepared there ({', '.join(subsets) or 'none'})"
        ) from None
    return _not_empty(sentences, f"the subset {subset} in {folder}")


def from_text(task: Any, source: str, target: Optional[str], break_mode: Optional[str]) -> Sentences:
    """Lines of text, one sentence each, with words as in the training data, separated by spaces.

    Raises:
        UserError: a file cannot be read, is empty, or has not as many lines as the other.
    """
    lines = _read_lines(source, task.source_dictionary, "--text")
    if hasattr(task, "args"):
        if target:
            raise UserError("--target-text is the other side of a translation, but this is a language model")
        sizes = numpy.array([len(line) for line in lines], dtype=numpy.int64)
        return _not_empty(_samples(lines, sizes, task, break_mode), f"--text {source}")
    targets = _read_lines(target, task.target_dictionary, "--target-text") if target else None
    if targets is not None and len(targets) != len(lines):
        raise UserError(
            f"--text {source} has {len(lines)} lines and --target-text {target} has {len(targets)}: they must be the "
            "two sides of the same sentences"
        )
    return _not_empty(SentencePairs(lines, targets, task.target_dictionary.eos()), f"--text {source}")


def _samples(lines: Sequence, sizes: numpy.ndarray, task: Any, break_mode: Optional[str]) -> Sentences:
    if len(lines) == 0:
        return SentencePairs([], None, 0)
    return Samples(lines, sizes, task, break_mode or str(task.args.sample_break_mode or "none"))


def _not_empty(sentences: Sentences, name: str) -> Sentences:
    if len(sentences) == 0:
        raise UserError(f"{name} holds no sentence: there is nothing to capture")
    return sentences


def _read_lines(path: str, dictionary: Any, option: str) -> List[Tensor]:
    try:
        with open(path, encoding="utf-8-sig") as file:  # without the mark with which some programs begin a file
            return [dictionary.encode_line(line, add_if_not_exist=False).long() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{option} {path} cannot be read: {error}") from None


def own_output(model: LoadedModel, sources: SentencePairs, options: CaptureOptions) -> SentencePairs:
    """The same sources, each with the model's best hypothesis as its target.

    The generator of the checkpoint's task decodes, with its constraints. fairseq's defaults limit the length. A batch
    has at most max_tokens / beam source words.
    """
    task, translator, lengths = model.task, model.reader.model, required(sources.source_lengths)
    # The plain translation task does not know `unnormalized`: raw scores are not divided by length.
    generator = task.build_generator([translator], Namespace(beam=options.beam, unnormalized=model.reader.unnormalized))
    padding = task.source_dictionary.pad()
    hypotheses: List[Optional[numpy.ndarray]] = [None] * len(sources)
    tokens = max(1, options.max_tokens // options.beam)
    with tqdm(total=len(sources), unit=" sentences", desc="decoding", disable=None) as progress, torch.no_grad():
        for batch in batches(lengths, range(len(sources)), tokens, options.batch_size):
            net_input = _net_input([sources.source(place) for place in batch], sources.end, padding, model.device)
            for place, (best, *_) in zip(batch, generator.generate([translator], {"net_input": net_input})):
                hypotheses[place] = best["tokens"].cpu().numpy().astype(numpy.int32)
            progress.update(len(batch))
    return SentencePairs(sources.sources, hypotheses, sources.end, mode="output")


def _net_input(words: List[Tensor], end: int, padding: int, device: torch.device) -> Dict[str, Tensor]:
    """Sources for fairseq's generator: padded on the left, longest first, as fairseq's `lstm` requires."""
    src_tokens = data_utils.collate_tokens(words, padding, end, left_pad=True)  # (B, S)
    lengths = torch.tensor([len(sentence) for sentence in words])
    return {"src_tokens": src_tokens.to(device), "src_lengths": lengths.to(device)}
