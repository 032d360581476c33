"""The commands that write something, and when two of their results are the same."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from .material import BSO, CLI, TINY, program, training
from .programs import message_of, run

OUTPUT = "out"  # the name of what a command writes, inside a folder of its own
EVERY = ("--save-interval-updates", 1, "--no-epoch-checkpoints", "--max-epoch", 2, "--keep-interval-updates", 2)
EXISTS = ("exists", "already", "--overwrite")


def possible(kinds):
    """Those kinds of cases, or names of commands, that the installed packages allow: exports in ONNX need `onnx`."""
    return [kind for kind in kinds if "onnx" not in kind or importlib.util.find_spec("onnx")]


@dataclass(frozen=True)
class Command:
    """A command that writes to a path."""

    program: Callable
    """(material, path, variant) -> Program; the variants write different results"""
    differs: Callable
    """(expected path, path) -> how the results differ, or None"""
    about: str = ""
    later: Optional[Callable] = None
    """(expected path, path) -> what is wrong after a second run into a new `run` folder, or None"""


def _train(*options, plugin=True, arch=TINY):
    def make(material, path, variant=0):
        extra = ("--seed", 1 + variant)
        return training(material.data(), path / "run", *options, *EVERY, *extra, plugin=plugin, arch=arch)

    return make


def _word(material, path, variant=0):
    teacher = ("--teacher-path", material.checkpoint(), "--teacher-top-k", 5 + variant)
    task = ("--task", "word_distillation", "--criterion", "word_distillation", "--grouped-shuffling")
    memory = ("--teacher-memory-folder", path / "memory")
    return training(material.data(), path / "run", *task, *teacher, *memory, *EVERY)


def _distill(*options):
    def make(material, path, variant=0):
        return material.distill(path, *options, "--distill-beam", 5 - variant)

    return make


def _states(material, path, variant=0):
    return material.states(path, *(["--gates"] if variant else []))


def _export(kind):
    def make(material, path, variant=0):
        options = ("--format", kind) if kind == "onnx" else ("--dtype", "int8" if variant else "float32")
        return program(CLI, "export", material.checkpoint(), path / "model", *options)

    return make


def _prune(material, path, variant=0):
    return program(CLI, "prune", material.checkpoint(), path / "pruned.pt", "--amount", 0.5 - 0.2 * variant)


def same_files(expected, path):
    """Compares all files of two folders byte by byte, and their names."""
    return _compared(expected, path, lambda name: _same_bytes)


def same_capture(expected, path):
    """Compares the arrays of two captures, and the names of their files."""
    kinds = {".hdf5": _same_hdf5, ".npz": _same_arrays, ".json": lambda *_: True}
    return _compared(expected, path, lambda name: kinds.get(Path(name).suffix, _same_bytes))


def _compared(expected, path, same_of):
    """How the files of two folders differ, or None; `same_of(name)` compares two files of that name."""
    one, other = files_of(expected), files_of(path)
    if one.keys() != other.keys():
        return f"the files are {sorted(other)}, not {sorted(one)}"
    differing = [name for name in one if not same_of(name)(one[name], other[name])]
    return f"other content: {', '.join(differing)}" if differing else None


def files_of(path):
    """{name: path} of all files below a folder."""
    path = Path(path)
    return {str(one.relative_to(path)): one for one in path.rglob("*") if one.is_file()}


def _same_bytes(one, other):
    return one.read_bytes() == other.read_bytes()


def _same_hdf5(one, other):
    """Whether all arrays of two files are the same."""
    import h5py
    import numpy

    with h5py.File(one, "r") as first, h5py.File(other, "r") as second:
        names = _datasets(first)
        same = (numpy.array_equal(first[name][()], second[name][()]) for name in names)
        return names == _datasets(second) and all(same)


def _datasets(file):
    """The names of all arrays of an HDF5 file, in order."""
    names = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    return names


def _same_arrays(one, other):
    """Whether two files of numpy are the same, apart from their description, which holds the time of the states."""
    import numpy

    with numpy.load(one) as first, numpy.load(other) as second:
        names = set(first.files) - {"description"}
        return first.files == second.files and all(first[name].tobytes() == second[name].tobytes() for name in names)


def same_training(expected, path, tolerance=0.0):
    """Compares the parameters of two last checkpoints, and the names of the files."""
    one, other = (load(folder / "run" / "checkpoint_last.pt") for folder in (Path(expected), Path(path)))
    updates = [state["optimizer_history"][-1]["num_updates"] for state in (one, other)]
    if updates[0] != updates[1]:
        return f"{updates[1]} updates, not {updates[0]}"
    worst = max(distance(one["model"][name], other["model"][name]) for name in one["model"])
    return f"parameters differ by {worst:.1e}" if worst > tolerance else None


def distance(one, other):
    """The largest difference of two tensors."""
    return (one.double() - other.double()).abs().max().item() if one.numel() else 0.0


def load(path):
    """A checkpoint."""
    from fairseq_bso.checkpoints import load_state

    return load_state(str(path))


def same_memory(expected, path):
    """Compares the trained students, and what the teacher said: rounding depends on the batch, so not to the bit.

    What was computed in memory alone is lost; the next training computes it again, so that fewer sentences are right.
    A training that was killed after its last checkpoint asks for none any more, so that none at all are right too.
    """
    one, other = (_remembered(Path(folder) / "memory") for folder in (expected, path))
    if not one:
        return "a training that was never stopped remembered no sentence"
    if not other.keys() <= one.keys():
        return f"{len(other)} sentences are remembered, {len(other.keys() - one.keys())} of them unknown"
    for name, (log_probs, _) in other.items():
        if abs(log_probs - one[name][0]).max() > 1e-5:
            return "the teacher's log-probabilities differ"
    left = [one for one in files_of(Path(path) / "memory") if ".partial" in one]
    return f"left in the memory: {left}" if left else same_training(expected, path, 1e-4)


def whole_memory(expected, path):
    """The same after a training from its first update on: it asks for every sentence, so that all are remembered."""
    one, other = (_remembered(Path(folder) / "memory") for folder in (expected, path))
    if one.keys() != other.keys():
        return f"{len(other)} sentences are remembered after a later training, not {len(one)}"
    return same_memory(expected, path)


def _remembered(folder):
    import numpy

    found = {}
    for path in sorted(folder.glob("*.npz")):
        with numpy.load(path) as arrays:
            ends = numpy.cumsum(arrays["lengths"])
            for name, length, end in zip(arrays["names"], arrays["lengths"], ends):
                rows = slice(end - length, end)
                found[name.tobytes()] = arrays["log_probs"][rows], arrays["words"][rows]
    return found


PRUNED = ("--task", "bso_translation", "--criterion", "cross_entropy", "--prune-amount", 0.8, "--prune-start", 1)
PRUNED += ("--prune-schedule", "gradual", "--prune-end", 6, "--prune-every", 1, "--dropout", 0.2, "--grouped-shuffling")
STOCK = "--arch lstm --optimizer adam --lr 0.01 --batch-size 16 --encoder-embed-dim 16 --decoder-embed-dim 16".split()
STOCK += "--encoder-hidden-size 16 --decoder-hidden-size 16 --decoder-out-embed-dim 16".split()
STOCK += ["--required-batch-size-multiple", "1"]

COMMANDS = {
    "distill-1": Command(_distill(), same_files, "a distilled cache, one worker: the same bytes"),
    "distill-2": Command(_distill("--workers", 2), same_files, "a distilled cache, two workers: the same bytes"),
    "memory": Command(
        _word,
        same_memory,
        "teacher memory: no other sentences, log-probabilities within 1e-5, the student within 1e-4; a later training "
        "with this memory: every sentence, the same student",
        whole_memory,
    ),
    "states": Command(_states, same_capture, "`states`: the same arrays"),
    "export": Command(_export("compact"), same_files, "`export`: the same bytes"),
    "export-onnx": Command(_export("onnx"), same_files, "`export --format onnx`: the same bytes"),
    "prune": Command(_prune, same_files, "`prune`: the same bytes"),
    "train-prune": Command(_train(*PRUNED), same_training, "training with pruning: the same parameters to the bit"),
    "train-bso": Command(
        _train("--task", "bso_translation", *BSO, "--dropout", 0.2, "--grouped-shuffling"),
        same_training,
        "training with BSO: the same parameters to the bit",
    ),
    "train-stock": Command(
        _train("--criterion", "cross_entropy", "--grouped-shuffling", plugin=False, arch=STOCK),
        same_training,
        "for comparison, fairseq's `lstm` without this package",
    ),
}


def expected(material, name, variant=0):
    """The folder with the result of a command that was never disturbed, and how it ended."""

    def make(folder):
        folder.mkdir(parents=True)
        done = run(COMMANDS[name].program(material, folder / OUTPUT, variant))
        if done.status != 0:
            raise RuntimeError(f"{name} fails undisturbed: {done.output[-1000:]}{done.errors[-2000:]}")
        facts = {"seconds": done.seconds, "operations": done.operations}
        facts["bytes"] = sum(path.stat().st_size for path in files_of(folder / OUTPUT).values())
        (folder / "facts.json").write_text(json.dumps(facts))

    folder = material.made(f"expected/{name}-{variant}", make)
    return folder / OUTPUT, json.loads((folder / "facts.json").read_text())


def says_it_exists(done):
    """Whether a command refused because its output is there already."""
    lines = message_of(done)
    return done.status == 1 and bool(lines) and any(word in lines[-1] for word in EXISTS)
