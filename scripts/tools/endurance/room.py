"""Campaign `room`: a full disk, a folder that may not be written or vanishes, and two processes on one output."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

from . import outputs
from .kills import finish
from .material import program
from .outputs import COMMANDS, OUTPUT, files_of, possible
from .programs import problem_of, run, start

DISK = possible(("distill-1", "memory", "states", "export", "export-onnx", "prune"))
TWO = possible(("distill-1", "distill-2", "states", "export", "export-onnx", "prune"))
CHECKED = {
    "disk": "a disk that fills up: one line; only parts that are kept are left; with room the same result",
    "translate": "a disk that fills up under `translate --output`: one line, nothing left",
    "index": "a disk that fills up under the index of `view`: one line, nothing left",
    "read-only": "a folder that may not be written: one line, nothing written",
    "vanished": "the output's folder is removed while the command runs: one line or success; then the same result",
    "two-alike": "two processes with the same options: each ends with success or one line, and the result is right",
    "two-different": "two processes with different options: the result is the one or the other, never a mixture",
}
QUICK = {"disk": 1, "index": 1, "read-only": 1, "two-different": 1}
REMOVE = "remove the folder"  # what a command advises where an output that it had finished was damaged
KEPT = ("parts", "memory", "run")  # folders whose content a second run goes on from


def case(kind, chance, material, folder):
    """One case. Returns (failure or None, what was done)."""
    return CASES[kind](chance, material, folder)


def _disk(chance, material, folder):
    name = chance.choice(DISK)
    command, (expected, facts) = COMMANDS[name], outputs.expected(material, name)
    disk, room = folder / "disk", _room(chance, facts["bytes"])
    done = run(replace(command.program(material, disk / OUTPUT), disk=(disk, room)))
    about = f"{name}, {room:,} bytes ({done.disk})" + ", which left room for all" * (done.status == 0)
    left = Path(f"{disk}.left")
    if done.status != 0 and name != "memory":  # fairseq's own writing of checkpoints ends with a traceback
        problem = problem_of(done) or _remains(left)
        if problem:
            return problem, about
    return finish(command, material, expected, left / OUTPUT), about


def _room(chance, size):
    return 4096 * max(1, chance.randint(1, 5 * size // 4 + 8192) // 4096)


def _remains(left):
    """The files of a failed command that no later run continues."""
    found = [name for name in files_of(left) if not set(Path(name).parts) & set(KEPT)]
    found = [name for name in found if Path(name).name != "manifest.json"]
    found += [name for name in files_of(left) if name.endswith((".partial", ".part", ".tmp")) and "run" not in name]
    return f"left on the full disk: {sorted(set(found))}" if found else None


def _translate(chance, material, folder):
    disk, text = folder / "disk", material.text().read_text() * 60
    (folder / "text").write_text(text)
    words = ("translate", material.exported(), "--input", folder / "text", "--output", disk / "output", "--beam", 1)
    one = program("bso_runtime.cli:main", *words, "--batch-size", 64)
    done = run(replace(one, disk=(disk, 4096 * chance.randint(1, 3))))
    if done.status == 0:
        return None, "it had room"
    return problem_of(done) or _remains(Path(f"{disk}.left")), done.disk


def _index(chance, material, folder):
    disk = folder / "disk"
    disk.mkdir()
    files = files_of(material.capture()).values()
    sizes = [path.stat().st_size for path in files if not path.name.startswith("index.")]
    need = sum(-(-size // 4096) * 4096 for size in sizes) + 65536
    one = program("endurance.capture_on_disk:main", material.capture(), disk / "capture")
    done = run(replace(one, disk=(disk, need + 4096 * chance.randint(-2, 5))))
    left = [name for name in files_of(f"{disk}.left") if ".part" in name or ".partial" in name]
    remains = f"left: {left}" if left else None
    if done.status == 0:
        return remains, "it had room"
    if done.status == 9:
        return None, "there was no room for the capture"
    return problem_of(done) or remains, done.disk


def _read_only(chance, material, folder):
    name = chance.choice(TWO)
    command, locked = COMMANDS[name], folder / "locked"
    (locked / OUTPUT).mkdir(parents=True)
    inside = chance.random() < 0.5 and name != "states"
    target = locked / OUTPUT / "new" if inside else locked / "new"
    for path in (locked / OUTPUT, locked):
        path.chmod(0o555)
    done = run(replace(command.program(material, target), no_privileges=True))
    for path in (locked, locked / OUTPUT):
        path.chmod(0o755)
    if files_of(locked):
        return f"written to a read-only folder: {sorted(files_of(locked))}", name
    return ("success in a read-only folder" if done.status == 0 else problem_of(done)), name


def _vanished(chance, material, folder):
    name = chance.choice(TWO)
    command, (expected, facts) = COMMANDS[name], outputs.expected(material, name)
    number = chance.randint(1, max(1, facts["operations"]))
    outer = folder / "outer"
    outer.mkdir()
    done = run(replace(command.program(material, outer / OUTPUT), vanish=(number, str(outer))))
    about = f"{name}, before file operation {number} of {facts['operations']}"
    if done.status != 0 and problem_of(done):
        return problem_of(done), about
    again = finish(command, material, expected, outer / OUTPUT)
    if again and REMOVE in again and done.status == 0:  # found out, not silent
        shutil.rmtree(outer / OUTPUT)
        again = finish(command, material, expected, outer / OUTPUT)
    return again, about


def _two(chance, material, folder, variants):
    name = chance.choice(TWO)
    command, path = COMMANDS[name], folder / OUTPUT
    results = [outputs.expected(material, name, variant)[0] for variant in variants]
    running = []
    for variant in variants:
        running.append(start(command.program(material, path, variant)))
        time.sleep(chance.choice((0, 0, chance.uniform(0, 0.5))))
    both = [one.wait() for one in running]
    about = f"{name}, exit statuses {[done.status for done in both]}"
    for done in both:
        if done.status != 0 and problem_of(done):
            return problem_of(done), about
    if all(done.status for done in both):
        return f"both refused: {both[0].errors[-300:]} / {both[1].errors[-300:]}", about
    fitting = [index for index, one in enumerate(results) if command.differs(one, path) is None]
    if not fitting:
        return f"the result is of neither: {command.differs(results[0], path)}", about
    wrong = len(set(variants)) > 1 and all(done.status == 0 for done in both) and name in ("states", "distill-1")
    return ("both report success, but one result is gone" if wrong else None), about


CASES = {
    "disk": _disk,
    "translate": _translate,
    "index": _index,
    "read-only": _read_only,
    "vanished": _vanished,
    "two-alike": lambda *given: _two(*given, (0, 0)),
    "two-different": lambda *given: _two(*given, (0, 1)),
}
