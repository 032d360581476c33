"""Prepare Tatoeba English-German for fairseq: fetch, divide, lowercase, split into pieces, binarise.

    python user_dir_examples/translation/prepare_tatoeba.py --out tatoeba               # fetches about 8 MB
    python user_dir_examples/translation/prepare_tatoeba.py --out tatoeba --from FILE   # deu.txt, plain, .xz or .zip

The file has 169,813 pairs, and up to dozens of German sentences for one English sentence. It is divided by the English
sentence, so that no test sentence occurs in the training text. In `valid` and `test`, only the first pair of an English
sentence is kept. OUT has the same layout as after prepare.py.

Data: www.manythings.org/anki and tatoeba.org, release of 2018-05-13, CC BY 2.0.
"""

import argparse
import hashlib
import lzma
import os
import random
import zipfile
import zlib
from pathlib import Path

from prepare import download, exit_after, only_writer, ready_folder, text_to_data, write_lines

COMMIT = "de48b7027f7318d77010a6e08ed928c10748c23d"
ADDRESS = f"https://raw.githubusercontent.com/rioyshky/translation/{COMMIT}/deu-eng.zip"
SHA256 = "a79c90b3cd3102decffa49cc00fb6f20023974f2ae5c4782515bebe133fcc07b"  # of deu.txt
SOURCE, TARGET = "en", "de"
HELD_OUT = 1000  # English sentences in each of `valid` and `test`
SEED = 1
# What the readers of .zip and .xz raise for damaged files.
UNREADABLE = (OSError, EOFError, KeyError, RuntimeError, ValueError, lzma.LZMAError, zipfile.BadZipFile, zlib.error)


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="deu.txt, deu.txt.xz or deu-eng.zip")
    parser.add_argument("--vocab", type=int, default=4000, metavar="N", help="pieces, both languages together (4000)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes of fairseq-preprocess (1)")
    return parser.parse_args(argv)


def fetched(raw):
    """Fetches the archive into `raw` unless it is there; returns its path."""
    path = raw / "deu-eng.zip"
    if not path.exists():
        print(f"fetching {path.name}", flush=True)
        partial = raw / (path.name + ".partial")
        download(ADDRESS, partial)
        os.replace(partial, path)
    return path


def read_pairs(path):
    """The (English, German) pairs of deu.txt, plain or packed, checked against its sha256."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                content = archive.read("deu.txt")
        else:
            content = path.read_bytes()
            content = lzma.decompress(content) if path.suffix == ".xz" else content
    except UNREADABLE as problem:
        raise SystemExit(f"{path}: {problem}; needed is deu.txt, deu.txt.xz or deu-eng.zip") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{path}: sha256 of its deu.txt is {found}, expected {SHA256}; fetch it again")
    return [line.split("\t") for line in content.decode("utf-8").rstrip("\n").split("\n")]


def divide(pairs):
    """The pairs of each set, lowercased and shuffled; an English sentence is in one set only."""
    groups = {}  # English sentence, lowercased: its German sentences, in the order of the file
    for english, german in pairs:
        groups.setdefault(" ".join(english.lower().split()), []).append(" ".join(german.lower().split()))
    shuffle = random.Random(SEED).shuffle
    names = sorted(groups)
    shuffle(names)
    held_out, rest = names[: 2 * HELD_OUT], names[2 * HELD_OUT :]
    train = [(english, german) for english in rest for german in dict.fromkeys(groups[english])]
    shuffle(train)
    first = [(english, groups[english][0]) for english in held_out]
    return {"train": train, "valid": first[:HELD_OUT], "test": first[HELD_OUT:]}


def main(argv=None):
    arguments = parse_arguments(argv)
    with only_writer(arguments.out):
        prepare(arguments)


def prepare(arguments):
    """Makes OUT."""
    out = arguments.out
    ready_folder(out)
    sets = divide(read_pairs(arguments.source or fetched(out / "raw")))
    (out / "text").mkdir(exist_ok=True)
    for name, pairs in sets.items():
        for language, lines in zip((SOURCE, TARGET), zip(*pairs)):
            write_lines(out / "text" / f"{name}.{language}", lines)
    text_to_data(out, (SOURCE, TARGET), sets, arguments.vocab, arguments.workers)


if __name__ == "__main__":
    exit_after(main)
