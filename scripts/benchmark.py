#!/usr/bin/env python3
"""Measures speed as ratios, all contenders in turn on the same batches of one run.

Prints medians with the quartiles of the rounds. `make bench` runs it on the CPU; `--device cuda` on a GPU.
"""

import argparse
import functools
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path

import torch
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.data import Dictionary
from fairseq.models.lstm import LSTMModel, lstm_luong_wmt_en_de
from fairseq.sequence_generator import SequenceGenerator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bso_runtime.network import Network  # noqa: E402
from bso_runtime.search import Options, beam_search  # noqa: E402
from fairseq_bso.callbacks import Pruner  # noqa: E402
from fairseq_bso.constrained_generation import ConstrainedGenerator  # noqa: E402
from fairseq_bso.constraint import Constraint  # noqa: E402
from fairseq_bso.core.pruning import Schedule  # noqa: E402
from fairseq_bso.criterions import BeamSearchOptimizationCriterion, WordDistillationCriterion  # noqa: E402
from fairseq_bso.models import bso_lstm  # noqa: E402
from fairseq_bso.models.decoder import DecoderPass  # noqa: E402
from fairseq_bso.teacher import Teacher  # noqa: E402

BEAMS = (2, 6, 11)
LEARNING_RATE = 2e-3


class Task:
    """What models and criterions ask of a fairseq task."""

    teacher = None

    def __init__(self, words):
        self.source_dictionary = Dictionary()
        for index in range(words - len(self.source_dictionary)):
            self.source_dictionary.add_symbol(f"w{index}")
        self.target_dictionary = self.source_dictionary
        self.cfg = Namespace(left_pad_source=False)


class OrderingTask(Task):
    """The same under ``--successors word_order``."""

    def __init__(self, words):
        super().__init__(words)
        self.make_successors = Constraint("word_order", self.source_dictionary, self.target_dictionary)


def ours(task, options, scorer):
    """A `bso_lstm` of one layer, unidirectional, general attention, input feeding."""
    size, sides = options.hidden, ("encoder", "decoder")
    sizes = {f"{side}_{name}": size for side in sides for name in ("embed_dim", "hidden_size")}
    limits = {"max_source_positions": 1024, "max_target_positions": 1024}
    config = bso_lstm.BsoLSTMConfig(**sizes, **limits, dropout=0.2, scorer=scorer)
    return place(bso_lstm.BsoLSTMModel.build_model(config, task), options)


def fairseqs(task, options):
    """fairseq's own `lstm` with the same sizes and dropout, general (Luong) attention."""
    names = "encoder_embed_dim encoder_hidden_size decoder_embed_dim decoder_hidden_size decoder_out_embed_dim".split()
    args = Namespace(**dict.fromkeys(names, options.hidden), criterion="cross_entropy", dropout=0.2)
    args.max_source_positions = 1024
    args.max_target_positions, args.encoder_layers, args.decoder_layers, args.encoder_bidirectional = 1024, 1, 1, False
    lstm_luong_wmt_en_de(args)
    args.encoder_dropout_out = args.decoder_dropout_out = 0.2
    args.encoder_dropout_in = args.decoder_dropout_in = 0.0
    return place(LSTMModel.build_model(args, task), options)


def place(model, options):
    """On the device, in the dtype."""
    return model.to(options.device).to(getattr(torch, options.dtype)).train()


def make_batches(task, options, count=4):
    """Random sources; targets from a noisy chain over few words, which a model learns in seconds: after each word one
    other is the next in 85 of 100."""
    generator = torch.Generator().manual_seed(options.seed)
    first, words, shape = 4, min(300, options.vocabulary - 4), (options.sentences, options.length)
    follows = torch.randperm(words, generator=torch.Generator().manual_seed(0))  # one chain for all seeds
    batches = []
    for _ in range(count):
        target = torch.randint(words, shape, generator=generator)
        for t in range(1, options.length):
            certain = torch.rand(shape[0], generator=generator) < 0.85
            target[:, t] = torch.where(certain, follows[target[:, t - 1]], target[:, t])
        target += first
        target[:, -1] = task.target_dictionary.eos()
        source = torch.randint(first, options.vocabulary, shape, generator=generator)
        previous = torch.cat([target[:, -1:], target[:, :-1]], 1)
        net_input = {
            "src_tokens": source,
            "src_lengths": torch.full(shape[:1], shape[1]),
            "prev_output_tokens": previous,
        }
        net_input = {name: part.to(options.device) for name, part in net_input.items()}
        net_input["src_lengths"] = net_input["src_lengths"].cpu()
        sample = {"net_input": net_input, "target": target.to(options.device), "ntokens": target.numel()}
        batches.append({**sample, "id": torch.arange(shape[0]), "nsentences": shape[0]})
    return batches


