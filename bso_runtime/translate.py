"""`fairseq-bso translate`: runs without fairseq and torch."""

import argparse
import sys
from contextlib import ExitStack
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, List, Sequence, Tuple

from .endings import drop_output
from .files import atomic_write
from .live import LENPEN
from .model_file import ModelFileError
from .shortlist import SHORTLIST
from .translator import TranslationOptions, Translator

NAME = "translate"
HELP = "Translate lines of text with a model that `fairseq-bso export` wrote."


def _number(kind: Callable[[str], Any], least: float, most: float = float("inf")) -> Callable[[str], Any]:
    """A type for argparse: a finite number of one kind, int or float, from `least` to `most`."""

    def parse(word: str) -> Any:
        allowed = "a whole number" if kind is int else "a number"
        allowed += f" from {least:g} to {most:g}" if isfinite(most) else f" of at least {least}"
        try:
            number = kind(word)
            fits = isfinite(number) and least <= number <= most
        except (ValueError, OverflowError):
            fits = False
        if not fits:
            raise argparse.ArgumentTypeError(f"it is {word!r}, but must be {allowed}")
        return number

    return parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the model file, the text and the options of the search, which are named as those of fairseq-generate."""
    parser.add_argument(
        "model", help="file that `fairseq-bso export` wrote, or the common start of the names of its two ONNX files"
    )
    parser.add_argument("--input", default="-", help="text, one sentence a line (default: standard input)")
    parser.add_argument(
        "--output",
        default="-",
        help="file for translations, which gets this name once it is whole (default: standard output, line by line)",
    )
    parser.add_argument(
        "--batch-size",
        type=_number(int, 1),
        default=1,
        metavar="N",
        help="lines that are translated together; more are faster, but nothing is written until N are read (default: "
        "%(default)s, line by line)",
    )
    beam = "hypotheses at a time; 1 is greedy (default: %(default)s)"
    longest = "the longest output has A times the source length plus B words (default: %(default)s)"
    parser.add_argument("--beam", type=_number(int, 1), default=5, metavar="N", help=beam)
    parser.add_argument("--max-len-a", type=_number(float, 0), default=0.0, metavar="A", help=longest)
    parser.add_argument("--max-len-b", type=_number(int, 0), default=200, metavar="B", help=longest)
    length_penalty = "length penalty of softmax models (default: %(default)s)"
    parser.add_argument(
        "--lenpen", type=_number(float, -LENPEN, LENPEN), default=1.0, metavar="POWER", help=length_penalty
    )
    parser.add_argument(
        "--successors",
        metavar="NAME",
        help="which words may follow a prefix: none, word_order, arc_standard or shortlist (default: as in training)",
    )
    parser.add_argument(
        "--shortlist",
        action="store_true",
        help="only the words of each sentence in the file's shortlist may come out, which is faster; the same as "
        "--successors shortlist",
    )
    parser.add_argument("--print-scores", action="store_true", help="write the score and a tab before each translation")


def run(arguments: argparse.Namespace) -> int:
    """Translates, and writes each line or batch of lines at once. An output file gets its name once it is whole.

    Returns the exit status.
    """
    try:
        _translate(arguments)
    except OSError as error:
        if arguments.output == "-" and error.filename is None:
            drop_output()
        if isinstance(error, BrokenPipeError):  # the reader of the output has closed it
            return 0
        target = "standard output" if arguments.output == "-" else arguments.output
        print(f"{error.filename or target}: {error.strerror}", file=sys.stderr)
        return 1
    except ModelFileError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _translate(arguments: argparse.Namespace) -> None:
    """Reads, translates and writes batch by batch. Raises ModelFileError and OSError."""
    translate = _translation(arguments)
    with ExitStack() as files:
        lines = _lines(arguments.input, files)
        target = _target(arguments.output, files)
        done = 0
        for batch in _batches(lines, arguments.batch_size):
            for score, line in translate(batch, done + 1):
                print(f"{score:.4f}\t{line}" if arguments.print_scores else line, file=target)
            done += len(batch)
            target.flush()


def _batches(lines: Iterator[str], size: int) -> Iterator[List[str]]:
    """The lines, `size` at a time. Before an error, the lines that could still be read."""
    batch: List[str] = []
    try:
        for line in lines:
            batch.append(line)
            if len(batch) == size:
                yield batch
                batch = []
    except ModelFileError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _lines(name: str, files: ExitStack) -> Iterator[str]:
    """The lines of a text file, or of standard input if it is `-`.

    Raises:
        ModelFileError: standard input is closed; later, at a line that is not UTF-8.
        OSError: the file cannot be opened.
    """
    if name == "-" and sys.stdin is None:
        raise ModelFileError("standard input is closed: give it the text, or name a file with --input")
    source: BinaryIO = sys.stdin.buffer if name == "-" else files.enter_context(open(name, "rb"))

    def decoded() -> Iterator[str]:
        for number, line in enumerate(source, 1):
            try:
                # The mark with which some programs begin a file would make another word of the first one.
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                where = "standard input" if name == "-" else name
                raise ModelFileError(
                    f"{where}, line {number}: byte {error.object[error.start]:#04x} is not UTF-8; convert it first, as "
                    "by iconv -t UTF-8"
                ) from None

    return decoded()


def _target(name: str, files: ExitStack) -> Any:
    """The text file that translations are written to. Raises ModelFileError if standard output is closed."""
    if name != "-":
        return files.enter_context(atomic_write(Path(name), "w", encoding="utf-8"))
    if sys.stdout is None:
        raise ModelFileError("standard output is closed: open it, or name a file with --output")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout


def _translation(arguments: argparse.Namespace) -> Callable[[Sequence[str], int], List[Tuple[float, str]]]:
    """A function of lines, and of the number of the first, that gives the score and the translation of each.

    Under a constraint, a message on standard error names a line without a translation.

    Raises:
        ModelFileError: the model cannot be used, or not with these options.
    """
    successors = arguments.successors
    if arguments.shortlist and successors not in (None, SHORTLIST):
        raise ModelFileError(f"--shortlist cannot be used with --successors {successors}: leave out one of them")
    translator = Translator(arguments.model)
    limits = (arguments.max_len_a, arguments.max_len_b, arguments.lenpen)
    successors = SHORTLIST if arguments.shortlist else successors
    options = TranslationOptions(arguments.beam, *limits, successors, scored=arguments.print_scores)
    search, tokenizer = translator.searcher(options), translator.tokenizer

    def translate(lines: Sequence[str], first: int) -> List[Tuple[float, str]]:
        sources = [tokenizer.encode(line) for line in lines]
        found = search(sources)
        for number, (source, (score, _)) in enumerate(zip(sources, found), first):
            if score == float("-inf") and search.constraint is not None:
                print(f"line {number}: --successors {search.reason(source)}, so the output is empty", file=sys.stderr)
        return [(score, tokenizer.decode(words)) for score, words in found]

    return translate
