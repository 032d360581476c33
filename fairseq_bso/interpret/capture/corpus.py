"""Where the sentences of a capture come from: a data set, lines of text, or the model's own output."""

from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy
import torch
from fairseq import utils
from fairseq.data import data_utils
from torch import Tensor
from tqdm import tqdm

from ...errors import UserError, counted
from ...subsets import check_subset, refuse_empty
from ..models.state_reader import LoadedModel
from .options import CaptureOptions
from .sentences import Samples, SentencePairs, Sentences, batches, required

__all__ = ["from_data_set", "from_text", "own_output"]


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
            f"--text {source} has {counted(len(lines), 'line')} and --target-text {target} has {len(targets):,}: they "
            "must be the two sides of the same sentences"
        )
    return _not_empty(SentencePairs(lines, targets, task.target_dictionary.eos()), f"--text {source}")


def _samples(lines: Sequence, sizes: numpy.ndarray, task: Any, break_mode: Optional[str]) -> Sentences:
    """The samples of a language model, cut by ``break_mode`` or else as in training."""
    if len(lines) == 0:
        return SentencePairs([], None, 0)
    return Samples(lines, sizes, task, break_mode or str(task.args.sample_break_mode or "none"))


def _not_empty(sentences: Sentences, name: str) -> Sentences:
    """The sentences. Raises UserError if there are none."""
    if len(sentences) == 0:
        raise UserError(f"{name} holds no sentence: there is nothing to capture")
    return sentences


def _read_lines(path: str, dictionary: Any, option: str) -> List[Tensor]:
    """The word ids of each line, with `</s>`. Raises UserError if the file cannot be read."""
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