def to_ordering(batches, options):
    """The same targets, with their own words in random order as sources."""
    generator = torch.Generator().manual_seed(options.seed)
    ordering = []
    for sample in batches:
        target = sample["target"]
        source = target[:, torch.randperm(target.size(1) - 1, generator=generator).to(target.device)]
        net_input = {**sample["net_input"], "src_tokens": torch.cat([source, target[:, -1:]], 1)}
        ordering.append({**sample, "net_input": net_input})
    return ordering


def bso_criterion(task, beam, dtype="model"):
    """The criterion at a fixed beam."""
    return BeamSearchOptimizationCriterion(task, beam, 2, 0, "zero_one", 1.0, 0.0, dtype, 2, False)


class Contender:
    """A model, a criterion and an optimizer that does one update at a time."""

    def __init__(self, model, criterion, learning_rate=LEARNING_RATE):
        self.model, self.criterion = model, criterion
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    def update(self, sample):
        """Forward, backward, clip, Adam step. Returns what the criterion logs."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, sample_size, logged = self.criterion(self.model, sample)
        (loss / sample_size).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        return logged


def synchronised_time(device):
    """Seconds, after the device has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def race(contenders, batches, options):
    """Times one update of every contender in every round: {name: [seconds]}."""
    seconds = {name: [] for name in contenders}
    for index in range(options.warm_up + options.rounds):
        sample = batches[index % len(batches)]
        for name, act in contenders.items():
            start = synchronised_time(options.device)
            act(sample)
            if index >= options.warm_up:
                seconds[name].append(synchronised_time(options.device) - start)
    return seconds


def ratio(numerator, denominator):
    """Median and quartiles of the ratios within each round."""
    ratios = [a / b for a, b in zip(numerator, denominator)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"median": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}


def updates(task, options, batches, state, learning_rate):
    """(a) BSO / NLL at several beams, exact and screened; from one set of parameters, which `learning_rate` 0 keeps."""
    nll = Contender(ours(task, options, "softmax"), CrossEntropyCriterion(task, False), learning_rate)
    contenders = {"nll": nll}
    for beam in BEAMS:
        for dtype in ("model", "bfloat16"):
            model = ours(task, options, "unnormalized")
            contenders[f"beam {beam} {'exact' if dtype == 'model' else dtype}"] = Contender(
                model, bso_criterion(task, beam, dtype), learning_rate
            )
    logged = {}
    for contender in contenders.values():
        contender.model.load_state_dict(state)

    def act(name, sample):
        logged[name] = contenders[name].update(sample)

    acts = {name: (lambda sample, name=name: act(name, sample)) for name in contenders}
    seconds = race(acts, batches, options)
    results = {"nll seconds": round(statistics.median(seconds["nll"]), 4)}
    for name in contenders:
        if name != "nll":
            tokens = logged[name]["ntokens"]
            share = round(logged[name]["violations"] / tokens, 3)
            results[name] = {**ratio(seconds[name], seconds["nll"]), "violations per token": share}
    return results


def constrained_updates(options, batches, state):
    """BSO-Con / NLL at several beams, from one set of parameters, on sources that the targets order."""
    task, batches = OrderingTask(options.vocabulary), to_ordering(batches, options)
    contenders = {"nll": Contender(ours(task, options, "softmax"), CrossEntropyCriterion(task, False), 0.0)}
    for beam in BEAMS:
        model = ours(task, options, "unnormalized")
        contenders[f"beam {beam}"] = Contender(model, bso_criterion(task, beam), 0.0)
    for contender in contenders.values():
        contender.model.load_state_dict(state)
    seconds = race({name: contender.update for name, contender in contenders.items()}, batches, options)
    return {name: ratio(seconds[name], seconds["nll"]) for name in contenders if name != "nll"}


