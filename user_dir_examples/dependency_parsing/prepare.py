"""Make a parsing data set: the source is the words of a sentence, the target is its arc-standard sequence.

    python user_dir_examples/dependency_parsing/prepare.py --train train.conllu --valid dev.conllu --test test.conllu \\
        --out parsing --lowercase --digits --min-count 2

Input: CoNLL-U with trees, plain, `.gz` or `.xz`. OUT then holds:

    train.words, train.actions   one sentence per line; the same for valid and test
    dict.words.txt               the source vocabulary in fairseq's format
    dict.actions.txt             the target vocabulary: the same words under the same ids, then the reduce symbols
    settings.json                the normalisation of words; parse.py does the same
    data-bin/                    the input of `fairseq-train` and `fairseq-generate`

OUT appears last, and only when complete. Multiword tokens and empty nodes are left out. A word that occurs fewer than
`--min-count` times in the training sentences is in neither vocabulary and becomes `<unk>` on both sides.

Some training and validation sentences are left out, and counted: those without a sequence, and those longer than
`--max-len`. A sentence has no sequence without words, without exactly one root, or if its tree is not projective. A
validation sentence is also left out if it needs a reduce symbol that training does not have. The test set keeps every
sentence with one root. A non-projective tree there is made projective by lifting the offending arcs, and its sequence
is the target.
"""

import argparse
import json
import os
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from fairseq_commands import SOURCE, TARGET, run_fairseq
from symbols import is_reduce, word_symbol
from transitions import projectivise, to_actions
from treebank import LOCKS, Tree, exit_after, read_treebank, write_text

NO_TREE = "without exactly one root (no tree)"
NOT_PROJECTIVE = "not projective (arc-standard sequences cannot build such a tree)"


def sequences(sentence, arguments):
    """The source symbols and the target symbols of a sentence; the latter are None if the tree is not projective."""
    settings = {"lowercase": arguments.lowercase, "digits": arguments.digits}
    words = [word_symbol(form, **settings) for form in sentence.forms]
    tree = target_tree(sentence, arguments.universal)
    return words, to_actions(words, tree)


def target_tree(sentence, universal):
    heads, relations = sentence.tree()
    return Tree(heads, [relation.split(":")[0] or relation for relation in relations] if universal else relations)


def select(path, arguments, known=None):
    """The (source, target) pairs of a training or validation set, and a Counter of the reasons for omissions.

    `known` are the reduce symbols that a target may hold; None allows all.
    """
    pairs, left_out = [], Counter()
    for sentence in read_treebank(path).sentences:
        if not len(sentence):
            left_out["without a word"] += 1
            continue
        if arguments.max_len is not None and len(sentence) > arguments.max_len:
            left_out[f"longer than --max-len {arguments.max_len}"] += 1
            continue
        if sentence.roots() != 1:
            left_out[NO_TREE] += 1
            continue
        words, actions = sequences(sentence, arguments)
        if actions is None:
            left_out[NOT_PROJECTIVE] += 1
        elif known is not None and not known.issuperset(filter(is_reduce, actions)):
            left_out["with a reduce symbol that training does not have"] += 1
        else:
            pairs.append((words, actions))
    if not pairs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "it is empty"
        raise SystemExit(f"{path}: no sentence is left ({reasons}); give a treebank with projective trees")
    return pairs, left_out


def select_test(path, arguments):
    """The pairs of the test set, for every sentence that has a word, and a Counter of special cases."""
    pairs, special = [], Counter()
    for sentence in read_treebank(path).nonempty:
        if sentence.roots() != 1:
            special[f"left out, {NO_TREE}"] += 1
            continue
        words, actions = sequences(sentence, arguments)
        if actions is None:
            special["kept, not projective (the target is the lifted tree)"] += 1
            tree = target_tree(sentence, arguments.universal)
            actions = to_actions(words, Tree(projectivise(tree.heads), tree.relations))
        pairs.append((words, actions))
    if not pairs:
        raise SystemExit(f"{path}: holds no sentence; give a CoNLL-U file with words")
    return pairs, special


def count_symbols(sequences, min_count=1):
    """(symbol, count) of every symbol that occurs at least `min_count` times, the most frequent first."""
    counts = Counter(symbol for symbols in sequences for symbol in symbols)
    kept = [(symbol, count) for symbol, count in counts.items() if count >= min_count]
    return sorted(kept, key=lambda pair: (-pair[1], pair[0]))


