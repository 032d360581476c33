"""Make a word ordering data set: the source is the shuffled words of a sentence; the target is the sentence.

    python scripts/experiments/prepare_word_ordering.py --train train.txt.xz --valid dev.txt.xz --test test.txt.xz \\
        --out ordering --lowercase --min-len 2 --max-len 25 --min-count 3

Input: one tokenised sentence per line, plain, `.gz` or `.xz`. Output: `train.shuffled`, `train.ordered`, the same for
`valid` and `test`, and `dict.txt`, the vocabulary in fairseq's format. Then the stock program binarises it:

    fairseq-preprocess --source-lang shuffled --target-lang ordered --joined-dictionary --srcdict ordering/dict.txt \\
        --trainpref ordering/train --validpref ordering/valid --testpref ordering/test --destdir ordering/data-bin

A word that occurs fewer than `--min-count` times in the training sentences is not in `dict.txt`. fairseq-preprocess
makes `<unk>` of it, in the source and in the target. (Its `--thresholdsrc` would count every word twice with a joined
dictionary, once in each language.) The text files keep the word itself, for scoring.

The order of the source is random, and a small model memorises such random orders. `--train-copies` therefore shuffles
each training sentence several times.

The same seed and input give the same output. The shuffle of a sentence depends on the seed, its set and its line
number only. It stays the same when the length filter or the number of sentences changes.
"""

import gzip
import lzma
import random
import zlib
from collections import Counter
from pathlib import Path

from command_line import exit_after, make_parser
from outputs import whole_folder

SOURCE, TARGET = "shuffled", "ordered"
OPENERS = {".gz": gzip.open, ".xz": lzma.open}

# fairseq's dictionary always holds these symbols; the last three would end or pad a sentence in its middle.
UNKNOWN = "<unk>"
FORBIDDEN = ("<s>", "</s>", "<pad>")


def read_sentences(path, lowercase=False):
    """The sentences of a file, each a list of words; lines end at a line feed only."""
    try:
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            text = file.read().decode("utf-8")
    except UnicodeDecodeError as problem:
        raise SystemExit(
            f"{path}: not UTF-8 text ({problem.reason} at byte {problem.start}); convert it first"
        ) from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as problem:
        raise SystemExit(f"{path}: cannot be read ({problem}); give a text file, plain, .gz or .xz") from None
    sentences = [line.split() for line in (text.lower() if lowercase else text).split("\n")]
    for number, words in enumerate(sentences, start=1):
        for word in FORBIDDEN:
            if word in words:
                raise SystemExit(
                    f"{path}, line {number}: holds {word}, which fairseq keeps for itself; remove it"
                ) from None
    return sentences


def select(sentences, min_len, max_len, most, seed):
    """Line numbers (from 0) of the sentences to keep: of allowed length, at most `most`, drawn at random, in order."""
    kept = [number for number, words in enumerate(sentences) if min_len <= len(words) <= max_len]
    if most is not None and most < len(kept):
        kept = sorted(random.Random(f"{seed} select").sample(kept, most))
    return kept


def shuffle(words, seed):
    """The words in a random order; every order is equally likely, the original one too."""
    words = list(words)
    random.Random(seed).shuffle(words)
    return words


def count_words(sentences, min_count):
    """(word, count) of every word that occurs at least `min_count` times, the most frequent first."""
    counts = Counter(word for words in sentences for word in words)
    kept = [(word, count) for word, count in counts.items() if count >= min_count and word != UNKNOWN]
    return sorted(kept, key=lambda pair: (-pair[1], pair[0]))


def write_lines(path, lines):
    path.write_bytes("".join(line + "\n" for line in lines).encode("utf-8"))


