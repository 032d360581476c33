"""Compares results of `benchmark.py` with those of an earlier run: `--compare FILE`."""

import json
from pathlib import Path

SIZES = "device dtype threads sentences length vocabulary hidden".split()


def read(path):
    """The results in a file. Raises SystemExit if there are none."""
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        return {name: results[name] for name in [*SIZES, *results]}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise SystemExit(f"--compare {path}: no results of benchmark.py ({type(problem).__name__})") from None


def refuse_other_sizes(path, before, sizes):
    """Raises SystemExit if the earlier run measured other sizes."""
    other = [f"{name} {before[name]}, now {sizes[name]}" for name in SIZES if before[name] != sizes[name]]
    if other:
        raise SystemExit(f"--compare {path}: it was run with {'; '.join(other)}: give the same sizes")


def numbers(results, name=()):
    """{names from outermost to innermost: number} of nested results; quartiles are left out."""
    if isinstance(results, dict):
        found = {}
        for key, value in results.items():
            if key != "quartiles":
                found.update(numbers(value, (*name, key)))
        return found
    return {name: results} if isinstance(results, (int, float)) and not isinstance(results, bool) else {}


def lines(before, now):
    """One line for each number that both runs have, with their ratio.

    Args:
        before, now: the results of one measurement in the earlier run and in this run.
    """
    then, found = numbers(before), []
    for name, value in numbers(now).items():
        if name in then:
            ratio = f"{value / then[name]:.2f} times" if then[name] else "no ratio"
            found.append(f"{', '.join(name)}: {then[name]} before, {value} now, {ratio}")
    return found
