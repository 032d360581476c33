"""Campaign `load`: many clients ask `view` at once, on a generated capture. No answer fails, and memory stays flat."""

import re
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from .material import CLI, program
from .programs import start

TURNS = 4  # of each client: a window, a selection and a match
LONGEST = 3600  # seconds of a session
FLAT = 64  # megabytes that the second half of the requests may add
CHECKED = {"view": "requests of 200 clients at once: no error; memory after the second half as after the first"}
QUICK = {"view": 1}


def case(kind, chance, material, folder):
    """One session. Returns (failure or None, what was measured, how many requests)."""
    import benchmark_view

    options = material.options
    steps, units, clients = options.steps, options.units, options.clients
    if options.quick:
        steps, units, clients = 2000, 20, 20
    name = f"load-{steps}-{units}"
    capture = material.made(name, lambda path: benchmark_view.write_capture(path, steps, units, "float32"))
    asked = partial(_questions, steps)
    running = start(replace(program(CLI, "view", capture, "--port", 0), kill_after=LONGEST))
    try:
        address, memory, errors, count = _address(running), [], [], 0
        for _ in range(2):
            seconds, failed = benchmark_view.run_clients(address, clients, asked)
            errors += failed
            count += sum(map(len, seconds.values())) + len(failed)
            memory.append(_own_memory(running.pid()))
    finally:
        running.interrupt()
    done = running.wait()
    about = f"{steps:,} words of {units} units, {clients} clients, {memory[0]:.0f} MB, then {memory[1]:.0f} MB"
    if errors:
        return f"{len(errors)} errors, the first: {errors[0][:500]}", about, count
    if memory[1] - memory[0] > FLAT:
        return f"memory grew from {memory[0]:.0f} to {memory[1]:.0f} MB", about, count
    if done.status != 0 or "Traceback" in done.errors:
        return f"the server ended with {done.status}: {done.errors[-800:]}", about, count
    return None, about, count


def _questions(steps, number):
    """The questions of one client."""
    import benchmark_view

    return benchmark_view.questions(steps, TURNS, number)


def _address(running, limit=600):
    """The address that the server prints."""
    began = time.monotonic()
    while time.monotonic() - began < limit and running.process.exitcode is None:
        path = running.folder / "out"
        found = re.search(r"http://\S+/", path.read_text()) if path.exists() else None
        if found:
            return found[0]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {(running.folder / 'err').read_text()[-500:]}")


def _own_memory(pid):
    """Megabytes of a process that are no mapped files."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", text)[1]) / 1024
