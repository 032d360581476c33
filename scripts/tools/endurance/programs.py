"""Runs the commands as forks of one process that has imported all of them, and measures or disturbs each run."""

import importlib
import json
import logging
import mmap
import multiprocessing
import os
import re
import resource
import runpy
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from forked import server

from . import disks

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = ROOT / "fairseq_bso"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "MPLCONFIGDIR": tempfile.gettempdir()}
MEGABYTE = 2**20
PROGRESS = re.compile(r": [\d,]+ of [\d,]+ steps$")
HUNG = 600  # seconds after which a program counts as hanging
WRITING = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.copyfile"}


@dataclass(frozen=True)
class Program:
    """A command, and what happens to it while it runs."""

    entry: str
    """`module:function`, or the path of a script"""
    words: tuple
    kill_after: float = None
    """seconds until the whole process group gets SIGKILL"""
    kill_at: int = None
    """the file operation, counted from 1, before which the whole process group gets SIGKILL"""
    vanish: tuple = None
    """(n, folder): the folder is removed before file operation n"""
    disk: tuple = None
    """(folder, bytes): the folder is a file system of this size, and holds afterwards what was left there"""
    no_privileges: bool = False
    """whether permissions of files hold for the superuser too"""
    processor_limit: int = None
    """seconds of processor time"""
    memory_limit: int = None
    """bytes of address space above those at the start"""
    text: str = ""
    """standard input"""
    path: tuple = ()
    """folders of modules for `entry`"""


@dataclass
class Done:
    """How a program ended."""

    status: int
    """exit status; negative: the signal"""
    output: str
    errors: str
    seconds: float
    processor: float
    """seconds of processor time"""
    grown: float
    """megabytes of memory above those at its start, at most"""
    operations: int
    """file operations that change a folder"""
    disk: str = ""
    """how a full disk was made"""


def start(program):
    """Starts a program; `wait` on the result gives its Done."""
    return Running(program)


def run(program):
    """Runs a program to its end."""
    return Running(program).wait()


