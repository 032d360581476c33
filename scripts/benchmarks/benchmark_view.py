#!/usr/bin/env python3
"""Measures how fast `fairseq-bso view` answers many clients at once over a large corpus.

Writes a capture of random walks into a temporary folder (a million steps of 256 cells: 1 GB, and 0.5 GB of index).
Then it starts the real command, and each client asks one question after another: windows, selections, matches. As many
clients then ask for cards of units and the table of all units. For each kind of question, it prints the median and the
95th percentile of the seconds until the answer. It also prints the number of errors. With --beside, one client asks
this build and another one the same matches in turn.
"""

import argparse
import json
import os
import random
import re
import runpy
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import h5py
import numpy

ROOT = Path(__file__).resolve().parents[2]
exit_after = runpy.run_path(str(ROOT / "bso_runtime" / "endings.py"))["exit_after"]
# The command of a build in PYTHONPATH, whose module had another name before.
COMMAND = (
    "import importlib, importlib.util, sys; there = importlib.util.find_spec('bso_runtime.cli'); "
    "sys.exit(importlib.import_module('bso_runtime.cli' if there else 'bso_runtime.command').main())"
)
BLOCK = 10_000  # steps that are generated at a time
LENGTH = 25  # words in a sentence
WORDS = 5000
TRACK = ("nothing", "noun phrase", "quotation")


