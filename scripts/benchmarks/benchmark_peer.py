"""Another build of the project in the same race: a separate process that does an update on request.

`benchmark.py --beside DIR` starts it with DIR, a checkout whose `benchmark_setup.py` offers the same names. The parent
writes `name number-of-batch`. The peer does that update and answers with its seconds.
"""

import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import torch

ENDED = "the peer has ended; what it said stands above"


class Peer:
    """The other build.

    Args:
        folder: its checkout.
        options: the options of benchmark.py.
        states: scorer -> parameters.
        cases: name -> (scorer, beam, whether constrained).
    """

    def __init__(self, folder, options, states, cases):
        with tempfile.NamedTemporaryFile(suffix=".pt", delete=False) as file:
            torch.save({"options": vars(options), "states": states, "cases": cases}, file)
        command = [sys.executable, str(Path(__file__).resolve()), str(Path(folder).resolve()), file.name]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )
        if self._answer() != "ready":
            raise SystemExit(ENDED)

    def update(self, name, batch):
        """The seconds of one update."""
        self.process.stdin.write(f"{name} {batch}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def _answer(self):
        for line in self.process.stdout:  # libraries may print too
            if line.startswith("peer: "):
                return line[len("peer: ") :].strip()
        raise SystemExit(ENDED)


def serve(folder, path):
    """Runs the peer's side."""
    places = [Path(folder) / "scripts" / "benchmarks", Path(folder) / "scripts"]  # the second: releases before 0.1
    sys.path[0] = next((str(place) for place in places if (place / "benchmark_setup.py").exists()), str(places[0]))
    import benchmark_setup
    from benchmark_setup import Contender, OrderingTask, Task, bso_criterion, make_batches, to_ordering
    from benchmark_setup import synchronised_time as now

    make_bso_lstm = getattr(benchmark_setup, "make_bso_lstm", None) or benchmark_setup.ours  # `ours` in earlier builds
    given = torch.load(path, weights_only=False)
    os.unlink(path)
    options = Namespace(**given["options"])
    torch.set_num_threads(options.threads)
    task, ordering = Task(options.vocabulary), OrderingTask(options.vocabulary)
    batches = {False: make_batches(task, options)}
    batches[True] = to_ordering(batches[False], options)
    contenders = {}
    for name, (scorer, beam, constrained) in given["cases"].items():
        model = make_bso_lstm(task, options, scorer)
        model.load_state_dict(given["states"][scorer])
        contenders[name] = Contender(model, bso_criterion(ordering if constrained else task, beam), 0.0), constrained
    print("peer: ready", flush=True)
    for line in sys.stdin:
        name, number = line.rsplit(maxsplit=1)
        contender, constrained = contenders[name]
        start = now(options.device)
        contender.update(batches[constrained][int(number)])
        print(f"peer: {now(options.device) - start}", flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