def constrained_generation(options, batches, beam=5):
    """Sentences per second with the constraint / without, outputs of the same length."""
    task, batches, length = OrderingTask(options.vocabulary), to_ordering(batches, options), options.length
    results = {}
    for scorer in ("softmax", "unnormalized"):
        model = ours(task, options, scorer).eval()
        common = {"beam_size": beam, "normalize_scores": scorer == "softmax"}
        limits = {"max_len_a": 0, "max_len_b": length - 1, "min_len": length - 1}
        generators = {
            "free": SequenceGenerator([model], task.target_dictionary, **common, **limits),
            "constrained": ConstrainedGenerator([model], task.target_dictionary, task.make_successors, **common),
        }
        acts = {
            name: (lambda sample, made=made, model=model: made.generate([model], sample))
            for name, made in generators.items()
        }
        seconds = race(acts, batches, options)
        results[f"beam {beam} {scorer}"] = ratio(seconds["free"], seconds["constrained"])
    return results


def against_fairseq(task, options, batches):
    """(b) NLL update of `bso_lstm` / of fairseq's `lstm`."""
    contenders = {
        "ours": Contender(ours(task, options, "softmax"), CrossEntropyCriterion(task, False)),
        "fairseq": Contender(fairseqs(task, options), CrossEntropyCriterion(task, False)),
    }
    seconds = race({name: contender.update for name, contender in contenders.items()}, batches, options)
    return {"ours / fairseq lstm": ratio(seconds["ours"], seconds["fairseq"])}


def generation(task, options, batches):
    """(c) sentences per second, ours / fairseq's, every sentence `--length` words long."""
    results = {}
    for beam in (1, 5):
        generators = {}
        models = {"ours": ours(task, options, "softmax"), "unnormalized": ours(task, options, "unnormalized")}
        models["fairseq"] = fairseqs(task, options)
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
        seconds = race(generators, batches, options)
        for name in ("ours", "unnormalized"):
            results[f"beam {beam} {name} / fairseq"] = ratio(seconds["fairseq"], seconds[name])
    return results


class PrunedContender(Contender):
    """The same with the pruning callback, 80% of the weights gone."""

    def __init__(self, model, criterion):
        super().__init__(model, criterion)
        self.pruner = Pruner(Schedule("one_shot", 0.8), "class_blind", "")

    def update(self, sample):
        """What a task with the callback does."""
        self.pruner.before_step(self.model, self.optimizer, 0)
        self.optimizer.zero_grad(set_to_none=True)
        loss, sample_size, logged = self.criterion(self.model, sample)
        (loss / sample_size).backward()
        self.pruner.mask_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.pruner.after_step(self.optimizer, 1)
        return logged


def pruning(task, options, batches):
    """(f) NLL update with the pruning callback / without."""
    contenders = {
        kind.__name__: kind(ours(task, options, "softmax"), CrossEntropyCriterion(task, False))
        for kind in (PrunedContender, Contender)
    }
    seconds = race({name: contender.update for name, contender in contenders.items()}, batches, options)
    return {"pruned / unpruned": ratio(seconds["PrunedContender"], seconds["Contender"])}


def translation(task, options, batches, state):
    """(g) sentences per second one at a time, `fairseq-bso translate` / the generator; outputs as long as they come."""
    model = ours(task, options, "unnormalized").eval().float().cpu()
    model.load_state_dict(state)
    facts = {"layers": 1, "bidirectional": False, "input_feeding": True, "attention": "general", "residual": False}
    facts.update(scorer="unnormalized", max_target_positions=1024)
    network = Network(facts, {name: one.cpu().numpy() for name, one in model.state_dict().items()})
    singles = [
        {"net_input": {name: one[:1].cpu() for name, one in sample["net_input"].items()}, "id": torch.arange(1)}
        for sample in batches
    ]
    results = {}
    for beam in (1, 5):
        limits = {"max_len_a": 0, "max_len_b": options.length, "normalize_scores": False}
        made = SequenceGenerator([model], task.target_dictionary, beam_size=beam, **limits)
        contenders = {
            "generator": lambda sample, made=made: made.generate([model], sample),
            "translate": lambda sample, beam=beam: beam_search(
                network, sample["net_input"]["src_tokens"][0].tolist(), Options(beam, 0, options.length)
            ),
        }
        seconds = race(contenders, singles, options)
        results[f"beam {beam}"] = ratio(seconds["generator"], seconds["translate"])
    return results


