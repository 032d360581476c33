"""The `fairseq-bso` command. `translate` runs here, without fairseq and torch; all other words go to fairseq_bso."""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from .container import BadFile, read
from .network import Network
from .search import Options, beam_search
from .text import Text

HELP = "Translate lines of text with a model that `fairseq-bso export` wrote."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model file, the text and how to search; names and defaults of the search are those of fairseq-generate."""
    parser.add_argument("model", help="file that `fairseq-bso export` wrote")
    parser.add_argument("--input", default="-", help="text, one sentence a line (default: standard input)")
    parser.add_argument("--output", default="-", help="where translations go, line by line (default: standard output)")
    parser.add_argument("--beam", type=int, default=5, help="hypotheses at a time; 1 is greedy (default: %(default)s)")
    parser.add_argument("--max-len-a", type=float, default=0.0, help="longest output: A times the source length plus B")
    parser.add_argument("--max-len-b", type=int, default=200, help="longest output: A times the source length plus B")
    parser.add_argument("--lenpen", type=float, default=1.0, help="length penalty of softmax models")
    parser.add_argument("--print-scores", action="store_true", help="write the score and a tab before each translation")


def run(arguments: argparse.Namespace) -> int:
    """Translates line by line, each written as soon as it is there. Returns the exit status."""
    if arguments.beam < 1 or arguments.max_len_b < 0 or arguments.max_len_a < 0:
        print("--beam must be at least 1, --max-len-a and --max-len-b at least 0", file=sys.stderr)
        return 1
    try:
        model = read(Path(arguments.model))
        text = Text(model.texts)
        try:
            network = Network(model.facts, model.tensors)
        except (KeyError, ValueError) as fault:
            raise BadFile(f"{arguments.model} does not hold a whole model: {fault}") from None
        options = Options(arguments.beam, arguments.max_len_a, arguments.max_len_b, arguments.lenpen)
        source = sys.stdin if arguments.input == "-" else open(arguments.input, encoding="utf-8")
        target = sys.stdout if arguments.output == "-" else open(arguments.output, "w", encoding="utf-8")
        for stream in (sys.stdin, sys.stdout):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(encoding="utf-8")
        for line in source:
            found = beam_search(network, text.encode(line), options)
            score, words = found[0] if found else (float("-inf"), [])
            prefix = f"{score:.4f}\t" if arguments.print_scores else ""
            print(prefix + text.decode(words), file=target, flush=True)
    except BrokenPipeError:  # whoever read the output has had enough
        sys.stderr.close()
        return 0
    except (BadFile, OSError, UnicodeDecodeError) as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run `fairseq-bso` with `arguments`, else with those of the process. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["translate"]:
        parser = argparse.ArgumentParser(prog="fairseq-bso translate", description=HELP)
        add_arguments(parser)
        return run(parser.parse_args(words[1:]))
    from fairseq_bso.commands import main as rest

    return rest(words)


if __name__ == "__main__":
    sys.exit(main())
