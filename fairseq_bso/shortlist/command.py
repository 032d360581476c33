"""`fairseq-bso shortlist`: makes the shortlist of a data folder, and reports what it covers."""

import argparse
import logging
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Tuple

import numpy

from bso_runtime.shortlist import SentenceWords, Shortlist
from bso_runtime.vocabulary import END, SPECIAL

from ..errors import UserError
from ..files import atomic_write
from ..logs import show_logs
from .files import path_in, symbols_of
from .lexicon import ibm_model_1


class Pairs(NamedTuple):
    """Sentence pairs, word ids without `</s>`."""

    sources: List[numpy.ndarray]
    targets: List[numpy.ndarray]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the data folder, the sizes and the file."""
    parser.add_argument("data", help="folder that fairseq-preprocess wrote")
    parser.add_argument("--output", help="the file to write (default: shortlist.SOURCE-TARGET in the data folder)")
    for side in ("source", "target"):
        parser.add_argument(f"--{side}-lang", metavar="LANG", help=f"{side} language (default: of the data folder)")
    parser.add_argument("--train-subset", default="train", help="the subset that is counted (default: %(default)s)")
    parser.add_argument(
        "--distill-cache",
        metavar="FOLDER",
        help="count the targets of this folder, which `fairseq-bso distill` made, in place of those of DATA",
    )
    words = "likeliest target words of each source word (default: %(default)s)"
    parser.add_argument("--per-word", type=int, default=50, metavar="N", help=words)
    common = "most frequent target words, which every sentence has (default: %(default)s)"
    parser.add_argument("--common", type=int, default=100, metavar="M", help=common)
    parser.add_argument(
        "--iterations", type=int, default=5, metavar="N", help="iterations of IBM model 1 (default: %(default)s)"
    )
    parser.add_argument(
        "--sentences",
        type=int,
        default=200_000,
        metavar="N",
        help="pairs that are counted, spread over the training set; 200,000 of 25 words take about 3 GB of memory "
        "(default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the file, and prints its size and what it covers. Returns the exit status.

    Raises:
        UserError: an option is out of range, the data cannot be read, or the file cannot be written.
    """
    show_logs(logging.WARNING)
    for name, least in (("per-word", 0), ("common", 0), ("iterations", 0), ("sentences", 1)):
        value = getattr(arguments, name.replace("-", "_"))
        if value < least:
            raise UserError(f"--{name} is {value}, but must be at least {least}")
    if arguments.per_word == arguments.common == 0:
        raise UserError("--per-word and --common are both 0, so that no word could come out: give one of them")
    task = _task(arguments.data, arguments)
    pairs = _pairs(task, arguments.train_subset, arguments.sentences)
    if arguments.distill_cache:
        cache = _task(arguments.distill_cache, arguments)
        if (cache.src_dict, cache.tgt_dict) != (task.src_dict, task.tgt_dict):
            raise UserError(f"--distill-cache {arguments.distill_cache} has other dictionaries than {arguments.data}")
        pairs = _pairs(cache, arguments.train_subset, arguments.sentences)
    shortlist = make_shortlist(pairs, task.src_dict, task.tgt_dict, arguments)
    content = shortlist.to_bytes(symbols_of(task.src_dict), symbols_of(task.tgt_dict))
    path = arguments.output or path_in(arguments.data, task.cfg.source_lang, task.cfg.target_lang)
    try:
        with atomic_write(Path(path)) as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    print(f"{path}: {len(content):,} bytes")
    words = SentenceWords(shortlist, len(task.tgt_dict))
    print(f"{arguments.train_subset}: {coverage(words, Pairs(*(side[:1000] for side in pairs)))}")
    if arguments.train_subset != "valid" and _exists(task, "valid"):
        print(f"valid: {coverage(words, _pairs(task, 'valid', 1000))}")
    return 0


def make_shortlist(pairs: Pairs, source: Any, target: Any, sizes: Any) -> Shortlist:
    """The likeliest target words of each source word and the source word itself, and the most frequent words.

    Args:
        pairs: of the training set.
        source, target: fairseq dictionaries.
        sizes: with `per_word`, `common` and `iterations`.
    """
    lexicon = ibm_model_1(*pairs, (len(source), len(target)), sizes.iterations)
    counts, likely = lexicon.top_k(sizes.per_word, len(source))
    same = numpy.array([target.indices.get(symbol, -1) for symbol in source.symbols])
    same[:SPECIAL] = -1
    copied = numpy.flatnonzero(same >= 0)
    owners = numpy.concatenate([numpy.repeat(numpy.arange(len(source)), counts), copied])
    words = numpy.concatenate([likely, same[copied]])
    both = numpy.unique(owners * len(target) + words)  # a word may be its own translation
    frequency = numpy.bincount(numpy.concatenate([numpy.empty(0, int), *pairs.targets]), minlength=len(target))
    common = numpy.argsort(-frequency, kind="stable")[: sizes.common]
    common = common[frequency[common] > 0]
    return Shortlist(common, numpy.bincount(both // len(target), minlength=len(source)), both % len(target))


def coverage(words: SentenceWords, pairs: Pairs) -> str:
    """One line: words a sentence, and what share of the references they hold."""
    sizes, held, total, whole = 0, 0, 0, 0
    for source, target in zip(*pairs):
        own = words([*source.tolist(), END])
        inside = numpy.isin(target, own)
        sizes, held, total, whole = sizes + len(own), held + inside.sum(), total + len(target), whole + inside.all()
    sentences = max(len(pairs.sources), 1)
    return (
        f"{sizes / sentences:.0f} words a sentence hold {held / max(total, 1):.1%} of the words of references, and "
        f"{whole / sentences:.1%} of the references whole"
    )


def _task(data: str, arguments: argparse.Namespace) -> Any:
    """fairseq's translation task of a data folder. Raises UserError if there is none."""
    from fairseq.tasks.translation import TranslationConfig, TranslationTask

    config = TranslationConfig()
    config.data, config.dataset_impl, config.required_seq_len_multiple = data, None, 1
    config.source_lang, config.target_lang = arguments.source_lang, arguments.target_lang
    config.train_subset = arguments.train_subset
    if not Path(data).is_dir():
        raise UserError(f"the data folder {data} does not exist: give the one that fairseq-preprocess wrote")
    try:
        return TranslationTask.setup_task(config)
    except Exception as error:
        raise UserError(f"{data} is no data folder of fairseq-preprocess ({_first_line(error)})") from None


def _exists(task: Any, subset: str) -> bool:
    return any(Path(task.cfg.data).glob(f"{subset}.{task.cfg.source_lang}-{task.cfg.target_lang}.*"))


def _pairs(task: Any, subset: str, most: int) -> Pairs:
    """The pairs of a subset, or `most` of them, spread evenly. Raises UserError if it has no pair."""
    try:
        task.load_dataset(subset)
    except Exception as error:
        raise UserError(f"{subset} in {task.cfg.data} cannot be read ({_first_line(error)})") from None
    data = task.datasets[subset]
    if data.tgt is None or len(data) == 0:
        raise UserError(f"{subset} in {task.cfg.data} has no sentence pair: give both languages")
    chosen = range(len(data)) if len(data) <= most else numpy.linspace(0, len(data) - 1, most).astype(int).tolist()
    sides: Tuple[List[numpy.ndarray], ...] = ([], [])
    for index in chosen:
        for kept, side in zip(sides, (data.src, data.tgt)):
            words = side[index].numpy().astype(numpy.int64)
            kept.append(words[words >= SPECIAL])
    return Pairs(*sides)


def _first_line(error: Optional[BaseException]) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
