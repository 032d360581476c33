"""The encoder of a model that writes dependency trees, and the unit that predicts prepositional phrases.

    python user_dir_examples/interpretation/phrases.py --out phrases
    fairseq-bso view phrases/states

The model reads a sentence of UD English EWT and writes the arc-standard sequence of its tree (see dependency_parsing).
Its encoder reads from left to right. The metadata track `phrase` labels the source words according to the treebank. It
is `prepositional` from a preposition up to the word before its noun. A track of the same name labels the target
symbols: `phrase-word` or `other-word`, and for an arc `phrase-arc` or `other-arc`, by its dependent. The model never
sees these tracks.
"""

import argparse
import sys
from pathlib import Path

from finding import add_options, exit_after, report
from recipe import run, training_options, whole_folder, write_lines

EXAMPLES = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(EXAMPLES / "dependency_parsing"))

import prepare  # noqa: E402
from fairseq_commands import TARGET  # noqa: E402
from symbols import LEFT, is_reduce  # noqa: E402
from treebank import read_treebank  # noqa: E402

TREEBANK = EXAMPLES / "dependency_parsing" / "data"
SETS = {"train": "train", "valid": "dev", "test": "test"}


def prepositional(tree):
    """For each word, `prepositional` from a preposition (`case`) up to the word before its noun, else `other`."""
    labels = ["other"] * len(tree.heads)
    for place, (head, relation) in enumerate(zip(tree.heads, tree.relations)):
        if relation == "case" and place < head - 1:
            labels[place : head - 1] = ["prepositional"] * (head - 1 - place)
    return labels


def of_target(symbols, labels):
    """For each target symbol, `phrase` or `other`, then `-word` or `-arc`.

    Args:
        symbols: a sequence that builds a tree.
        labels: of `prepositional`, for each word.
    """
    left, stack, made = iter(labels), [], []
    for symbol in symbols:
        if is_reduce(symbol):
            label = stack.pop(-2 if symbol.startswith(LEFT) else -1)
        else:
            label = next(left)
            stack.append(label)
        place = "phrase" if label == "prepositional" else "other"
        made.append(f"{place}-arc" if is_reduce(symbol) else f"{place}-word")
    return made


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write; must not exist")
    parser.add_argument("--updates", type=int, default=1000, metavar="N", help="number of training updates (1000)")
    parser.add_argument("--units", type=int, default=128, metavar="N", help="units of encoder and decoder (128)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="random seed of training (1)")
    add_options(parser)
    arguments = parser.parse_args(argv)
    with whole_folder(arguments.out) as part:
        make_states(part, arguments)
    report(arguments.out / "states", "encoder", "phrase", "prepositional", arguments)
    print(f"Look at it: fairseq-bso view {arguments.out / 'states'}")


def make_states(part, arguments):
    """Prepares the treebank, trains the model and captures the states of the test sentences in the folder `part`."""
    files = {name: TREEBANK / f"en_ewt-ud-{tag}.conllu.xz" for name, tag in SETS.items()}
    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    prepare.main(
        [*words, "--out", str(part / "text"), "--lowercase", "--digits", "--min-count", "3", "--max-len", "25"]
    )
    trees = [sentence.tree() for sentence in read_treebank(files["test"]).nonempty]
    labels = [prepositional(tree) for tree in trees]
    targets = (part / "text" / f"test.{TARGET}").read_text(encoding="utf-8").splitlines()
    write_lines(part / "test.phrase", labels)
    write_lines(part / "test.target-phrase", map(of_target, map(str.split, targets), labels))
    data, units = part / "text" / "data-bin", arguments.units
    training = [data, "--save-dir", part, *training_options(arguments.updates, 64, 0.003, arguments.seed)]
    training += ["--task", "translation", "--arch", "bso_lstm", "--criterion", "cross_entropy"]
    for side in ("encoder", "decoder"):
        training += [f"--{side}-embed-dim", units, f"--{side}-hidden-size", units]
    run(f"1/2 model, {arguments.updates} updates", part / "train.log", "fairseq_cli.train", *training)
    states = [part / "checkpoint_best.pt", data, "--out", part / "states", "--cpu"]
    states += ["--track", f"phrase={part / 'test.phrase'}"]
    states += ["--decoder-track", f"phrase={part / 'test.target-phrase'}"]
    run("2/2 states of the test sentences", part / "states.log", "bso_runtime", "states", *states)


if __name__ == "__main__":
    exit_after(main)
