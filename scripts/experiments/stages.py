"""Run the stages of a long job one after another, each one once.

A stage is one command. Its output goes to `logs/NAME.log`. A stamp in `stamps/` records the command and the contents
of its inputs. A later run skips the stage if it ended well and both are unchanged. An interrupted stage begins again
or, if it can, resumes from its own files (a training from its last checkpoint). A stage with changed inputs is run
again. A stage with another command is refused: its outputs are not replaced. Two runs in one folder do each stage
once: the second waits for the first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from forked import Forked, script_of
from installation import ROOT, threads_environment
from outputs import write_whole
from progress import Progress, clock
from training_log import COMMAND, training_progress

LAST, BEST = "checkpoint_last.pt", "checkpoint_best.pt"  # BEST: the lowest validation loss, by the training's criterion
TAIL = 15  # lines of its log that a failed stage shows


class StageFailed(Exception):
    """A stage failed; the message names the stage and shows the end of its log."""


@dataclass
class Stage:
    """One command, its inputs and its outputs."""

    name: str  # names the log and the stamp
    title: str  # shown to the user
    command: list[str]
    inputs: list[Path]  # files, or folders of which every .py file counts
    outputs: list[Path]  # removed before the stage begins anew
    unit: str = "step"
    measure: Callable[[], tuple[int, int, str]] | None = None  # (done, total, note) from the stage's own files
    after: list[Stage] = field(default_factory=list)  # stages whose outputs this one reads
    resumes: bool = False  # whether the command resumes from the files of an interrupted run


def training_stage(name, title, command, inputs, folder, updates, out, after=()):
    """The stage of one training in the folder `out`. It resumes, and its log shows its progress."""
    stage = Stage(name, title, command, inputs, [folder], "update", after=list(after), resumes=True)
    stage.measure = lambda: training_progress(out / "logs" / f"{name}.log", updates)
    return stage


@contextmanager
def ends_with_one_message() -> Iterator[None]:
    """While open, a failed stage, Ctrl-C or SIGTERM ends the program without a traceback.

    SIGTERM acts as Ctrl-C: the running command is ended too, and the stamps are right."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except StageFailed as problem:
        raise SystemExit(str(problem)) from None
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """While open, Ctrl-C and SIGTERM wait. A thread other than the main one never gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    held = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in held}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def portable(command):
    """A command without the paths of the project and the installed programs, to compare it with one given elsewhere."""
    installed, *rest = command
    return [Path(installed).name, *(item.replace(str(ROOT), "") for item in rest)]


def digest(path):
    """sha256 over a file, or over the names and contents of all Python files of a folder."""
    total = hashlib.sha256()
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    for file in files:
        total.update(file.relative_to(path.parent).as_posix().encode())
        total.update(file.read_bytes())
    return total.hexdigest()


def holds_something(path):
    """Whether a path is a file, or a folder with a file somewhere in it."""
    return path.is_file() or any(inside.is_file() for inside in path.rglob("*"))


class Runner:
    """Runs stages in the folder `out`; the commands get `environment` in addition to their own.

    Raises StageFailed if the folder cannot be made."""

    def __init__(self, out, environment: dict[str, str], fresh=False, total=0):
        self.out, self.fresh, self.total = Path(out), fresh, total
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self.begun = 0
        for folder in ("logs", "stamps"):
            try:
                (self.out / folder).mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise StageFailed(f"the folder {self.out / folder} cannot be made: {problem.strerror}") from None

    def log(self, stage):
        """The file of a stage's output."""
        return self.out / "logs" / f"{stage.name}.log"

    def stamp(self, stage):
        """The record of the latest run of a stage; empty if there was none."""
        path = self.out / "stamps" / f"{stage.name}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def write_stamp(self, stage, **values):
        path = self.out / "stamps" / f"{stage.name}.json"
        write_whole(path, json.dumps(values, indent=1) + "\n")

    def key(self, stage):
        """The other dependencies of a result besides the command: the inputs, and the runs of the earlier stages."""
        before = [self.stamp(earlier).get("finished") for earlier in stage.after]
        parts = [[digest(path) for path in stage.inputs], before]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def run(self, stage):
        """Runs the stage unless it is done; returns the seconds of this run, or of the earlier one."""
        self.begun += 1
        print(f"[{self.begun}/{self.total}] {stage.title}", flush=True)
        with self.alone(stage):
            key, command, old = self.key(stage), portable(stage.command), {} if self.fresh else self.stamp(stage)
            self.refuse_another_command(stage, old.get("command", command), command)
            same, seconds = (old.get("key"), old.get("command")) == (key, command), 0.0
            if same and old.get("finished") and all(path.exists() for path in stage.outputs):
                print(f"  done before, in {clock(old['seconds'])}", flush=True)
                return old["seconds"]
            if same and stage.resumes and not old.get("finished"):
                seconds = old["seconds"]
            else:
                self.clear(stage)
            self.write_stamp(stage, key=key, command=command, seconds=seconds)
            started = time.monotonic()
            try:
                self.execute(stage)
            finally:
                seconds += time.monotonic() - started
                self.write_stamp(stage, key=key, command=command, seconds=seconds)
            self.write_stamp(stage, key=key, command=command, seconds=seconds, finished=time.time())
            return seconds

    @contextmanager
    def alone(self, stage):
        """While open, no other run does this stage."""
        with open(self.out / "stamps" / f"{stage.name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("  another run does this; waiting for it", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @staticmethod
    def refuse_another_command(stage, then, now):
        """Raises StageFailed if another command made the existing outputs: they may have taken hours.

        A command that failed early may have left an empty folder. It is no output."""
        there = [str(path) for path in stage.outputs if holds_something(path)]
        if then != now and there:
            raise StageFailed(
                f"{stage.title}: {', '.join(there)} would be lost; another command made it.\n"
                f"  then only: {shlex.join(item for item in then if item not in now) or '(another order)'}\n"
                f"  now only:  {shlex.join(item for item in now if item not in then) or '(another order)'}\n"
                "Give another --out, or remove what is there."
            )

    def clear(self, stage):
        """Removes the outputs and the log of a stage."""
        for path in [*stage.outputs, self.log(stage)]:
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()

    def execute(self, stage):
        """Runs the command with its output in the log, and shows progress. Raises StageFailed."""
        progress = Progress(stage.unit)
        with open(self.log(stage), "ab") as log:
            log.write(f"{COMMAND}{shlex.join(stage.command)}\n".encode())
            log.flush()
            process = None
            try:
                with interrupts_held():  # a program that begins while this one is stopped would have nobody to stop it
                    process = self.start(stage.command, log)
                self.watch(process, stage, progress)
            except BaseException:
                if process is not None:
                    process.terminate()
                    process.wait()
                raise
        if process.returncode:
            progress.close(f"failed after {clock(time.monotonic() - progress.started)}")
            lines = self.log(stage).read_text(encoding="utf-8", errors="replace").rstrip().split("\n")[-TAIL:]
            raise StageFailed(
                f"{stage.title}: ended with code {process.returncode}. The end of its log:\n\n"
                + "\n".join("    " + line for line in lines)
                + f"\n\nThe whole log, the command first: {self.log(stage)}"
            )
        progress.close(f"done in {clock(time.monotonic() - progress.started)}")

    def start(self, command, log):
        """Starts the command as a process, forked if it is a program of this Python."""
        script, rest = script_of(command)
        if script is None:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=self.environment)
        return Forked(script, rest, log.name, self.environment)

    @staticmethod
    def watch(process, stage, progress):
        """Shows progress until the process ends."""
        while True:
            try:
                process.wait(timeout=0.5)
                return
            except subprocess.TimeoutExpired:
                progress.show(*(stage.measure() if stage.measure else (0, 0)))


def run_all(stages, out, threads, fresh=False):
    """Runs stages in order, in the folder `out`; returns {name of a stage: its seconds}. Raises StageFailed."""
    runner = Runner(out, threads_environment(threads), fresh, len(stages))
    return {stage.name: runner.run(stage) for stage in stages}
