"""The parentheses language, from nothing to captured states: text, language model, states, finding.

    python user_dir_examples/interpretation/parentheses.py --out parentheses
    fairseq-bso view parentheses/states

The language (Strobelt et al. 2016) has the words `( ) 0 1 2 3 4`. A number is always the depth of nesting at which it
stands, so a model that is to predict it must keep count. The depth of each word is a metadata track of the states.
"""

import argparse
import random
import shutil
import subprocess
import sys
from pathlib import Path

from finding import add_options, report

PLUGIN = Path(__file__).resolve().parents[2] / "fairseq_bso"
DEEPEST = 4
SENTENCES = {"train": 4000, "valid": 200, "test": 400}
# How likely each kind of word is, where it is possible.
NUMBER, OPEN, CLOSE = 6, 2, 2


def sentence(generator, length):
    """At least `length` words, to where all parentheses are closed, and the depth after each word."""
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
    """`train.txt` and so on, and `test.depth` with a depth for each word."""
    for name, count in SENTENCES.items():
        generator = random.Random(f"{seed} {name}")
        made = [sentence(generator, generator.randint(5, 40)) for _ in range(count)]
        write_lines(folder / f"{name}.txt", (words for words, _ in made))
        write_lines(folder / f"{name}.depth", (map(str, depths) for _, depths in made))


def write_lines(path, lines):
    path.write_text("".join(" ".join(words) + "\n" for words in lines), encoding="utf-8")


def run(title, log, module, *arguments):
    """Runs a program with its output in a file; ends with the end of that if the program fails."""
    print(f"{title} (log: {log})", flush=True)
    with open(log, "wb") as out:
        code = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", module, *map(str, arguments)], stdout=out, stderr=subprocess.STDOUT
        ).returncode
    if code:
        raise SystemExit("\n".join(log.read_text(errors="replace").rstrip().split("\n")[-15:]))


def make_states(part, arguments):
    """Text -> language model -> states of the test text, all in the folder `part`."""
    texts = [f"--{name}pref={part / name}.txt" for name in SENTENCES]
    text = ["--only-source", "--destdir", part / "bin", *texts]
    run("1/3 text", part / "preprocess.log", "fairseq_cli.preprocess", *text)
    units, updates = arguments.units, arguments.updates
    training = [part / "bin", "--user-dir", PLUGIN, "--save-dir", part, "--cpu", "--task", "language_modeling"]
    training += ["--arch", "lstm_lm", "--decoder-layers", 1, "--decoder-embed-dim", 16, "--dropout", 0]
    training += ["--decoder-hidden-size", units, "--decoder-out-embed-dim", units]
    training += ["--sample-break-mode", "eos", "--tokens-per-sample", 200, "--batch-size", 32, "--optimizer", "adam"]
    training += ["--lr", 0.01, "--lr-scheduler", "polynomial_decay", "--total-num-update", updates]
    training += ["--max-update", updates, "--clip-norm", 1, "--no-epoch-checkpoints", "--num-workers", 0]
    training += ["--seed", arguments.seed, "--log-format", "simple"]
    run(f"2/3 language model, {updates} updates", part / "train.log", "fairseq_cli.train", *training)
    track = f"depth={part / 'test.depth'}"
    states = [part / "checkpoint_best.pt", part / "bin", "--out", part / "states", "--track", track, "--cpu"]
    run("3/3 states of the test text", part / "states.log", "bso_runtime", "states", *states)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write; must not exist")
    parser.add_argument("--updates", type=int, default=1500, metavar="N", help="of the training (1500)")
    parser.add_argument("--units", type=int, default=50, metavar="N", help="cells of the model's one layer (50)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of text and training (1)")
    add_options(parser)
    arguments = parser.parse_args(argv)
    if arguments.out.exists():
        raise SystemExit(f"--out {arguments.out}: is there already; remove it or name another folder")
    part = arguments.out.with_name(arguments.out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write_texts(part, arguments.seed)
    make_states(part, arguments)
    part.rename(arguments.out)
    report(arguments.out / "states", "decoder", "depth", None, arguments)
    print(f"Look at it: fairseq-bso view {arguments.out / 'states'}")


if __name__ == "__main__":
    main()
