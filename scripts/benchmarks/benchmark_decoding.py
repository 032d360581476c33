"""Measurements of benchmark.py on decoding: plain, constrained, of an exported model, and of a training set."""

import functools
import itertools
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from benchmark_setup import OrderingTask, make_bso_lstm, make_fairseq_lstm, ratio, time_in_turn, to_ordering
from fairseq.sequence_generator import SequenceGenerator

from bso_runtime.beam_search import GenerationOptions, search
from bso_runtime.config import ModelConfig
from bso_runtime.network import Network
from bso_runtime.weights import structure_of
from fairseq_bso.checkpoints import distinct_parameters
from fairseq_bso.decoding.constrained import ConstrainedGenerator
from fairseq_bso.export.zero_units import without_zero_units
from fairseq_bso.prune.schemes import PruningSchedule
from fairseq_bso.prune.unit_classes import UnitClasses


def generation(task, options, batches):
    """Sentences per second, ours / fairseq's; every sentence has `--length` words."""
    results = {}
    for beam in (1, 5):
        generators = {}
        models = {
            "ours": make_bso_lstm(task, options, "softmax"),
            "unnormalized": make_bso_lstm(task, options, "unnormalized"),
        }
        models["fairseq"] = make_fairseq_lstm(task, options)
        for name, model in models.items():
            made = SequenceGenerator(
                [model.eval()],
                task.target_dictionary,
                beam_size=beam,
                max_len_a=0,
                max_len_b=options.length,
                min_len=options.length,
                normalize_scores=name != "unnormalized",
            )
            generators[name] = lambda sample, made=made, model=model: made.generate([model], sample)
        seconds = time_in_turn(generators, batches, options)
        for name in ("ours", "unnormalized"):
            results[f"beam {beam} {name} / fairseq"] = ratio(seconds["fairseq"], seconds[name])
    return results


def constrained_generation(options, batches, beam=5):
    """Sentences per second with the constraint / without it; outputs have the same length."""
    task, batches, length = OrderingTask(options.vocabulary), to_ordering(batches, options), options.length
    results = {}
    for scorer in ("softmax", "unnormalized"):
        model = make_bso_lstm(task, options, scorer).eval()
        common = {"beam_size": beam, "normalize_scores": scorer == "softmax"}
        limits = {"max_len_a": 0, "max_len_b": length - 1, "min_len": length - 1}
        generators = {
            "free": SequenceGenerator([model], task.target_dictionary, **common, **limits),
            "constrained": ConstrainedGenerator([model], task.target_dictionary, task.batch_constraint, **common),
        }
        actions = {
            name: (lambda sample, made=made, model=model: made.generate([model], sample))
            for name, made in generators.items()
        }
        seconds = time_in_turn(actions, batches, options)
        results[f"beam {beam} {scorer}"] = ratio(seconds["free"], seconds["constrained"])
    return results


def translation(task, options, batches, state):
    """Sentences per second, one at a time, `fairseq-bso translate` / the generator; the output length is free."""
    model = make_bso_lstm(task, options, "unnormalized").eval().float().cpu()
    model.load_state_dict(state)
    parameters = {name: one.cpu().numpy() for name, one in model.state_dict().items()}
    config = ModelConfig(**structure_of(parameters), attention="general", residual=False, scorer="unnormalized")
    network = Network(config, parameters)
    singles = [
        {"net_input": {name: one[:1].cpu() for name, one in sample["net_input"].items()}, "id": torch.arange(1)}
        for sample in batches
    ]
    results = {}
    for beam in (1, 5):
        limits = {"max_len_a": 0, "max_len_b": options.length, "normalize_scores": False}
        made = SequenceGenerator([model], task.target_dictionary, beam_size=beam, **limits)
        how = GenerationOptions(beam, 0, options.length)
        contenders = {
            "generator": lambda sample, made=made: made.generate([model], sample),
            "translate": lambda sample, how=how: search(network, sample["net_input"]["src_tokens"][:1].tolist(), how),
        }
        seconds = time_in_turn(contenders, singles, options)
        results[f"beam {beam}"] = ratio(seconds["generator"], seconds["translate"])
    return results


