"""Put the output of fairseq-generate back into CoNLL-U.

    python user_dir_examples/dependency_parsing/to_conllu.py gen/generate-test.txt test.conllu predicted.conllu

The input is the output of fairseq-generate (`--results-path`, or its output redirected to a file) for the sentences of
a CoNLL-U file. The script writes that file with the predicted HEAD and DEPREL, and `_` in DEPS. Empty nodes, which DEPS
alone connects, are left out. Comments, multiword tokens and the other columns stay as they are. HEAD and DEPREL of the
input are ignored.

The words of a hypothesis may be `<unk>`; only the order of shifts and reduces counts. A hypothesis that is not a
well-formed derivation ends the program. With `--repair` (for decoding without a constraint) it is counted and repaired.
"""

import argparse
import re
from pathlib import Path

from transitions import to_tree
from treebank import counted, exit_after, read_treebank, write_text

RECORD = re.compile(r"H-([0-9]{1,9})\t[^\t]*\t(.*)", re.DOTALL)


def read_hypotheses(path):
    """The best hypothesis of each sentence, as a dict from sentence number (from 0) to symbols."""
    try:
        lines = Path(path).read_bytes().decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise SystemExit(f"{path}: cannot be read as UTF-8 text ({problem})") from None
    hypotheses = {}
    for found in filter(None, map(RECORD.fullmatch, lines)):
        hypotheses.setdefault(int(found[1]), found[2].split())
    if not hypotheses:
        raise SystemExit(f"{path}: holds no hypothesis (lines that begin with H-); did fairseq-generate finish?")
    return hypotheses


def check_numbers(path, hypotheses, treebank):
    """Raises SystemExit unless there is a hypothesis for each sentence that has a word, and no other."""
    expected = range(len(treebank.nonempty))
    missing = [number for number in expected if number not in hypotheses]
    if missing or len(hypotheses) != len(expected):
        sentence = f" (the first without one is sentence {treebank.nonempty[missing[0]].number})" if missing else ""
        raise SystemExit(
            f"{path}: hypotheses for {counted(len(hypotheses), 'sentence')}, but {treebank.path} has "
            f"{len(expected)}{sentence}; were they made from this file, and with --required-batch-size-multiple 1? "
            "(fairseq-generate leaves out the longest sentences of a set whose size 8 does not divide)"
        )


def build_trees(path, treebank, repair=False):
    """The predicted trees of the sentences that have a word, and the number of repaired trees."""
    hypotheses = read_hypotheses(path)
    check_numbers(path, hypotheses, treebank)
    trees, repaired = [], 0
    for number, sentence in enumerate(treebank.nonempty):
        tree, faults = to_tree(hypotheses[number], len(sentence))
        if faults and not repair:
            raise SystemExit(
                f"{path}, H-{number}: no well-formed derivation of {sentence.place}: {faults[0]}; decode with "
                "--task bso_translation --successors arc_standard, or give --repair"
            )
        repaired += bool(faults)
        trees.append(tree)
    return trees, repaired


def convert(generated, treebank, out, repair=False):
    """Writes `out`: the treebank with the trees of fairseq-generate's output; reports the number of repaired trees."""
    trees, repaired = build_trees(generated, treebank, repair)
    write_text(out, treebank.text(trees))
    if repair:
        print(f"repaired {repaired} of {counted(len(trees), 'sentence')}")
    return trees


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("generated", type=Path, metavar="GENERATED", help="what fairseq-generate wrote")
    parser.add_argument("input", type=Path, metavar="INPUT", help="the CoNLL-U file that was decoded")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the CoNLL-U file to write")
    parser.add_argument(
        "--repair", action="store_true", help="repair hypotheses that are no derivation, and count them"
    )
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse_arguments(argv)
    trees = convert(arguments.generated, read_treebank(arguments.input), arguments.output, arguments.repair)
    print(f"wrote {arguments.output}, {counted(len(trees), 'sentence')}")


if __name__ == "__main__":
    exit_after(main)
