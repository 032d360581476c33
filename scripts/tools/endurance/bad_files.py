"""Campaign `bad-files`: damaged input gives one clear line or the right answer, in bounded memory and time."""

import shutil
from dataclasses import replace

from . import mutations, outputs
from .material import CLI, PARSING, program
from .outputs import files_of
from .programs import MEGABYTE, problem_of, run

TRANSLATE = "bso_runtime.cli:main"
MOST_MEMORY, MOST_SECONDS = 512, 10  # megabytes, seconds of processor time
REQUESTS = 100
CHECKED = {
    "exported": "a damaged exported file, half of them with a checksum that fits: `translate`",
    "onnx": "a damaged ONNX file, half of them with a checksum that fits: `translate`",
    "captures": "a damaged file of a capture: `view` opens it and answers every kind of request",
    "hdf5": "an HDF5 file of a capture with other shapes, types, values, links or names: the same",
    "caches": "a damaged file of a finished or unfinished distilled cache: `distill`",
    "memory": "a damaged file of a teacher memory: reading it",
    "vectors": "a damaged file of word vectors: reading it",
    "dictionaries": "a damaged dictionary: `export --data`",
    "checkpoints": "a damaged checkpoint: `export`",
    "conllu": "a damaged CoNLL-U file: `evaluate.py`, and reading it as `prepare.py` does",
    "requests": f"random requests to `view`, {REQUESTS} in a case",
}
QUICK = dict.fromkeys(("exported", "onnx", "captures", "hdf5", "vectors", "dictionaries", "conllu", "requests"), 1)


def case(kind, chance, material, folder):
    """One case. Returns (failure or None, what was done[, how many checks it holds])."""
    if kind == "requests":
        return _requests(chance, material, folder)
    program, about, check = PREPARED[kind](chance, material, folder)
    done = run(limited(program))
    return judge(done, lambda: check(done)), about


def limited(program):
    """The program with limits of memory and time above those that it is judged by, to protect the machine."""
    return replace(program, processor_limit=6 * MOST_SECONDS, memory_limit=16 * 1024 * MEGABYTE)


def judge(done, check):
    """The fault of a program's end on bad input, or None. `check()` returns the fault of a success."""
    if done.grown > MOST_MEMORY:
        return f"{done.grown:.0f} MB above the start"
    if done.processor > MOST_SECONDS:
        return f"{done.processor:.1f} s of processor time"
    return check() if done.status == 0 else problem_of(done)


def _translated(material, output):
    """A check of `translate`: the output has a line for each line of the input, and is there only after success."""

    def check(done):
        lines = len(material.text().read_text().splitlines())
        found = output.read_bytes().count(b"\n") if output.exists() else -1
        return None if found == lines else f"{found} lines of output, not {lines}"

    return check


def _exported(chance, material, folder):
    content = material.exported(chance.choice(("float32", "int8"))).read_bytes()
    ways = (mutations.damaged, mutations.resealed_model, mutations.resealed_model, mutations.bomb)
    content, about = chance.choices(ways, (6, 3, 3, 1))[0](content, chance)
    (folder / "model").write_bytes(content)
    return _translate(material, folder), about, _translated(material, folder / "output")


def _translate(material, folder):
    words = (folder / "model", "--input", material.text(), "--output", folder / "output", "--beam", 2)
    return program(TRANSLATE, "translate", *words)


def _onnx(chance, material, folder):
    from bso_runtime import onnx_network

    for ending in onnx_network.ENDINGS:
        shutil.copy(f"{material.exported('onnx')}{ending}", folder)
    path = folder / f"model{chance.choice(onnx_network.ENDINGS)}"
    content, about = mutations.damaged(path.read_bytes(), chance)
    if chance.random() < 0.5 and onnx_network.BEFORE_CHECKSUM in content:
        content, about = onnx_network.seal(content), f"resealed, {about}"
    path.write_bytes(content)
    return _translate(material, folder), f"{path.name}: {about}", _translated(material, folder / "output")


def _captures(chance, material, folder):
    shutil.copytree(material.capture(), folder / "capture")
    path = chance.choice(sorted(files_of(folder / "capture").values()))
    about = f"{path.parent.name}/{mutations.damage_file(path, chance)}"
    return _view(chance, folder), about, lambda done: None