def translation_without_units(task, options, batches, amount=0.3):
    """Sentences per second of `fairseq-bso translate`, without the pruned units of an export / with them as zeros.

    Both give the same output. Zeros take the time of other numbers, so this is the gain over a model that is not
    pruned. The model is random, and its outputs are as long as allowed.
    """
    model = make_bso_lstm(task, options, "softmax").eval().float().cpu()
    state = {"model": dict(model.state_dict()), "cfg": {"model": {"_name": "bso_lstm"}}}
    parameters = distinct_parameters(state)
    units = UnitClasses(parameters, model.unit_sets(parameters, model.residual))
    counts = units.counts(PruningSchedule("one_shot", amount), 0)
    units.write_zero_marks(units.extend_masks(units.empty_masks(), counts).pruned)
    networks = {}
    for name, tensors in {"whole": state["model"], "cut": without_zero_units(state, state["model"])[0]}.items():
        arrays = {part: tensor.numpy() for part, tensor in tensors.items()}
        networks[name] = Network(ModelConfig(**structure_of(arrays), attention="general", residual=False), arrays)
    results = {}
    for beam, together in itertools.product((1, 5), (1, 32)):
        how = GenerationOptions(beam, 0, options.length)

        def translate(sample, network, how=how, together=together):
            sentences = sample["net_input"]["src_tokens"][: max(together, 8)].tolist()
            for start in range(0, len(sentences), together):
                search(network, sentences[start : start + together], how, scored=False)

        contenders = {name: functools.partial(translate, network=network) for name, network in networks.items()}
        seconds = time_in_turn(contenders, batches, options)
        results[f"beam {beam}, {together} at a time"] = ratio(seconds["whole"], seconds["cut"])
    return results


def cache_speed(options, sentences=2000, repetitions=3):
    """Sentences per second, `fairseq-bso distill` (its whole loop) / `fairseq-generate` (its search alone)."""
    plugin = Path(__file__).resolve().parents[2] / "fairseq_bso"
    device = ["--cpu"] if options.device == "cpu" else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(plugin.parent)}

    def run(module, *words):
        command = [sys.executable, "-W", "ignore", "-c", module, *map(str, words)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return done.stdout + done.stderr

    def fairseq(name, *words):
        return run(f"from fairseq_cli.{name} import cli_main; cli_main()", *words)

    with tempfile.TemporaryDirectory() as folder:
        data, teacher = f"{folder}/data", f"{folder}/teacher"
        write_text(Path(folder), sentences, options.seed)
        fairseq("preprocess", *f"-s a -t b --trainpref {folder}/train --destdir {data}".split())
        training = f"--arch bso_lstm_iwslt --criterion cross_entropy --optimizer adam --lr 1e-3 --save-dir {teacher}"
        training += " --max-update 100 --max-tokens 1000 --disable-validation --no-epoch-checkpoints --num-workers 0"
        fairseq("train", data, "--user-dir", plugin, *training.split(), *device)
        path = f"{teacher}/checkpoint_last.pt"
        search = ["--gen-subset", "train", "--path", path, "--beam", 5, "--max-len-a", 1.5, "--max-len-b", 10]
        ratios = []
        for number in range(repetitions):
            printed = fairseq("generate", data, "--user-dir", plugin, *search, *device)
            theirs = float(re.search(r"\(([\d.]+) sentences/s,", printed).group(1))
            words = [data, "--teacher-path", path, "--distill-cache", f"{folder}/cache{number}", *device]
            printed = run("import sys; from fairseq_bso.cli import main; sys.exit(main())", "distill", *words)
            ratios.append(float(re.search(r"\(([\d.]+) sentences/s\)", printed).group(1)) / theirs)
    return {"distill / fairseq-generate": {"median": round(statistics.median(ratios), 3), "all": sorted(ratios)}}


def write_text(folder, sentences, seed):
    """Writes sentences of 3 to 30 words from a vocabulary of 2,000, and the same sentences in another spelling."""
    generator = random.Random(seed)
    with open(folder / "train.a", "w") as source, open(folder / "train.b", "w") as target:
        for _ in range(sentences):
            words = [int(2000 * generator.random() ** 3) for _ in range(generator.randint(3, 30))]
            source.write(" ".join(f"a{word}" for word in words) + "\n")
            target.write(" ".join(f"b{word}" for word in words) + "\n")
