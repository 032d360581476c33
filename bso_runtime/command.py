"""The `fairseq-bso` command. `translate` runs here, without fairseq and torch; all other words go to fairseq_bso."""

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from .container import BadFile, read
from .network import Network
from .onnx_network import OnnxNetwork, prefix_of
from .search import Options, search
from .successors import KINDS, Constraint
from .text import Text

HELP = "Translate lines of text with a model that `fairseq-bso export` wrote."


class Translator(NamedTuple):
    """A model and how to search with it."""

    network: Any
    """a Network or an OnnxNetwork"""
    text: Text
    options: Options
    constraint: Optional[Constraint]

    def __call__(self, lines: Sequence[str]) -> List[Tuple[float, str]]:
        """Lines of text -> the score and the translation of each; -inf and nothing where none came to an end."""
        sources = [self.text.encode(line) for line in lines]
        found = search(self.network, sources, self.options, self.constraint)
        best = [one[0] if one else (float("-inf"), []) for one in found]
        return [(score, self.text.decode(words)) for score, words in best]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model file, the text and how to search; names and defaults of the search are those of fairseq-generate."""
    parser.add_argument(
        "model", help="file that `fairseq-bso export` wrote, or what the names of its two ONNX files begin with"
    )
    parser.add_argument("--input", default="-", help="text, one sentence a line (default: standard input)")
    parser.add_argument("--output", default="-", help="where translations go, line by line (default: standard output)")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=1,
        metavar="N",
        help="lines that are read and translated together; faster, but nothing is written until N are read (default: "
        "%(default)s, line by line)",
    )
    parser.add_argument("--beam", type=int, default=5, help="hypotheses at a time; 1 is greedy (default: %(default)s)")
    parser.add_argument("--max-len-a", type=float, default=0.0, help="longest output: A times the source length plus B")
    parser.add_argument("--max-len-b", type=int, default=200, help="longest output: A times the source length plus B")
    parser.add_argument("--lenpen", type=float, default=1.0, help="length penalty of softmax models")
    parser.add_argument(
        "--successors",
        metavar="NAME",
        help="which words may follow a prefix: none, word_order or arc_standard (default: as in training)",
    )
    parser.add_argument("--print-scores", action="store_true", help="write the score and a tab before each translation")


def run(arguments: argparse.Namespace) -> int:
    """Translates, each line or batch of lines written as soon as it is there. Returns the exit status."""
    if min(arguments.beam, arguments.batch_size) < 1 or min(arguments.max_len_a, arguments.max_len_b) < 0:
        print("--beam and --batch-size must be at least 1, --max-len-a and --max-len-b at least 0", file=sys.stderr)
        return 1
    try:
        translate = _translator(arguments)
        source = sys.stdin if arguments.input == "-" else open(arguments.input, encoding="utf-8")
        target = sys.stdout if arguments.output == "-" else open(arguments.output, "w", encoding="utf-8")
        for stream in (sys.stdin, sys.stdout):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="utf-8")
        for lines in iter(lambda: list(islice(source, arguments.batch_size)), []):
            for score, line in translate(lines):
                print(f"{score:.4f}\t{line}" if arguments.print_scores else line, file=target)
            target.flush()
    except BrokenPipeError:  # whoever read the output has had enough
        sys.stderr.close()
        return 0
    except (BadFile, OSError, UnicodeDecodeError) as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


def _translator(arguments: argparse.Namespace) -> Translator:
    """What the arguments ask for.

    Raises:
        BadFile: the model cannot be used, or not in this way.
    """
    prefix = prefix_of(arguments.model)
    if prefix is not None:
        network: Any = OnnxNetwork(prefix)
        texts = network.texts
    else:
        model = read(Path(arguments.model))
        texts = model.texts
        try:
            network = Network(model.facts, model.tensors)
        except (KeyError, ValueError) as fault:
            raise BadFile(f"{arguments.model} does not hold a whole model: {fault}") from None
    text = Text(texts)
    options = Options(arguments.beam, arguments.max_len_a, arguments.max_len_b, arguments.lenpen)
    return Translator(network, text, options, _constraint(arguments, network.facts, text))


def _constraint(arguments: argparse.Namespace, facts: Any, text: Text) -> Optional[Constraint]:
    """What --successors asks for, or the model itself.

    Raises:
        BadFile: there is no such successor function here, or the dictionaries do not fit it.
    """
    name = str(facts.get("successors", "none")) if arguments.successors is None else arguments.successors
    if name == "none":
        return None
    if name not in KINDS and arguments.successors is None:
        raise BadFile(
            f"the model was trained with --successors {name}, which is not known here: choose with --successors from "
            f"none, {', '.join(KINDS)}"
        )
    try:
        return Constraint(name, text)
    except ValueError as fault:
        raise BadFile(f"--successors {name}: {fault}") from None


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run `fairseq-bso` with `arguments`, else with those of the process. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["translate"]:
        parser = argparse.ArgumentParser(prog="fairseq-bso translate", description=HELP)
        add_arguments(parser)
        return run(parser.parse_args(words[1:]))
    try:
        from fairseq_bso.commands import main as rest
    except ModuleNotFoundError as fault:
        print(
            f"only `translate` runs without the package {fault.name}: install fairseq_bso for the rest", file=sys.stderr
        )
        return 1
    return rest(words)


if __name__ == "__main__":
    sys.exit(main())
