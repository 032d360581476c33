#!/usr/bin/env python3
"""Measures speed as ratios: all contenders run in turn on the same batches of one run.

Prints medians with the quartiles of the rounds. `make bench` runs it on the CPU, `--device cuda` on a GPU.
"""

import argparse
import functools
import json
import os
import platform
import sys
from pathlib import Path

import earlier
import torch
from benchmark_bso import breakdown, constrained_updates, fresh_states, trained_states, updates
from benchmark_decoding import cache_speed, constrained_generation, generation, translation, translation_without_units
from benchmark_risk import risk_breakdown, risk_models, risk_updates
from benchmark_setup import Task, make_batches, take_cpu_time
from benchmark_training import (
    PEAKS,
    against_fairseq,
    peak_memory,
    print_peak,
    pruning,
    word_distillation,
)
from benchmark_transformer import bso_updates, lstms, transformer_breakdown, transformers, ways

from bso_runtime.endings import exit_after
from fairseq_bso.files import atomic_write


def parse(argv):
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor time instead of elapsed time, for a busy machine: one thread"
    )
    parser.add_argument("--sentences", type=int, default=64, help="B")
    parser.add_argument("--length", type=int, default=20, help="S and T")
    parser.add_argument("--vocabulary", type=int, default=10000, help="V")
    parser.add_argument("--hidden", type=int, default=256, help="H, and the size of the embeddings")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--training", type=int, default=160, help="updates that make the trained model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="WORDS", help="of the measurements only those whose name holds these words")
    parser.add_argument("--beside", metavar="DIR", help="a checkout of another build, for BSO updates in the same race")
    parser.add_argument("--compare", metavar="FILE", help="an earlier --out, or results/VERSION.json, to print beside")
    parser.add_argument("--out", help="also write the results to this JSON file")
    parser.add_argument("--peak", choices=["none", *PEAKS], help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.cpu_time and (options.device != "cpu" or options.threads != 1 or options.beside):
        parser.error("--cpu-time counts one thread of this process: add --threads 1, without --device and --beside")
    options.argv = list(argv)
    return options


def hold_to_threads(threads):
    """Restarts this program if numpy would use another number of threads.

    numpy reads that number from the environment, once."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    if any(os.environ.get(name) != str(threads) for name in names):
        os.environ.update(dict.fromkeys(names, str(threads)))
        os.execv(sys.executable, [sys.executable, *sys.argv])


def all_measurements(task, options, batches):
    """{name: the function that measures}."""
    trained = functools.lru_cache(None)(lambda: trained_states(task, options))
    return {
        **measurements_of_training(task, options, batches, trained),
        **measurements_of_decoding(task, options, batches, trained),
        **measurements_of_fairseq_models(task, options, batches),
        **measurements_of_risk(task, options, batches),
        "peak memory": lambda: peak_memory(options),
    }


def measurements_of_training(task, options, batches, trained):
    """Updates of `bso_lstm`. `trained` returns the parameters of the trained models."""
    fresh = fresh_states(task, options)
    return {
        "NLL update, bso_lstm / fairseq lstm": lambda: against_fairseq(task, options, batches),
        "BSO update / NLL update, fresh model": lambda: updates(task, options, batches, fresh),
        "BSO update / NLL update, trained model": lambda: updates(task, options, batches, trained()),
        "BSO-Con update / NLL update, fresh model": lambda: constrained_updates(options, batches, fresh),
        "BSO-Con update / NLL update, trained model": lambda: constrained_updates(options, batches, trained()),
        "share of a BSO update at beam 6, trained model": lambda: breakdown(task, options, batches, trained()),
    }


def measurements_of_decoding(task, options, batches, trained):
    """Decoding, and the updates of distillation and pruning. `trained` returns the parameters of the trained models."""
    return {
        "generation speed": lambda: generation(task, options, batches),
        "generation speed, word_order / no constraint": lambda: constrained_generation(options, batches),
        "word-level distillation / (NLL update + teacher's forward)": lambda: word_distillation(task, options, batches),
        "distilled sentences a second": lambda: cache_speed(options),
        "NLL update, pruned / unpruned": lambda: pruning(task, options, batches),
        "translation speed on a CPU, fairseq-bso translate / fairseq's generator": lambda: translation(
            task, options, batches, trained()["unnormalized"]
        ),
        "fairseq-bso translate, 30% of the units pruned / none": lambda: translation_without_units(
            task, options, batches
        ),
    }


def measurements_of_fairseq_models(task, options, batches):
    """BSO updates of fairseq's Transformer and LSTM."""
    attention = transformers(task, options)
    return {
        "Transformer, BSO update / NLL update, trained model": lambda: bso_updates(attention, options, batches),
        "Transformer, other ways to do a BSO update at beam 6 / the packed one": lambda: ways(
            attention, options, batches
        ),
        "Transformer, share of a BSO update at beam 6, trained model": lambda: transformer_breakdown(
            attention, options, batches
        ),
        "fairseq lstm, BSO update / NLL update, trained model": lambda: bso_updates(
            lstms(task, options), options, batches, [6]
        ),
    }


def measurements_of_risk(task, options, batches):
    """Risk updates, and their parts, of each kind of model."""
    models = risk_models(task, options)
    measured = {
        "risk update of a {} at beam 5 / loop over fairseq's generator": risk_updates,
        "share of a risk update of a {} at beam 5": risk_breakdown,
    }
    return {
        name.format(kind): functools.partial(measure, kind, models[kind], options, batches)
        for name, measure in measured.items()
        for kind in models
    }


def main():
    """Runs all measurements and prints each as it is done."""
    options = parse(sys.argv[1:])
    hold_to_threads(options.threads)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if options.cpu_time:
        take_cpu_time()
    task = Task(options.vocabulary)
    batches = make_batches(task, options)
    if options.peak:
        print_peak(task, options, batches)
        return
    size = {name: getattr(options, name) for name in earlier.SIZES}
    before = earlier.read(options.compare) if options.compare else {}
    if before:
        earlier.refuse_other_sizes(options.compare, before, size)
    results = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, **size}
    print(json.dumps(results))
    measurements = all_measurements(task, options, batches)
    if options.only:
        measurements = {name: measure for name, measure in measurements.items() if options.only in name}
    for name, measure in measurements.items():
        results[name] = measure()
        print(f"\n{name}", flush=True)
        for key, value in results[name].items():
            print(f"  {key}: {value}", flush=True)
        for line in earlier.lines(before.get(name), results[name]):
            print(f"  {line}", flush=True)
    if options.out:
        with atomic_write(Path(options.out), "w") as file:
            file.write(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    exit_after(main)
