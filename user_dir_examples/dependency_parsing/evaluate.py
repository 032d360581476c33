"""Compare predicted trees with gold ones: unlabelled and labelled attachment score (UAS, LAS).

    python user_dir_examples/dependency_parsing/evaluate.py gold.conllu predicted.conllu

UAS is the percentage of words that have the right head. LAS is the percentage of words that have the right head and
relation. Both are given over all words, and without punctuation: the words whose UPOS in the gold file is PUNCT.
Relations are compared without their subtypes, so `nsubj:pass` equals `nsubj`. That is the convention of the CoNLL 2018
shared task (which counts punctuation). `--exact-labels` compares them with their subtypes.

Both files must hold the same words. Multiword tokens and empty nodes do not count.
"""

import argparse
import json
from itertools import zip_longest
from pathlib import Path

from treebank import UPOS, exit_after, read_treebank, short

PUNCTUATION = "PUNCT"


def check_words(gold, predicted, gold_path, predicted_path):
    """Raises SystemExit unless both sentences exist and have the same words."""
    if gold is None or predicted is None:
        there, path = (gold, predicted_path) if predicted is None else (predicted, gold_path)
        raise SystemExit(f"{path}: has no counterpart of {there.place}; both files must hold the same sentences")
    for number, (one, other) in enumerate(zip_longest(gold.forms, predicted.forms, fillvalue="nothing"), start=1):
        if one != other:
            raise SystemExit(
                f"{predicted.place}: word {number} is {short(other)}, but {short(one)} in {gold.place}; both files "
                "must hold the same words"
            )


def evaluate(gold_path, predicted_path, exact_labels=False):
    """The scores of two CoNLL-U files: a dict of `all` and `no_punct`, each a dict of `uas`, `las` and `words`."""
    gold_sentences, predicted_sentences = (read_treebank(path).sentences for path in (gold_path, predicted_path))
    counts = {"all": [0, 0, 0], "no_punct": [0, 0, 0]}  # words, right heads, right heads with right relations
    for gold, predicted in zip_longest(gold_sentences, predicted_sentences):
        check_words(gold, predicted, gold_path, predicted_path)
        for tag, one, other in zip(gold.column(UPOS), zip(*gold.tree()), zip(*predicted.tree())):
            head = one[0] == other[0]
            both = head and label(one[1], exact_labels) == label(other[1], exact_labels)
            for name in counts if tag != PUNCTUATION else ("all",):
                counts[name] = [count + more for count, more in zip(counts[name], (1, head, both))]
    return {
        name: {"uas": percent(heads, words), "las": percent(both, words), "words": words}
        for name, (words, heads, both) in counts.items()
    }


def label(relation, exact):
    return relation if exact else relation.split(":")[0]


def percent(part, whole):
    """A percentage; it is 0 if `whole` is 0."""
    return 100 * part / whole if whole else 0.0


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("gold", type=Path, metavar="GOLD", help="CoNLL-U file with the right trees")
    parser.add_argument("predicted", type=Path, metavar="PREDICTED", help="CoNLL-U file with predicted trees")
    parser.add_argument("--exact-labels", action="store_true", help="compare relations with their subtypes")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse_arguments(argv)
    scores = evaluate(arguments.gold, arguments.predicted, arguments.exact_labels)
    if arguments.json:
        print(json.dumps(scores))
        return
    print("                        UAS     LAS    words")
    for name, title in (("all", "all words"), ("no_punct", "without punctuation")):
        row = scores[name]
        print(f"{title:20} {row['uas']:6.2f}  {row['las']:6.2f}  {row['words']:7}")


if __name__ == "__main__":
    exit_after(main)
