#!/usr/bin/env python3
"""Measures what the index and the cards of a capture cost beside the capture itself: processor seconds of the commands.

An lstm_lm of one layer, trained for one update, reads random words. `fairseq-bso states --no-index` captures its hidden
and cell states; then the index is written. Processor seconds hardly depend on what else the machine does.
"""

import argparse
import os
import random
import resource
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
exit_after = runpy.run_path(str(ROOT / "bso_runtime" / "endings.py"))["exit_after"]
INDEX = "import sys; from pathlib import Path; from fairseq_bso.interpret.folder.index import build_index; "
LENGTH = 25  # words in a sentence
PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, 'MiB at its peak')"


def write_text(path, words, vocabulary, seed):
    """Writes sentences of random words."""
    chance = random.Random(seed)
    lines = [" ".join(f"w{chance.randrange(vocabulary)}" for _ in range(LENGTH)) for _ in range(words // LENGTH)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def run(*command):
    """Runs a command; returns its processor seconds and the end of its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(one) for one in command], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout.strip().split("\n")[-1]


def prepare(folder, options):
    """Writes a data folder and the checkpoint of one update."""
    write_text(folder / "train.txt", 20 * options.vocabulary, options.vocabulary, 1)
    write_text(folder / "test.txt", options.steps, options.vocabulary, 2)
    program = (sys.executable, "-W", "ignore", "-m")
    pair = ("--trainpref", folder / "train.txt", "--validpref", folder / "train.txt")
    run(*program, "fairseq_cli.preprocess", "--only-source", *pair, "--destdir", folder / "bin")
    sizes = [
        item
        for part in ("embed-dim", "hidden-size", "out-embed-dim")
        for item in (f"--decoder-{part}", options.units // 2)
    ]
    training = ["--user-dir", ROOT / "fairseq_bso", "--task", "language_modeling", "--arch", "lstm_lm", "--cpu"]
    training += ["--optimizer", "adam", "--max-update", 1, "--batch-size", 4, "--sample-break-mode", "eos"]
    training += ["--save-dir", folder, "--disable-validation"]
    run(*program, "fairseq_cli.train", folder / "bin", *training, *sizes, "--decoder-layers", 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--units", type=int, default=500, help="of hidden and cell state together")
    parser.add_argument("--vocabulary", type=int, default=10_000)
    options = parser.parse_args()
    print(f"{options.steps:,} steps of {options.units} units, {options.vocabulary:,} words, one thread", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options)
        start = run(sys.executable, "-c", INDEX)[0]
        program = [sys.executable, "-W", "ignore", "-c", "from fairseq_bso.cli import main; main()", "states"]
        given = [folder / "checkpoint_last.pt", folder / "bin", "--text", folder / "test.txt"]
        given += ["--sample-break-mode", "eos", "--cpu", "--no-index"]
        captured = run(*program, *given, "--out", folder / "states")[0] - start
        print(f"capture: {captured:.1f} processor seconds, without {start:.1f} to import the package", flush=True)
        side = folder / "states" / "decoder"
        seconds, peak = run(sys.executable, "-c", f"{INDEX}build_index(Path(sys.argv[1])); {PEAK}", side)
        index = seconds - start
        print(f"index and cards: {index:.1f} processor seconds, {index / captured:.2f} captures; {peak}")


if __name__ == "__main__":
    exit_after(main)
