#!/usr/bin/env python3
"""Measures pattern search and statistics on random walks, which resemble states: seconds, medians of a few rounds.

The default is a million steps of 500 cells on one core. There is no comparison: the seconds are those of this machine.
"""

import argparse
import functools
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bso_runtime.endings import exit_after  # noqa: E402
from fairseq_bso.interpret.units import patterns, prediction, ranking  # noqa: E402
from fairseq_bso.interpret.units import statistics as separation  # noqa: E402

# Left and right constraint.
CONSTRAINTS = ((0, 0), (1, 0), (0, 1), (1, 1), (3, 3))


def wandering_levels(steps, cells, seed, block=1 << 14):
    """(T, C) int8 levels of C cells over T steps: the tanh of random walks, like a state.

    Each walk is pulled back to zero within 2 to 300 steps. Half of the variance of a cell's moves is shared with other
    cells, so that cells switch on together.
    """
    generator = numpy.random.default_rng(seed)
    levels = numpy.empty((steps, cells), dtype=numpy.int8)  # (T, C)
    keep = 1 - 0.5 * (1 / 150) ** generator.random(cells)  # (C,) decay of the value in each step
    share = generator.normal(size=(cells, 8)) / 16**0.5  # (C, 8)
    value = numpy.zeros(cells)
    for begin in range(0, steps, block):
        size = min(block, steps - begin)
        shared = generator.normal(size=(size, 8)) @ share.T  # (b, C)
        noise = shared + 0.5**0.5 * generator.normal(size=(size, cells))
        noise *= numpy.sqrt(1 - keep**2)
        values = numpy.empty((size, cells))
        for step in range(size):
            value = keep * value + noise[step]
            values[step] = value
        levels[begin : begin + size] = (100 * numpy.tanh(values)).clip(-127, 127)
    return levels


def median_seconds(action, rounds):
    """The median and the largest of the seconds of so many calls."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return {"median s": round(statistics.median(seconds), 3), "largest s": round(max(seconds), 3)}


def query(rows, columns, level, options):
    """Cells that are selected together: those on in a busy range, filled up or cut to the requested number."""
    generator = numpy.random.default_rng(options.seed)
    on = rows >= level  # (T, C)
    places = generator.integers(1, len(rows) - 4, 2000)
    counts = (on[places] & on[places + 1]).sum(1)
    place = int(places[counts.argmax()])
    together = (on[place] & on[place + 1]) * 2 + generator.random(rows.shape[1])
    return numpy.sort(numpy.argsort(-together)[:columns])


def matches(rows, cells, options):
    """Times a match for several numbers of selected cells, thresholds and constraints; reading the levels counts."""
    for selected in (5, 20, 50):
        for level in (10, 30, 60, 90):
            chosen = query(rows, selected, level, options)
            others = patterns.OtherUnits(rows, numpy.setdiff1d(numpy.arange(rows.shape[1]), chosen))
            for left, right in CONSTRAINTS:
                wanted = patterns.UnitQuery(level, left, right, 2, "above")

                def action(chosen=chosen, wanted=wanted, others=others):
                    return patterns.find_matches(cells[chosen], wanted, 50, patterns.PRECISE_CANDIDATES, others)

                found = action()
                name = f"match, {selected} cells, level {level}, left {left}, right {right}"
                best = [int(part[0]) if len(part) else 0 for part in (found.overlap, found.lengths)]
                yield name, {**median_seconds(action, options.rounds), "best overlap, length": best}


def selection(rows, cells, options):
    """Times the selection of the cells of one range of 20 steps."""
    wanted = patterns.UnitQuery(30, 1, 1, 1, "above")
    action = functools.partial(patterns.selected_units, rows, wanted, 1001, 1020)
    yield "selection, 20 steps", median_seconds(action, options.rounds)


def statistics_pass(rows, cells, options):
    """Times one pass for each kind of track, over both layouts, and a control."""
    slow = numpy.sin(rows[:, 0].cumsum() / 500) + rows[:, 1] / 200  # (T,) a slowly changing number
    codes, numbers = (slow > 0.5).astype(numpy.int64), slow
    many = ((slow + 2) * 2.5).astype(numpy.int64).clip(0, 9)
    actions = {
        "histogram, 2 labels": lambda: separation.joint_histogram(cells, codes),
        "histogram, 2 labels, row-major": lambda: separation.joint_histogram(rows.T, codes),
        "histogram, 10 labels": lambda: separation.joint_histogram(cells, many),
        "ranking by area under the curve": lambda: ranking.rank_units(cells, codes, "area_under_curve", 1),
        "ranking by correlation": lambda: ranking.rank_units(cells, numbers, "correlation"),
        "control of 10 repeats": lambda: ranking.shuffled_control(cells, codes, "area_under_curve", 1, 10),
        "prediction from one cell": lambda: prediction.predict_number(cells[0], numbers),
    }
    for name, action in actions.items():
        yield name, median_seconds(action, max(1, options.rounds // 2))


def memory(field):
    """A memory field of this process, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) // 1024


def main():
    """Runs all measurements and prints each as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000, help="T")
    parser.add_argument("--cells", type=int, default=500, help="C")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="WORDS", help="of the measurements only those whose name holds these words")
    parser.add_argument("--keep", metavar="FILE", help="where the levels are kept from one run to the next")
    options = parser.parse_args()
    if options.keep and Path(options.keep).exists():
        rows = numpy.load(options.keep)
    else:
        rows = wandering_levels(options.steps, options.cells, options.seed)
        if options.keep:
            with open(options.keep, "wb") as file:
                numpy.save(file, rows)
    cells = numpy.ascontiguousarray(rows.T)  # (C, T)
    size = {name: getattr(options, name) for name in "steps cells rounds".split()}
    machine = platform.processor() or platform.machine()
    print(json.dumps({"machine": machine, "numpy": numpy.__version__, **size, "MiB before": memory("VmRSS")}))
    for measure in (selection, matches, statistics_pass):
        if options.only and options.only not in measure.__name__:
            continue
        for name, found in measure(rows, cells, options):
            print(f"  {name}: {found}", flush=True)
    print(json.dumps({"MiB at most": memory("VmHWM")}))


if __name__ == "__main__":
    exit_after(main)