def _view(chance, folder):
    return program("endurance.view_requests:main", folder / "capture", chance.randrange(2**30), 12)


def _hdf5(chance, material, folder):
    from .hdf5_damage import damage

    shutil.copytree(material.capture(), folder / "capture")
    path = chance.choice(sorted(folder.glob("capture/*/*.hdf5")))
    about = damage(path, chance)
    if chance.random() < 0.5:
        for index in folder.glob("capture/*/index.*"):
            index.unlink()
    return _view(chance, folder), f"{path.parent.name}/{path.name}: {about}", lambda done: None


def _caches(chance, material, folder):
    whole = chance.random() < 0.5
    shutil.copytree(material.cache() if whole else material.parts(), folder / "cache")
    about = mutations.damage_file(chance.choice(sorted(files_of(folder / "cache").values())), chance)

    def check(done):
        one, other = files_of(material.cache()), files_of(folder / "cache")
        names = [name for name in one if name != "manifest.json"]
        differing = [name for name in names if name not in other or other[name].read_bytes() != one[name].read_bytes()]
        return f"silently other content: {', '.join(differing)}" if differing else None

    return material.distill(folder / "cache"), about, check


def _memory(chance, material, folder):
    expected, _ = outputs.expected(material, "memory")
    shutil.copytree(expected / "memory", folder / "memory")
    about = mutations.damage_file(chance.choice(sorted(files_of(folder / "memory").values())), chance)
    return program("endurance.readers:memory", folder / "memory", material.checkpoint()), about, lambda done: None


def _vectors(chance, material, folder):
    content = material.vectors().read_bytes()
    content = chance.choice((content, content.split(b"\n", 1)[1], _binary(content)))
    content, about = mutations.damaged(content, chance)
    (folder / "vectors.vec").write_bytes(content)
    words = (folder / "vectors.vec", material.data() / "dict.src.txt")
    return program("endurance.readers:vectors", *words), about, lambda done: None


def _binary(content):
    """Vectors in word2vec's binary format."""
    import numpy

    first, *lines = content.splitlines()
    fields = [line.split() for line in lines]
    return first + b"\n" + b"".join(one[0] + b" " + numpy.array(one[1:], "<f4").tobytes() + b"\n" for one in fields)


def _dictionaries(chance, material, folder):
    for path in material.data().glob("dict.*.txt"):
        shutil.copy(path, folder)
    about = mutations.damage_file(chance.choice(sorted(folder.glob("dict.*.txt"))), chance)
    words = ("export", material.checkpoint(), folder / "model", "--data", folder)
    return program(CLI, *words), about, lambda done: _whole(material, folder)


def _whole(material, folder):
    """Whether an exported file can be read."""
    done = run(_translate(material, folder))
    return problem_of(done) if done.status else None


def _checkpoints(chance, material, folder):
    content, about = mutations.damaged(material.checkpoint().read_bytes(), chance)
    (folder / "checkpoint.pt").write_bytes(content)
    words = ("export", folder / "checkpoint.pt", folder / "model", "--data", material.data())
    return program(CLI, *words), about, lambda done: _whole(material, folder)


def _conllu(chance, material, folder):
    content, about = mutations.damaged(material.treebank().read_bytes(), chance)
    (folder / "bad.conllu").write_bytes(content)
    if chance.random() < 0.5:
        pair = [folder / "bad.conllu", material.treebank()]
        chance.shuffle(pair)
        return program(str(PARSING / "evaluate.py"), *pair), f"evaluate.py: {about}", lambda done: None
    return program("endurance.readers:treebank", folder / "bad.conllu"), f"prepare.py: {about}", lambda done: None


def _requests(chance, material, folder):
    (folder / "capture").symlink_to(material.capture())
    seed = chance.randrange(2**30)
    model = chance.choice(((), (material.checkpoint(), material.data())))
    done = run(limited(program("endurance.view_requests:main", folder / "capture", seed, REQUESTS, *model)))
    return judge(done, lambda: None) or (done.errors[-500:] if done.status else None), f"seed {seed}", REQUESTS


PREPARED = {
    "exported": _exported,
    "onnx": _onnx,
    "captures": _captures,
    "hdf5": _hdf5,
    "caches": _caches,
    "memory": _memory,
    "vectors": _vectors,
    "dictionaries": _dictionaries,
    "checkpoints": _checkpoints,
    "conllu": _conllu,
}