def prepare_set(name, path, most, longest, copies, arguments):
    """Reads, selects and shuffles one set `copies` times; returns its ordered and shuffled sentences."""
    sentences = read_sentences(path, arguments.lowercase)
    kept = select(sentences, arguments.min_len, longest, most, f"{arguments.seed} {name}")
    if not kept:
        raise SystemExit(
            f"{path}: none of its sentences has {arguments.min_len} to {longest} words; "
            "change --min-len, --max-len or --max-train-len"
        )
    ordered = [sentences[number] for number in kept]
    seeds = [f"{arguments.seed} {name} {number}" for number in kept]
    seeds += [f"{seed} {copy}" for copy in range(1, copies) for seed in seeds]
    ordered *= copies
    return ordered, [shuffle(words, seed) for words, seed in zip(ordered, seeds)]


def report(name, ordered, vocabulary):
    total = sum(map(len, ordered))
    unknown = sum(word not in vocabulary for words in ordered for word in words)
    print(f"{name}: {len(ordered)} sentences, {total} words, {100 * unknown / total:.1f}% unknown", flush=True)


def parse_arguments(argv=None):
    parser = make_parser(__doc__)
    for name in ("train", "valid", "test"):
        parser.add_argument(f"--{name}", required=True, type=Path, metavar="FILE", help=f"the {name} sentences")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write; must not exist")
    parser.add_argument("--lowercase", action="store_true", help="lowercase all words")
    parser.add_argument("--min-len", type=int, default=1, metavar="N", help="fewest words of a sentence (1)")
    parser.add_argument("--max-len", type=int, default=100, metavar="N", help="most words of a sentence (100)")
    parser.add_argument(
        "--max-train-len", type=int, metavar="N", help="most words of a training or valid sentence (as --max-len)"
    )
    parser.add_argument("--min-count", type=int, default=1, metavar="N", help="rarer training words are unknown (1)")
    parser.add_argument("--max-train", type=int, metavar="N", help="most training sentences (all)")
    parser.add_argument("--max-heldout", type=int, metavar="N", help="most valid and most test sentences (all)")
    parser.add_argument(
        "--train-copies", type=int, default=1, metavar="N", help="how often to shuffle each training sentence (1)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of shuffle and selection (1)")
    arguments = parser.parse_args(argv)
    for name in ("min_len", "max_len", "max_train_len", "min_count", "max_train", "max_heldout", "train_copies"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: must be 1 or more")
    if arguments.max_train_len is None:
        arguments.max_train_len = arguments.max_len
    for name in ("max_len", "max_train_len"):
        if arguments.min_len > getattr(arguments, name):
            option = "--" + name.replace("_", "-")
            parser.error(
                f"--min-len {arguments.min_len} is above {option} {getattr(arguments, name)}: no sentence would be left"
            )
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    with whole_folder(arguments.out) as partial:
        words = write_sets(arguments, partial)
    print(f"wrote {arguments.out} with a vocabulary of {words} words")


def write_sets(arguments, folder):
    """Writes the three sets and the dictionary. Returns the number of words in the dictionary."""
    sets = {}
    for name in ("train", "valid", "test"):
        most = arguments.max_train if name == "train" else arguments.max_heldout
        copies = arguments.train_copies if name == "train" else 1
        longest = arguments.max_len if name == "test" else arguments.max_train_len
        sets[name] = prepare_set(name, getattr(arguments, name), most, longest, copies, arguments)
    ordered = sets["train"][0]
    dictionary = count_words(ordered[: len(ordered) // arguments.train_copies], arguments.min_count)
    if not dictionary:
        raise SystemExit(f"--min-count {arguments.min_count}: no training word is so frequent; lower it")

    vocabulary = {word for word, _ in dictionary}
    for name, (ordered, shuffled) in sets.items():
        write_lines(folder / f"{name}.{TARGET}", map(" ".join, ordered))
        write_lines(folder / f"{name}.{SOURCE}", map(" ".join, shuffled))
        report(name, ordered, vocabulary)
    write_lines(folder / "dict.txt", (f"{word} {count}" for word, count in dictionary))
    return len(dictionary)


if __name__ == "__main__":
    exit_after(main)
