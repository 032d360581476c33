"""Campaign `kills`: SIGKILL to a whole process group at a random moment, then the same command again, until it ends."""

import shutil
from dataclasses import replace

from . import outputs
from .outputs import COMMANDS, OUTPUT
from .programs import problem_of, run

CHECKED = {name: f"killed once or twice, then run again: {command.about}" for name, command in COMMANDS.items()}
QUICK = {"distill-2": 1, "train-prune": 1}
ATTEMPTS = 3


def case(kind, chance, material, folder):
    """One case. Returns (failure or None, what was done)."""
    command = COMMANDS[kind]
    expected, facts = outputs.expected(material, kind)
    path, about = folder / OUTPUT, []
    for _ in range(chance.choice((1, 1, 2))):
        program = command.program(material, path)
        about.append(_kill(program, facts, chance))
    return finish(command, material, expected, path), ", ".join(about)


def _kill(program, facts, chance):
    """Kills the program, half of the time before one of its file operations, which are the moments that matter."""
    if chance.random() < 0.5:
        number = chance.randint(1, max(1, facts["operations"]))
        run(replace(program, kill_at=number))
        return f"killed before file operation {number} of {facts['operations']}"
    seconds = chance.uniform(0, facts["seconds"])
    done = run(replace(program, kill_after=seconds))
    return f"killed after {seconds:.2f} s" if done.status < 0 else f"had ended before {seconds:.2f} s"


def finish(command, material, expected, path):
    """Runs a command undisturbed on what is there. Returns what is wrong with its result, or None."""
    for _ in range(ATTEMPTS):
        done = run(command.program(material, path))
        if done.status == 0 or outputs.says_it_exists(done):
            return command.differs(expected, path) or _later(command, material, expected, path)
        if command is not COMMANDS["train-stock"] or not _replace_half_checkpoint(path):
            break
    return f"does not go on: {problem_of(done) or done.errors[-600:]}"


def _later(command, material, expected, path):
    """The fault of a later training that takes the outputs of this one for complete, or None."""
    if command.later is None:
        return None
    shutil.rmtree(path / "run")
    done = run(command.program(material, path))
    return command.later(expected, path) if done.status == 0 else f"a later training fails: {problem_of(done)}"


def _replace_half_checkpoint(path):
    """Puts the newest whole checkpoint in the place of one that fairseq copied half, as a user would.

    Returns whether there was such a one."""
    last = path / "run" / "checkpoint_last.pt"
    others = sorted(path.glob("run/checkpoint_*_*.pt"), key=lambda one: int(one.stem.split("_")[2]))
    if not others or not last.exists() or last.read_bytes() == others[-1].read_bytes():
        return False
    last.write_bytes(others[-1].read_bytes())
    return True