class Running:
    """A program that runs in a process of its own, with a process beside it that watches."""

    def __init__(self, program):
        self.folder = Path(tempfile.mkdtemp(prefix="endure-"))
        program = replace(program, words=tuple(str(word) for word in program.words))
        for name, text in (("in", program.text), ("out", ""), ("err", "")):
            (self.folder / name).write_text(text, encoding="utf-8")
        folders = [ROOT, ROOT / "scripts" / "tools", os.environ.get("PYTHONPATH", "")]
        environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(map(str, filter(None, folders)))}
        context = server(environment, ("endurance.preloaded",))
        self.process = context.Process(target=_watch, args=(program, str(self.folder)))
        self.process.start()

    def pid(self):
        """The process id of the program, once it runs."""
        while not (self.folder / "pid").exists() and self.process.exitcode is None:
            time.sleep(0.01)
        return int((self.folder / "pid").read_text())

    def interrupt(self):
        """Ends the program as Ctrl-C does."""
        os.kill(self.pid(), signal.SIGINT)

    def wait(self):
        """Waits for the end. Raises RuntimeError if the watching process failed."""
        self.process.join()
        try:
            facts = json.loads((self.folder / "facts").read_text())
            texts = [(self.folder / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err")]
        except OSError:
            raise RuntimeError(f"the process that watches ended with {self.process.exitcode}") from None
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        return Done(output=texts[0], errors=texts[1], **facts)


def _watch(program, folder):
    """Forks the program, kills it if that is asked for, and writes how it ended."""
    made = disks.limit(*program.disk) if program.disk else None
    shared = mmap.mmap(-1, 16)  # file operations, memory at the start
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _be(program, Path(folder), shared, made)
    partial = Path(folder, "pid.partial")
    partial.write_text(str(child))
    partial.rename(Path(folder, "pid"))
    limit = began + (HUNG if program.kill_after is None else program.kill_after)
    status, usage = _end_of(child, limit)
    operations, before = struct.unpack("qq", shared[:16])
    facts = {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "processor": usage.ru_utime + usage.ru_stime,
        "grown": max(0, usage.ru_maxrss * 1024 - before) / MEGABYTE,
        "operations": operations,
        "disk": made.kind if made else "",
    }
    if made:
        made.bring_out()
    Path(folder, "facts").write_text(json.dumps(facts))


def _end_of(child, limit):
    """(status, usage) of the child, whose group is killed at the time `limit`."""
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            _kill(child)  # workers that it left
            return status, usage
        if time.monotonic() >= limit:
            _kill(child)
        time.sleep(0.002)


def _kill(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _be(program, folder, shared, made):
    """Becomes the program; does not return."""
    status = 1
    try:
        os.setpgid(0, 0)
        for number, name in enumerate(("in", "out", "err")):
            os.dup2(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666), number)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)
        multiprocessing.set_start_method("fork", force=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
        os.chdir(ROOT)
        _set_limits(program, made)
        struct.pack_into("qq", shared, 0, 0, _resident())
        sys.addaudithook(_hook(program, shared))
        status = _call(program)
    except SystemExit as ended:
        status = _status_of(ended)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)  # ends the process itself after a UserError
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = status or 1
    os._exit(status)


def _status_of(ended):
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1


def _call(program):
    """Runs the entry. Returns the exit status."""
    logging.root.handlers.clear()  # importing fairseq sets logging up, for its commands that do not do so themselves
    sys.path[:0] = [str(one) for one in program.path]
    if program.entry.endswith(".py"):
        sys.argv = [program.entry, *program.words]
        sys.path.insert(0, str(Path(program.entry).parent))
        runpy.run_path(program.entry, run_name="__main__")
        return 0
    module, _, function = program.entry.partition(":")
    sys.argv = [module.replace("fairseq_cli.", "fairseq-"), *program.words]
    command = importlib.import_module(module)
    if not logging.root.handlers:
        logging.basicConfig()
    return getattr(command, function)() or 0


def _resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _set_limits(program, made):
    if made is not None and made.file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (made.file_limit, made.file_limit))
    if program.processor_limit is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (program.processor_limit, program.processor_limit + 1))
    if program.memory_limit is not None:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + program.memory_limit
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    if program.no_privileges:
        disks.drop_privileges()


def _hook(program, shared):
    """Counts the file operations, and kills the group or removes a folder before one of them."""
    acting = [False]

    def count(event, arguments):
        if acting[0] or not (event in WRITING or (event == "open" and _writes(arguments))):
            return
        (number,) = struct.unpack_from("q", shared)
        struct.pack_into("q", shared, 0, number + 1)
        if number + 1 == program.kill_at:
            os.killpg(0, signal.SIGKILL)
        if program.vanish is not None and number + 1 == program.vanish[0]:
            acting[0] = True
            shutil.rmtree(program.vanish[1], ignore_errors=True)
            acting[0] = False

    return count


def _writes(arguments):
    path, mode, flags = arguments
    if str(path).startswith(("/dev/", "/proc/")):
        return False
    return bool(set("wax+") & set(mode or "")) or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def problem_of(done, statuses=(1, 2)):
    """The fault of a failure's message, which should be one clear line; None if it has no fault."""
    if done.status < 0:
        return f"ended by signal {-done.status}: {done.errors[-300:]}"
    if "Traceback" in done.errors + done.output:
        return "traceback: " + done.errors[-1500:]
    if done.status not in statuses:
        return f"exit status {done.status}"
    lines = message_of(done)
    if len(lines) != 1:
        return f"{len(lines)} lines of message: " + " / ".join(lines)[:500]
    if len(lines[0]) > 1200:
        return f"a message of {len(lines[0])} characters: {lines[0][:300]}"
    return None


def message_of(done):
    """The lines of the errors that are neither log lines nor progress."""
    lines = [line for line in done.errors.splitlines() if line.strip() and not PROGRESS.search(line)]
    logged = (" | INFO | ", " | WARNING | ", "INFO:", "WARNING:", "warning: ")
    return [line for line in lines if not any(mark in line[:60] for mark in logged)]


def unexpected(error):
    """The text of a fault of a campaign itself."""
    return "".join(traceback.format_exception_only(type(error), error)).strip()
