"""Shared parts of the recipes of this folder: running programs, and a folder that is complete or absent."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

PLUGIN = Path(__file__).resolve().parents[2] / "fairseq_bso"
sys.path.insert(0, str(PLUGIN.parent))

import bso_runtime.cli  # noqa: E402

bso_runtime.cli.without_fairseq = True  # fairseq runs in processes of its own

from fairseq_bso.files import AtomicFolder  # noqa: E402


def run(title, log, module, *arguments):
    """Runs a program with its output in a log file. Raises SystemExit with the end of the log if the program fails."""
    print(f"{title} (log: {log.name})", flush=True)
    command = [sys.executable, "-W", "ignore", "-m", module, *map(str, arguments)]
    with open(log, "wb") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").rstrip().split("\n")[-15:])
        raise SystemExit(f"{title} ended with {code}; the end of {log}:\n{tail}")


def write_lines(path, lines):
    """Writes one line for each list of words."""
    path.write_text("".join(" ".join(words) + "\n" for words in lines), encoding="utf-8")


@contextmanager
def whole_folder(out):
    """Yields a temporary folder beside `out` and renames it to `out` at the end.

    After an exception nothing is left of it. One process at a time writes `out`."""
    folder = AtomicFolder(out, "--out")
    with folder.alone():
        if out.exists():
            raise SystemExit(f"--out {out}: is there already; remove it or name another folder")
        with folder.writing() as part:
            yield part


def training_options(updates, batch, rate, seed):
    """Options of fairseq-train that all recipes use."""
    options = ["--user-dir", PLUGIN, "--cpu", "--num-workers", 0, "--no-epoch-checkpoints", "--log-format", "simple"]
    options += ["--optimizer", "adam", "--lr", rate, "--lr-scheduler", "polynomial_decay", "--clip-norm", 1]
    return [*options, "--total-num-update", updates, "--max-update", updates, "--batch-size", batch, "--seed", seed]


def language_model_states(part, updates, units, embedding, batch, rate, seed, track, threshold=0):
    """Trains fairseq's lstm_lm of one layer on `train.txt`, one line a sample, and captures its states over `test.txt`.

    Args:
        part: folder with `train.txt`, `valid.txt` and `test.txt`, to which everything is written.
        updates: number of training updates.
        units: number of units of the layer.
        embedding: dimension of the word embeddings.
        batch: sentences in a batch.
        rate: learning rate.
        seed: random seed of training.
        track: name of the metadata track; its values are in `test.NAME`.
        threshold: words with fewer occurrences are unknown.
    """
    texts = [f"--{name}pref={part / name}.txt" for name in ("train", "valid", "test")]
    text = ["--only-source", "--thresholdsrc", threshold, "--destdir", part / "bin", *texts]
    run("1/3 text", part / "preprocess.log", "fairseq_cli.preprocess", *text)
    training = [part / "bin", "--save-dir", part, *training_options(updates, batch, rate, seed)]
    training += ["--task", "language_modeling", "--sample-break-mode", "eos", "--tokens-per-sample", 200]
    training += ["--arch", "lstm_lm", "--decoder-layers", 1, "--decoder-embed-dim", embedding, "--dropout", 0]
    training += ["--decoder-hidden-size", units, "--decoder-out-embed-dim", units]
    run(f"2/3 language model, {updates} updates", part / "train.log", "fairseq_cli.train", *training)
    states = [part / "checkpoint_best.pt", part / "bin", "--out", part / "states", "--cpu"]
    states += ["--track", f"{track}={part / ('test.' + track)}"]
    run("3/3 states of the test text", part / "states.log", "bso_runtime", "states", *states)
