"""The material of the campaigns: data, models, a capture, a cache and other files, made once and kept in a folder."""

import os
import random
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

from .number_words import WORDS, write_corpus
from .programs import PLUGIN, ROOT, Program, run, start

CLI = "fairseq_bso.cli:main"
TRAIN, PREPROCESS = "fairseq_cli.train:cli_main", "fairseq_cli.preprocess:cli_main"
QUIET = "--cpu --num-workers 0 --log-format simple --log-interval 1 --disable-validation".split()
TINY = "--arch bso_lstm_tiny --optimizer adam --lr 0.01 --batch-size 16 --required-batch-size-multiple 1".split()
PARSING = ROOT / "user_dir_examples" / "dependency_parsing"
BSO = ("--criterion", "beam_search_optimization", "--train-beam", 3)


class Material:
    """The folder with all of it. A method makes its part on the first call and returns its path.

    Args:
        folder: of the material.
        options: of the command line.
    """

    def __init__(self, folder, options):
        self.folder, self.options = Path(folder).resolve(), options

    def made(self, name, make):
        """The path of a part. `make(path)` makes it under another name, so that a killed run leaves no half of it."""
        path = self.folder / name
        if not path.exists():
            beside = self.folder / f"{name}.{os.getpid()}.making"
            beside.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(beside, ignore_errors=True)
            make(beside)
            beside.rename(path)
        return path

    def data(self):
        """Binary data of number words: 60 training, 12 validation and 12 test sentences."""
        return self.made("data", _write_data)

    def text(self):
        """The text of the test sentences."""
        return self.data() / "text" / "test.src"

    def checkpoint(self):
        """A model trained for two epochs."""
        return self.made("teacher", self._train_teacher) / "checkpoint_last.pt"

    def _train_teacher(self, folder):
        succeed(train(self.data(), folder, "--criterion", "cross_entropy", "--max-epoch", 2))

    def exported(self, kind="float32"):
        """An exported file: `float32`, `int8`, or the two graphs of `onnx`. Returns what `translate` takes."""
        options = ["--format", "onnx"] if kind == "onnx" else ["--dtype", kind]

        def make(folder):
            folder.mkdir()
            succeed(run(program(CLI, "export", self.checkpoint(), folder / "model", *options)))

        return self.made(f"exported-{kind}", make) / "model"

    def capture(self):
        """A capture of the test sentences, with its index."""
        return self.made("capture", lambda folder: succeed(run(self.states(folder))))

    def states(self, folder, *options):
        """The program that captures states into a folder."""
        return program(CLI, "states", self.checkpoint(), self.data(), "--out", folder, "--cpu", *options)

    def distill(self, folder, *options, entry="endurance.forked_workers:distill"):
        """The program that makes a distilled cache in a folder, in many small parts."""
        common = ("--teacher-path", self.checkpoint(), "--distill-cache", folder, "--cpu", "--distill-max-tokens", 20)
        return program(entry, "distill", self.data(), *common, *options)

    def cache(self):
        """A finished distilled cache."""
        return self.made("cache", lambda folder: succeed(run(self.distill(folder))))

    def parts(self):
        """A distilled cache that was killed before its last step."""
        return self.made("parts", self._write_parts)

    def _write_parts(self, folder):
        operations = succeed(run(self.distill(folder))).operations
        last = operations
        while not list(folder.glob("parts/*.npz")):
            shutil.rmtree(folder)
            last -= 4
            run(replace(self.distill(folder), kill_at=last))

    def treebank(self):
        """CoNLL-U text: the first 40 sentences of the example's development set."""
        return self.made("dev.conllu", _write_treebank)

    def vectors(self):
        """A file of word vectors with a header line."""
        return self.made("vectors.vec", _write_vectors)


def program(entry, *words, **options):
    """A Program of these words."""
    return Program(entry, tuple(words), **options)


def train(data, folder, *options, plugin=True, arch=TINY):
    """Runs `fairseq-train` with a tiny model."""
    return run(training(data, folder, *options, plugin=plugin, arch=arch))


def training(data, folder, *options, plugin=True, arch=TINY):
    """The program of such a training."""
    user_dir = ("--user-dir", PLUGIN) if plugin else ()
    return program(TRAIN, data, *user_dir, *arch, *QUIET, "--save-dir", folder, *options)


def succeed(done):
    """Raises RuntimeError if a program failed."""
    if done.status != 0:
        raise RuntimeError(f"the material cannot be made: {done.output[-2000:]}{done.errors[-3000:]}")
    return done


def workers(data, folder, count, *options):
    """Runs one training with several gloo workers. Returns how they ended."""
    meeting = folder.with_name(folder.name + ".meeting")
    group = ("--distributed-world-size", count, "--distributed-backend", "gloo", "--distributed-no-spawn")
    group += ("--device-id", 0, "--distributed-init-method", f"file://{meeting}", "--ddp-backend", "legacy_ddp")
    of_rank = partial(training, data, folder, *options, *group, "--distributed-rank")
    running = [start(of_rank(rank)) for rank in range(count)]
    return [one.wait() for one in running]


def _write_data(folder):
    text = folder / "text"
    text.mkdir(parents=True)
    sizes = {"train": 60, "valid": 12, "test": 12}
    for seed, (name, sentences) in enumerate(sizes.items()):
        write_corpus(text, name, sentences, seed)
    preprocess(folder, {name: text / name for name in sizes})


def preprocess(folder, prefixes):
    """Makes binary data in a folder. `prefixes` are {set: path of its text without the language}."""
    languages = ("--source-lang", "src", "--target-lang", "tgt", "--joined-dictionary", "--destdir", folder)
    sets = [word for name, path in prefixes.items() for word in (f"--{name}pref", path)]
    succeed(run(program(PREPROCESS, *languages, *sets)))


def _write_treebank(path):
    import lzma

    with lzma.open(PARSING / "data" / "en_ewt-ud-dev.conllu.xz", "rt", encoding="utf-8") as file:
        sentences = file.read().split("\n\n")[:40]
    path.write_text("\n\n".join(sentences) + "\n\n", encoding="utf-8")


def _write_vectors(path):
    generator = random.Random(1)
    lines = [f"{word} " + " ".join(f"{generator.uniform(-1, 1):.4f}" for _ in range(16)) for word in WORDS]
    path.write_text(f"{len(lines)} 16\n" + "\n".join(lines) + "\n", encoding="utf-8")