def write_capture(folder, steps, cells, dtype):
    """Writes a language model's decoder, whose cells drift between -1 and 1 like those of an LSTM."""
    side = folder / "decoder"
    side.mkdir(parents=True)
    generator = numpy.random.default_rng(1)
    with h5py.File(side / "states.hdf5", "w") as file:
        states = file.create_dataset("hidden1", (steps, cells), dtype=dtype, chunks=(min(256, steps), cells))
        place = numpy.zeros(cells)
        for begin in range(0, steps, BLOCK):
            moves = generator.normal(scale=0.35, size=(min(BLOCK, steps - begin), cells))
            for row, move in enumerate(moves):  # pulled back to zero, so that cells switch off again
                place = 0.85 * place + move
                moves[row] = place
            states[begin : begin + len(moves)] = numpy.tanh(moves)
    offsets = numpy.arange(0, steps + LENGTH, LENGTH)
    offsets[-1] = steps
    with h5py.File(side / "train.hdf5", "w") as file:
        file["word_ids"] = generator.integers(0, WORDS, steps, dtype=numpy.int32)
        file["sentence_offsets"] = numpy.unique(offsets).astype(numpy.int64)
        file["loss"] = generator.exponential(3.0, steps).astype(numpy.float32)
        file["meta/phrase"] = numpy.repeat(generator.integers(0, 3, steps // 4 + 1), 4)[:steps].astype(numpy.int32)
        file["meta/phrase"].attrs["labels"] = json.dumps(TRACK)
    (side / "words.dict").write_text("".join(f"w{number} {number}\n" for number in range(WORDS)))
    (side / "lstm.yml").write_text(
        "name: benchmark\nfiles: {states: states.hdf5, train: train.hdf5, words: words.dict}\n"
        "word_sequence: {file: train, path: word_ids, dict_file: words}\n"
        "states: {file: states, types: [{type: hidden, layer: 1, path: hidden1}]}\n"
    )
    facts = {"version": 1, "architecture": "lstm_lm", "checkpoint": "none", "mode": "language_model"}
    (folder / "capture.json").write_text(json.dumps({**facts, "sides": ["decoder"], "sentences": len(offsets) - 1}))


def start_server(folder, build=ROOT):
    """Starts the command of a build; returns it and the address that it prints."""
    command = [sys.executable, "-W", "ignore", "-c", COMMAND, "view", str(folder), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(build)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    found = re.search(r"http://\S+/", server.stdout.readline())
    if not found:
        raise SystemExit("the server did not start")
    return server, found[0]


def questions(steps, count, seed):
    """The questions of one client: a window, a selection of words in it, and a search for matches."""
    chance = random.Random(seed)
    for turn in range(count):
        start = chance.randrange(steps - 100)
        window = f"context?start={start}&length=60"
        first = start + chance.randrange(60)
        place = f"from={first}&to={first + chance.randint(1, 3)}&threshold=0.{chance.randint(25, 45)}"
        mode = "precise" if turn % 2 else "fast"
        yield from (("window", window), ("select", f"select?{place}"), (f"match, {mode}", f"match?{place}&mode={mode}"))


def unit_questions(cells, count, seed):
    """The questions of one client about units: cards, and now and then the table."""
    chance = random.Random(seed)
    for turn in range(count):
        yield "card", f"card?unit=hidden1:{chance.randrange(cells)}&threshold=0.{chance.randint(25, 45)}"
        if turn % 4 == 3:
            yield "table", f"table?threshold=0.{chance.randint(25, 45)}"


def ratios_beside(address, other, steps, count):
    """The ratios of the seconds of this build to those of another one, for the same matches in turn, by kind."""
    found = {}
    for kind, path in [one for one in questions(steps, count, 7) if one[0].startswith("match")]:
        seconds = []
        for place in (address, other) if len(found.get(kind, ())) % 2 else (other, address):
            started = time.perf_counter()
            with urllib.request.urlopen(f"{place}api/{path}", timeout=300) as answer:
                json.load(answer)
            seconds.append((place, time.perf_counter() - started))
        taken = dict(seconds)
        found.setdefault(kind, []).append(taken[address] / taken[other])
    return found


def run_clients(address, clients, questions_of):
    """The seconds of each answer by the kind of its question, and the errors."""
    seconds, errors, lock = {}, [], threading.Lock()

    def run(number):
        for kind, path in questions_of(number):
            started = time.perf_counter()
            try:
                with urllib.request.urlopen(f"{address}api/{path}", timeout=120) as answer:
                    json.load(answer)
            except (OSError, ValueError) as fault:
                text = fault.read().decode() if isinstance(fault, urllib.error.HTTPError) else repr(fault)
                with lock:
                    errors.append(f"{path}: {text}")
                continue
            with lock:
                seconds.setdefault(kind, []).append(time.perf_counter() - started)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, errors


def report(title, seconds, errors):
    """Prints one line for each kind of question."""
    print(f"\n{title}")
    every = [one for some in seconds.values() for one in some]
    for kind, some in [*sorted(seconds.items()), *([("all", every)] if every else [])]:
        high = statistics.quantiles(some, n=20)[-1] if len(some) > 1 else some[0]
        print(f"  {kind:15} {len(some):6} answers, median {statistics.median(some):.3f} s, 95 % below {high:.3f} s")
    print(f"  errors: {len(errors)}")
    for error in errors[:5]:
        print(f"    {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--cells", type=int, default=256)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--turns", type=int, default=4, help="of each client: a window, a selection and a match")
    parser.add_argument("--only", choices=["units"], help="ask for cards and tables alone")
    parser.add_argument("--capture", type=Path, help="a capture of these sizes that is there, in place of a new one")
    parser.add_argument("--beside", type=Path, help="the folder of another build, whose matches are timed in turn")
    parser.add_argument("--float16", action="store_true", help="write the states in half the space")
    options = parser.parse_args()
    print(f"{options.steps:,} steps of {options.cells} cells, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        capture = options.capture or Path(folder) / "capture"
        if not options.capture:
            write_capture(capture, options.steps, options.cells, "float16" if options.float16 else "float32")
            print(f"capture written in {time.perf_counter() - started:.0f} s")
        started = time.perf_counter()
        server, address = start_server(capture)
        try:
            print(f"index built and server started in {time.perf_counter() - started:.0f} s")
            measure(address, options)
            if options.beside:
                beside(address, capture, options)
        finally:
            server.terminate()
            server.wait()


def measure(address, options):
    """Asks as one client and as many, and prints the seconds."""
    steps, cells, turns = options.steps, options.cells, options.turns
    if options.only != "units":
        report("one client", *run_clients(address, 1, lambda number: questions(steps, 10, number)))
    report("one client, units", *run_clients(address, 1, lambda number: unit_questions(cells, 20, number)))
    many = f"{options.clients} clients"
    report(f"{many}, units", *run_clients(address, options.clients, lambda number: unit_questions(cells, 20, number)))
    if options.only != "units":
        report(many, *run_clients(address, options.clients, lambda number: questions(steps, turns, number)))


def beside(address, capture, options):
    """Times the matches of another build in turn with those of this one, and prints the ratios."""
    server, other = start_server(capture, options.beside.resolve())
    try:
        for kind, ratios in sorted(ratios_beside(address, other, options.steps, 2 * options.turns).items()):
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(
                f"{kind}: this build / {options.beside}: {middle:.2f} ({low:.2f} to {high:.2f}), {len(ratios)} matches"
            )
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    exit_after(main)