@contextmanager
def clock(totals, name, device):
    """Adds the time of a block to totals[name]."""
    start = synchronised_time(device)
    yield
    totals[name] = totals.get(name, 0.0) + synchronised_time(device) - start


@contextmanager
def timed(owner, name, label, totals, device):
    """While open, every call of owner.name is clocked."""
    original = getattr(owner, name)

    def clocked(*args, **kwargs):
        with clock(totals, label, device):
            return original(*args, **kwargs)

    setattr(owner, name, clocked)
    try:
        yield
    finally:
        setattr(owner, name, original)


def breakdown(task, options, batches, state, beam=6):
    """(d) share of each part in a BSO update."""
    model = ours(task, options, "unnormalized")
    model.load_state_dict(state)
    contender, totals, device = Contender(model, bso_criterion(task, beam), 0.0), {}, options.device
    for sample in batches:
        contender.update(sample)
    with (
        timed(model.encoder, "forward", "encode", totals, device),
        timed(DecoderPass, "along", "gold run", totals, device),
        timed(bso_lstm, "violation_reset_search", "search", totals, device),
        timed(bso_lstm, "violator_outputs", "segments", totals, device),
        timed(torch.Tensor, "backward", "backward", totals, device),
        clock(totals, "update", device),
    ):
        for sample in batches:
            contender.update(sample)
    whole = totals.pop("update")
    shares = {name: round(seconds / whole, 3) for name, seconds in totals.items()}
    return {**shares, "rest": round(1 - sum(shares.values()), 3)}


def word_distillation(task, options, batches):
    """(f) word-level distillation / (NLL update + forward pass of the teacher, which has twice the units)."""
    larger = Namespace(**{**vars(options), "hidden": 2 * options.hidden})
    teacher = Teacher([ours(task, larger, "softmax")], ["a fresh model"])
    task.teacher = teacher
    contenders = {"nll": Contender(ours(task, options, "softmax"), CrossEntropyCriterion(task, False)).update}
    for name, temperature, top_k in (("plain", 1.0, 0), ("temperature 2", 2.0, 0), ("top 8", 1.0, 8)):
        criterion = WordDistillationCriterion(task, 0.5, temperature, top_k, 0.0, False)
        contenders[name] = Contender(ours(task, options, "softmax"), criterion).update

    @torch.no_grad()
    def forward(sample):
        for model in teacher.place(torch.device(options.device)):
            model(**sample["net_input"])

    seconds = race({"teacher": forward, **contenders}, batches, options)
    both = [nll + teacher for nll, teacher in zip(seconds["nll"], seconds["teacher"])]
    return {name: ratio(seconds[name], both) for name in ("plain", "temperature 2", "top 8")}


def cache_speed(options, sentences=2000, repetitions=3):
    """(g) sentences per second, `fairseq-bso distill` (all of its loop) / `fairseq-generate` (its search alone)."""
    plugin = Path(__file__).resolve().parent.parent / "fairseq_bso"
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
            printed = run("import sys; from fairseq_bso.commands import main; sys.exit(main())", "distill", *words)
            ratios.append(float(re.search(r"\(([\d.]+) sentences/s\)", printed).group(1)) / theirs)
    return {"distill / fairseq-generate": {"median": round(statistics.median(ratios), 3), "all": sorted(ratios)}}


def write_text(folder, sentences, seed):
    """Sentences of 3 to 30 of 2,000 words, and the same in another spelling."""
    generator = random.Random(seed)
    with open(folder / "train.a", "w") as source, open(folder / "train.b", "w") as target:
        for _ in range(sentences):
            words = [int(2000 * generator.random() ** 3) for _ in range(generator.randint(3, 30))]
            source.write(" ".join(f"a{word}" for word in words) + "\n")
            target.write(" ".join(f"b{word}" for word in words) + "\n")


def peak_memory(options):
    """(e) peak memory in MiB of a process that does NLL, or BSO, updates alone."""
    command = [sys.executable, __file__, *options.words]
    found = {}
    for kind in ("none", "nll", "bso"):
        output = subprocess.run([*command, "--peak", kind], check=True, capture_output=True, text=True).stdout
        found[kind] = float(output.strip().splitlines()[-1])
    return {f"{kind} MiB above an idle process": round(found[kind] - found["none"]) for kind in ("nll", "bso")}


