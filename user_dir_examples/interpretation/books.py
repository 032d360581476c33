"""A word language model on children's books, and the unit that predicts direct speech.

    python user_dir_examples/interpretation/books.py --out books
    fairseq-bso view books/states

One paragraph is one sample. The metadata track `speech` says for each word whether it is between quotation marks.
"""

import argparse
import lzma
import re
from pathlib import Path

from finding import add_options, exit_after, report
from recipe import language_model_states, whole_folder, write_lines

BOOKS = Path(__file__).resolve().parent / "data"
BODY = re.compile(r"\*\*\* START OF.*?\*\*\*(.*)\*\*\* END OF", re.DOTALL)
WORD = re.compile(r"\w+(?:['’]\w+)*|[“”\"]|[^\w\s]")
LONGEST = 150  # the most words of a paragraph


def paragraphs(path):
    """The paragraphs of a book, each a list of lowercased words; quotation marks are “ and ”."""
    with lzma.open(path) as file:
        text = file.read().decode("utf-8-sig").replace("\r\n", "\n")
    found = BODY.search(text)
    if not found:
        raise SystemExit(f"{path}: has no lines *** START OF and *** END OF, which mark the book itself")
    made = [WORD.findall(block.lower()) for block in re.split(r"\n\s*\n", found[1])]
    return [curled(words) for words in made if 3 <= len(words) <= LONGEST]


def curled(words):
    """Replaces straight quotation marks, which open and close in turn, by “ and ”."""
    inside, made = False, []
    for word in words:
        if word == '"':
            word = "”" if inside else "“"
        if word in "“”":
            inside = word == "“"
        made.append(word)
    return made


def speech(words):
    """For each word, `inside` from “ to the word before ”, else `outside`."""
    inside, made = False, []
    for word in words:
        inside = (inside or word == "“") and word != "”"
        made.append("inside" if inside else "outside")
    return made


def write_texts(folder):
    """Writes three texts: 1 in 20 paragraphs of a book is for test, 1 in 20 for validation, the rest for training."""
    texts = {"train": [], "valid": [], "test": []}
    for path in sorted(BOOKS.glob("*.xz")):
        for number, words in enumerate(paragraphs(path)):
            texts[{0: "test", 1: "valid"}.get(number % 20, "train")].append(words)
    for name, made in texts.items():
        write_lines(folder / f"{name}.txt", made)
        print(f"{name}: {len(made):,} paragraphs, {sum(map(len, made)):,} words", flush=True)
    write_lines(folder / "test.speech", map(speech, texts["test"]))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write; must not exist")
    parser.add_argument("--updates", type=int, default=2000, metavar="N", help="number of training updates (2000)")
    parser.add_argument("--units", type=int, default=128, metavar="N", help="units of the model's one layer (128)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="random seed of training (1)")
    add_options(parser)
    arguments = parser.parse_args(argv)
    with whole_folder(arguments.out) as part:
        write_texts(part)
        units, updates = arguments.units, arguments.updates
        language_model_states(part, updates, units, units, 16, 0.003, arguments.seed, "speech", threshold=3)
    report(arguments.out / "states", "decoder", "speech", "inside", arguments)
    print(f"Look at it: fairseq-bso view {arguments.out / 'states'}")


if __name__ == "__main__":
    exit_after(main)
