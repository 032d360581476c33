"""The parentheses language, from generated text to a finding: text, language model, states, best units.

    python user_dir_examples/interpretation/parentheses.py --out parentheses
    fairseq-bso view parentheses/states

The language (Strobelt et al. 2016) has the words `( ) 0 1 2 3 4`. A number is always the depth of nesting at its
position, so a model must count to predict it. The depth of each word is a metadata track of the states.
"""

import argparse
import random
from pathlib import Path

from finding import add_options, exit_after, report
from recipe import language_model_states, whole_folder, write_lines

DEEPEST = 4
SENTENCES = {"train": 4000, "valid": 200, "test": 400}
# The relative frequency of each kind of word, where it is possible.
NUMBER, OPEN, CLOSE = 6, 2, 2


def sentence(generator, length):
    """A sentence of at least `length` words that ends with all parentheses closed, and the depth after each word."""
    words, depths, depth = [], [], 0
    while len(words) < length or depth > 0:
        opens = OPEN if depth < DEEPEST and len(words) < length else 0
        closes = CLOSE if depth > 0 else 0
        kind = generator.choices(["number", "(", ")"], [NUMBER, opens, closes])[0]
        depth += {"(": 1, ")": -1}.get(kind, 0)
        words.append(str(depth) if kind == "number" else kind)
        depths.append(depth)
    return words, depths


def write_texts(folder, seed):
    """Writes `train.txt`, `train.depth` and so on, with a depth for each word."""
    for name, count in SENTENCES.items():
        generator = random.Random(f"{seed} {name}")
        made = [sentence(generator, generator.randint(5, 40)) for _ in range(count)]
        write_lines(folder / f"{name}.txt", (words for words, _ in made))
        write_lines(folder / f"{name}.depth", (map(str, depths) for _, depths in made))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write; must not exist")
    parser.add_argument("--updates", type=int, default=1500, metavar="N", help="number of training updates (1500)")
    parser.add_argument("--units", type=int, default=50, metavar="N", help="units of the model's one layer (50)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="random seed of text and training (1)")
    add_options(parser)
    arguments = parser.parse_args(argv)
    with whole_folder(arguments.out) as part:
        write_texts(part, arguments.seed)
        language_model_states(part, arguments.updates, arguments.units, 16, 32, 0.01, arguments.seed, "depth")
    report(arguments.out / "states", "decoder", "depth", None, arguments)
    print(f"Look at it: fairseq-bso view {arguments.out / 'states'}")


if __name__ == "__main__":
    exit_after(main)