def print_peak(task, options, batches):
    """Does a few updates of one kind and prints the peak in MiB (the GPU's, where there is one)."""
    if options.peak != "none":
        scorer = "softmax" if options.peak == "nll" else "unnormalized"
        criterion = CrossEntropyCriterion(task, False) if options.peak == "nll" else bso_criterion(task, 6)
        contender = Contender(ours(task, options, scorer), criterion)
        for sample in batches:
            contender.update(sample)
    if options.device == "cuda":
        print(torch.cuda.max_memory_allocated() / 2**20)
    else:
        # Not getrusage: a child's ru_maxrss begins at its parent's.
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def trained_state(task, options, batches):
    """Parameters after a short NLL training and a shorter BSO training on the noisy chain."""
    more = make_batches(task, argparse.Namespace(**{**vars(options), "seed": options.seed + 1}), 64)
    nll = Contender(ours(task, options, "softmax"), CrossEntropyCriterion(task, False), 1e-2)
    for index in range(options.training):
        nll.update(more[index % len(more)])
    bso = Contender(ours(task, options, "unnormalized"), bso_criterion(task, 6), 1e-3)
    bso.model.load_state_dict(nll.model.state_dict())
    for index in range(options.training // 4):
        bso.update(more[index % len(more)])
    return bso.model.state_dict()


def parse(words):
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sentences", type=int, default=64, help="B")
    parser.add_argument("--length", type=int, default=20, help="S and T")
    parser.add_argument("--vocabulary", type=int, default=10000, help="V")
    parser.add_argument("--hidden", type=int, default=256, help="H, and the size of the embeddings")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--training", type=int, default=160, help="updates that make the trained model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="WORDS", help="of the measurements only those whose name holds these words")
    parser.add_argument("--out", help="also write the results to this JSON file")
    parser.add_argument("--peak", choices=["none", "nll", "bso"], help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    options.words = list(words)
    return options


def main():
    """Runs all measurements and prints each as it is done."""
    options = parse(sys.argv[1:])
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    task = Task(options.vocabulary)
    batches = make_batches(task, options)
    if options.peak:
        print_peak(task, options, batches)
        return
    size = {name: getattr(options, name) for name in "device dtype threads sentences length vocabulary hidden".split()}
    results = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, **size}
    print(json.dumps(results))
    fresh = ours(task, options, "unnormalized").state_dict()
    trained = functools.lru_cache(None)(lambda: trained_state(task, options, batches))
    measurements = {
        "NLL update, bso_lstm / fairseq lstm": lambda: against_fairseq(task, options, batches),
        "BSO update / NLL update, fresh model": lambda: updates(task, options, batches, fresh, 0.0),
        "BSO update / NLL update, trained model": lambda: updates(task, options, batches, trained(), 0.0),
        "BSO-Con update / NLL update, fresh model": lambda: constrained_updates(options, batches, fresh),
        "BSO-Con update / NLL update, trained model": lambda: constrained_updates(options, batches, trained()),
        "share of a BSO update at beam 6, trained model": lambda: breakdown(task, options, batches, trained()),
        "generation speed": lambda: generation(task, options, batches),
        "generation speed, word_order / no constraint": lambda: constrained_generation(options, batches),
        "word-level distillation / (NLL update + teacher's forward)": lambda: word_distillation(task, options, batches),
        "distilled sentences a second": lambda: cache_speed(options),
        "NLL update, pruned / unpruned": lambda: pruning(task, options, batches),
        "translation speed on a CPU, fairseq-bso translate / fairseq's generator": lambda: translation(
            task, options, batches, trained()
        ),
        "peak memory": lambda: peak_memory(options),
    }
    if options.only:
        measurements = {name: measure for name, measure in measurements.items() if options.only in name}
    for name, measure in measurements.items():
        results[name] = measure()
        print(f"\n{name}", flush=True)
        for key, value in results[name].items():
            print(f"  {key}: {value}", flush=True)
    if options.out:
        partial = f"{options.out}.partial"
        Path(partial).write_text(json.dumps(results, indent=1) + "\n")
        os.replace(partial, options.out)


if __name__ == "__main__":
    main()
