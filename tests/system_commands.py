"""Runs the real ``fairseq-*`` commands on a small corpus: word ordering of number words."""

import contextlib
import importlib
import io
import logging
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

from endurance.number_words import write_corpus
from forked import server

from fairseq_bso.checkpoints import load_state

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "fairseq_bso"
TINY = "--arch bso_lstm_tiny --optimizer adam --lr 0.01 --batch-size 16 --required-batch-size-multiple 1".split()
QUIET = ["--cpu", "--num-workers", "0", "--log-format", "simple", "--log-interval", "1"]


ENVIRONMENT = (("OMP_NUM_THREADS", "1"), ("PYTHONWARNINGS", "ignore"))


def call(entry, *arguments, text=""):
    """Runs a command by its entry point ("module:function") in its own process; returns it with its output as text."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(text)
        process = server(ENVIRONMENT).Process(target=_in_the_fork, args=(entry, [*map(str, arguments)], streams))
        process.start()
        process.join()
        written = [path.read_text(encoding="utf-8") for path in streams[1:]]
    return CompletedProcess([entry, *map(str, arguments)], process.exitcode, *written)


def _in_the_fork(entry, arguments, streams):
    for number, path in enumerate(streams):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.stdin = open(0, closefd=False)  # multiprocessing replaced it
    multiprocessing.set_start_method("fork", force=True)  # otherwise data loaders would start their own server
    os.chdir(ROOT)
    module, _, function = entry.partition(":")
    sys.argv = [module.replace("fairseq_cli.", "fairseq-"), *arguments]
    # Importing fairseq sets up logging, for its commands that do not do so themselves.
    logging.root.handlers.clear()
    command = importlib.import_module(module)
    if not logging.root.handlers:
        logging.basicConfig()
    try:
        sys.exit(getattr(command, function)())
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())  # an interpreter calls it, and multiprocessing does not
        sys.exit(1)


def run_in_a_fork(command, stdout, check=False, **_):
    """Stands for `subprocess.run` of a program of fairseq or of this package: each interpreter would import fairseq.

    Args:
        command: `fairseq-NAME ...` or `python -m MODULE ...`.
        stdout: the open file for all output.
        check: whether to raise CalledProcessError if the program fails.
    """
    command = [str(word) for word in command]
    if "-m" in command:
        module, *words = command[command.index("-m") + 1 :]
    else:
        module, words = Path(command[0]).name.replace("fairseq-", "fairseq_cli."), command[1:]
    done = call("bso_runtime.cli:main" if module == "bso_runtime" else f"{module}:cli_main", *words)
    stdout.write((done.stdout + done.stderr).encode())
    if check:
        done.check_returncode()
    return done


SUBPROCESS_WITH_FORKS = SimpleNamespace(**{**vars(subprocess), "run": run_in_a_fork})
"""`subprocess` for one module under test; other modules keep theirs"""


def experiment(name, *arguments):
    """Calls `main` of a program of scripts/experiments here: its stages are forks of the server that all tests share.

    As a command, it would start a server of its own, which imports fairseq again."""
    status, output, errors = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            importlib.import_module(name).main([str(word) for word in arguments])
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
            errors.write("" if isinstance(ended.code, int) else str(ended.code))
    done = CompletedProcess([name, *map(str, arguments)], status, output.getvalue(), errors.getvalue())
    assert status == 0, done.stdout + done.stderr
    return done


def run(command, *arguments, check=True, text=""):
    """Runs a fairseq command: ``train``, ``generate`` ..."""
    done = call(f"fairseq_cli.{command}:cli_main", *arguments, text=text)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def train(data, save_dir, *arguments, check=True):
    """Runs ``fairseq-train`` with a tiny model."""
    return run("train", data, "--user-dir", PLUGIN, *TINY, *QUIET, "--save-dir", save_dir, *arguments, check=check)


def train_with_two_workers(data, save_dir, meeting, *arguments, train=train):
    """Runs both workers of one training, which meet at a new file; ``train`` runs one of them."""
    group = ["--distributed-world-size", 2, "--distributed-backend", "gloo", "--distributed-no-spawn", "--device-id", 0]
    group += ["--distributed-init-method", f"file://{meeting}", "--ddp-backend", "legacy_ddp"]
    with ThreadPoolExecutor(2) as workers:
        list(workers.map(lambda rank: train(data, save_dir, *arguments, *group, "--distributed-rank", rank), range(2)))


def generated(data, checkpoint, *options):
    """The best hypotheses of fairseq-generate, in the order of the sentences."""
    common = ["--user-dir", PLUGIN, "--task", "bso_translation", "--path", checkpoint, "--cpu"]
    output = run("generate", data, *common, *options).stdout
    found = {int(number): text for number, text in re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.M)}
    return [found[number] for number in sorted(found)]


def preprocess(folder, *arguments, **subsets):
    """Writes and binarizes a corpus; returns the folder of the binary data."""
    for seed, (name, sentences) in enumerate(subsets.items()):
        write_corpus(folder, name, sentences, seed)
    prefixes = [word for name in subsets for word in (f"--{name}pref", folder / name)]
    languages = ["--source-lang", "src", "--target-lang", "tgt", "--destdir", folder / "data-bin"]
    run("preprocess", *languages, *prefixes, *(arguments or ["--joined-dictionary"]))
    return folder / "data-bin"


def parameters(checkpoint):
    """The saved parameters."""
    return load_state(str(checkpoint))["model"]


UNUSED = re.compile(r"_float_tensor$|encoder\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$")
"""What fairseq 0.12.2 keeps beside the parameters of a Transformer: a buffer that nothing initializes, and copies of
matrices for torch's fast path, which are made anew when a checkpoint is loaded."""


def difference(one, other):
    """The largest difference between two checkpoints in any parameter that a model computes with."""
    one, other = parameters(one), parameters(other)
    assert one.keys() == other.keys() and len(one) > 5
    used = [name for name in one if not UNUSED.search(name)]
    return max((one[name] - other[name]).abs().max().item() for name in used)


def last_line(done):
    """The last line on stderr of a failed command, after a check that there is no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done.stderr.strip().splitlines()[-1]


BSO = ["--criterion", "beam_search_optimization", "--scorer", "unnormalized"]
