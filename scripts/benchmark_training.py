"""Measurements of benchmark.py on updates: their time, its parts, and their memory."""

import functools
import statistics
import subprocess
import sys
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path

import torch
from benchmark_setup import (
    Contender,
    OrderingTask,
    bso_criterion,
    fairseqs,
    make_batches,
    ours,
    race,
    ratio,
    synchronised_time,
    to_ordering,
)
from fairseq.criterions.cross_entropy import CrossEntropyCriterion

from fairseq_bso.callbacks import Pruner
from fairseq_bso.core.pruning import Schedule
from fairseq_bso.criterions import BlockwiseCrossEntropyCriterion, WordDistillationCriterion
from fairseq_bso.models import bso_lstm
from fairseq_bso.models.decoder import DecoderPass
from fairseq_bso.teacher import Teacher

BEAMS = (2, 6, 11)


def trained_state(task, options, batches):
    """Parameters after a short NLL training and a shorter BSO training on the noisy chain."""
    more = make_batches(task, Namespace(**{**vars(options), "seed": options.seed + 1}), 64)
    nll = Contender(ours(task, options, "softmax"), CrossEntropyCriterion(task, False), 1e-2)
    for index in range(options.training):
        nll.update(more[index % len(more)])
    bso = Contender(ours(task, options, "unnormalized"), bso_criterion(task, 6), 1e-3)
    bso.model.load_state_dict(nll.model.state_dict())
    for index in range(options.training // 4):
        bso.update(more[index % len(more)])
    return bso.model.state_dict()


def updates(task, options, batches, state, learning_rate):
    """BSO / NLL at several beams, exact and screened; from one set of parameters, which `learning_rate` 0 keeps."""
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


def against_fairseq(task, options, batches):
    """NLL update of `bso_lstm`, in blocks of words and by fairseq's criterion / of fairseq's `lstm`."""
    contenders = {
        "blockwise_cross_entropy": Contender(
            ours(task, options, "softmax"), BlockwiseCrossEntropyCriterion(task, False)
        ),
        "cross_entropy": Contender(ours(task, options, "softmax"), CrossEntropyCriterion(task, False)),
        "fairseq lstm": Contender(fairseqs(task, options), CrossEntropyCriterion(task, False)),
    }
    seconds = race({name: contender.update for name, contender in contenders.items()}, batches, options)
    theirs = seconds.pop("fairseq lstm")
    return {f"{name} / fairseq lstm": ratio(taken, theirs) for name, taken in seconds.items()}


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
    """NLL update with the pruning callback / without."""
    contenders = {
        kind.__name__: kind(ours(task, options, "softmax"), CrossEntropyCriterion(task, False))
        for kind in (PrunedContender, Contender)
    }
    seconds = race({name: contender.update for name, contender in contenders.items()}, batches, options)
    return {"pruned / unpruned": ratio(seconds["PrunedContender"], seconds["Contender"])}


def word_distillation(task, options, batches):
    """Word-level distillation / (NLL update + forward pass of the teacher, which has twice the units)."""
    larger = Namespace(**{**vars(options), "hidden": 2 * options.hidden})
    teacher = Teacher([ours(task, larger, "softmax")], ["a fresh model"])
    task.teacher = teacher
    contenders = {"nll": Contender(ours(task, options, "softmax"), CrossEntropyCriterion(task, False)).update}
    common = {"distill_weight": 0.5, "label_smoothing": 0.0, "sentence_avg": False}
    distills = functools.partial(WordDistillationCriterion, task, **common)
    for name, temperature, top_k in (("plain", 1.0, 0), ("temperature 2", 2.0, 0), ("top 8", 1.0, 8)):
        criterion = distills(distill_temperature=temperature, teacher_top_k=top_k, teacher_memory=False)
        contenders[name] = Contender(ours(task, options, "softmax"), criterion).update
    criterion = distills(distill_temperature=1.0, teacher_top_k=8, teacher_memory=True)
    for sample in batches:  # the first epoch
        criterion.memory.likeliest(sample["net_input"])
    contenders["remembered"] = Contender(ours(task, options, "softmax"), criterion).update

    @torch.no_grad()
    def forward(sample):
        for model in teacher.place(torch.device(options.device)):
            model(**sample["net_input"])

    seconds = race({"teacher": forward, **contenders}, batches, options)
    both = [nll + teacher for nll, teacher in zip(seconds["nll"], seconds["teacher"])]
    found = {name: ratio(seconds[name], both) for name in ("plain", "temperature 2", "top 8")}
    found["top 8 with --teacher-memory / NLL update alone"] = ratio(seconds["remembered"], seconds["nll"])
    return found


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
    """Share of each part in a BSO update."""
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


def peak_memory(options):
    """Peak memory in MiB of a process that does NLL, or BSO, updates alone."""
    command = [sys.executable, str(Path(__file__).with_name("benchmark.py")), *options.words]
    found = {}
    for kind in ("none", "nll", "bso"):
        output = subprocess.run([*command, "--peak", kind], check=True, capture_output=True, text=True).stdout
        found[kind] = float(output.strip().splitlines()[-1])
    return {f"{kind} MiB above an idle process": round(found[kind] - found["none"]) for kind in ("nll", "bso")}


def print_peak(task, options, batches):
    """Does a few updates of one kind and prints the peak in MiB (the GPU's, where there is one)."""
    if options.peak != "none":
        scorer = "softmax" if options.peak == "nll" else "unnormalized"
        criterion = BlockwiseCrossEntropyCriterion(task, False) if options.peak == "nll" else bso_criterion(task, 6)
        contender = Contender(ours(task, options, scorer), criterion)
        for sample in batches:
            contender.update(sample)
    if options.device == "cuda":
        print(torch.cuda.max_memory_allocated() / 2**20)
    else:
        # Not getrusage: a child's ru_maxrss begins at its parent's.
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