def report(name, pairs, counts, title, vocabulary):
    total = sum(len(words) for words, _ in pairs)
    unknown = sum(word not in vocabulary for words, _ in pairs for word in words)
    print(f"{name}: {len(pairs)} sentences, {total} words, {100 * unknown / total:.1f}% unknown", flush=True)
    for reason, count in sorted(counts.items()):
        print(f"{name}: {title}{reason}: {count}", flush=True)


def write_lines(path, lines):
    write_text(path, "".join(line + "\n" for line in lines))


def binarise(folder, workers):
    """Runs the stock fairseq-preprocess on the text in `folder`."""
    arguments = ["--source-lang", SOURCE, "--target-lang", TARGET, "--workers", workers]
    arguments += ["--srcdict", folder / f"dict.{SOURCE}.txt", "--tgtdict", folder / f"dict.{TARGET}.txt"]
    for name in ("train", "valid", "test"):
        arguments += [f"--{name}pref", folder / name]
    run_fairseq("preprocess", [*arguments, "--destdir", folder / "data-bin"], folder / "preprocess.log")


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    for name in ("train", "valid", "test"):
        parser.add_argument(f"--{name}", required=True, type=Path, metavar="FILE", help=f"the {name} treebank")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write; must not exist")
    parser.add_argument("--lowercase", action="store_true", help="lowercase all words")
    parser.add_argument("--digits", action="store_true", help="every digit of a word becomes #")
    parser.add_argument("--min-count", type=int, default=1, metavar="N", help="rarer training words are unknown (1)")
    parser.add_argument("--max-len", type=int, metavar="N", help="most words of a train or valid sentence (no limit)")
    parser.add_argument("--universal", action="store_true", help="drop subtypes of relations: nsubj:pass is nsubj")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes of fairseq-preprocess (1)")
    arguments = parser.parse_args(argv)
    for name in ("min_count", "max_len", "workers"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: must be 1 or more")
    return arguments


@contextmanager
def whole_folder(out):
    """Yields an empty temporary folder, which is renamed at the end, or removed after an exception.

    Raises SystemExit if the folder exists, or if another process writes it.
    """
    try:
        with LOCKS["alone"](out.with_name(out.name + ".lock")):
            if out.exists():
                raise SystemExit(f"--out {out}: is there already; remove it or name another folder")
            partial = out.with_name(out.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a killed process
            partial.mkdir()
            try:
                yield partial
                os.replace(partial, out)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
    except LOCKS["InUse"]:
        raise SystemExit(
            f"--out {out}: another process writes it now; wait until it has ended, or name another folder"
        ) from None


def main(argv=None):
    arguments = parse_arguments(argv)
    with whole_folder(arguments.out) as folder:
        words, reduces = prepare(arguments, folder)
    print(f"wrote {arguments.out} with a vocabulary of {words} words and {reduces} reduce symbols")


def prepare(arguments, folder):
    """Writes all files into a folder. Returns the numbers of words and of reduce symbols."""
    train, train_left = select(arguments.train, arguments)
    words = count_symbols((words for words, _ in train), arguments.min_count)
    if not words:
        raise SystemExit(f"--min-count {arguments.min_count}: no training word is so frequent; lower it")
    reduces = count_symbols(filter(is_reduce, actions) for _, actions in train)
    valid, valid_left = select(arguments.valid, arguments, {symbol for symbol, _ in reduces})
    test, test_special = select_test(arguments.test, arguments)

    vocabulary = {word for word, _ in words}
    for name, pairs, counts, title in (
        ("train", train, train_left, "left out, "),
        ("valid", valid, valid_left, "left out, "),
        ("test", test, test_special, ""),
    ):
        write_lines(folder / f"{name}.{SOURCE}", (" ".join(source) for source, _ in pairs))
        write_lines(folder / f"{name}.{TARGET}", (" ".join(target) for _, target in pairs))
        report(name, pairs, counts, title, vocabulary)
    for language, symbols in ((SOURCE, words), (TARGET, words + reduces)):
        write_lines(folder / f"dict.{language}.txt", (f"{symbol} {count}" for symbol, count in symbols))
    settings = {"lowercase": arguments.lowercase, "digits": arguments.digits}
    write_text(folder / "settings.json", json.dumps(settings) + "\n")
    binarise(folder, arguments.workers)
    return len(words), len(reduces)


if __name__ == "__main__":
    exit_after(main)
