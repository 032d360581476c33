"""Runs the real ``fairseq-*`` commands on a small corpus: number words to be put in order."""

import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "fairseq_bso"
WORDS = "zero one two three four five six seven eight nine".split()
TINY = "--arch bso_lstm_tiny --optimizer adam --lr 0.01 --batch-size 16 --required-batch-size-multiple 1".split()
QUIET = ["--cpu", "--num-workers", "0", "--log-format", "simple", "--log-interval", "1"]


def run(command, *arguments, check=True):
    """A fairseq command (``train``, ``generate`` ...) in a process of its own; returns it with its output as text."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    line = [sys.executable, "-m", f"fairseq_cli.{command}", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def train(data, save_dir, *arguments, check=True):
    """``fairseq-train`` of a tiny model."""
    return run("train", data, "--user-dir", PLUGIN, *TINY, *QUIET, "--save-dir", save_dir, *arguments, check=check)


def write_corpus(folder, name, sentences, seed):
    """Ordered number words as targets, shuffled ones as sources."""
    generator = random.Random(seed)
    with open(folder / f"{name}.src", "w") as source, open(folder / f"{name}.tgt", "w") as target:
        for _ in range(sentences):
            numbers = sorted(generator.sample(range(10), generator.randint(1, 6)))
            target.write(" ".join(WORDS[number] for number in numbers) + "\n")
            generator.shuffle(numbers)
            source.write(" ".join(WORDS[number] for number in numbers) + "\n")


def preprocess(folder, *arguments, **subsets):
    """Writes and binarizes a corpus; returns the folder of the binary data."""
    for seed, (name, sentences) in enumerate(subsets.items()):
        write_corpus(folder, name, sentences, seed)
    prefixes = [word for name in subsets for word in (f"--{name}pref", folder / name)]
    languages = ["--source-lang", "src", "--target-lang", "tgt", "--destdir", folder / "data-bin"]
    run("preprocess", *languages, *prefixes, *(arguments or ["--joined-dictionary"]))
    return folder / "data-bin"


BSO = ["--criterion", "beam_search_optimization", "--scorer", "unnormalized"]
