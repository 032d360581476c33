"""Measurements of benchmark.py on updates: their time, the parts of the time, and their memory."""

import functools
import subprocess
import sys
from argparse import Namespace
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from benchmark_setup import (
    Contender,
    bso_criterion,
    make_bso_lstm,
    make_fairseq_lstm,
    ratio,
    synchronised_time,
    time_in_turn,
)
from fairseq.criterions.cross_entropy import CrossEntropyCriterion

from fairseq_bso.cross_entropy.criterion import BlockwiseCrossEntropyCriterion
from fairseq_bso.distill.criterion import WordDistillationCriterion
from fairseq_bso.distill.teacher import Teacher
from fairseq_bso.prune.schemes import PruningSchedule
from fairseq_bso.prune.weight_pruner import WeightPruner


def against_fairseq(task, options, batches):
    """NLL update of `bso_lstm` / NLL update of fairseq's `lstm`.

    The former is measured in blocks of words and by fairseq's criterion."""
    contenders = {
        "blockwise_cross_entropy": Contender(
            make_bso_lstm(task, options, "softmax"), BlockwiseCrossEntropyCriterion(task, False)
        ),
        "cross_entropy": Contender(make_bso_lstm(task, options, "softmax"), CrossEntropyCriterion(task, False)),
        "fairseq lstm": Contender(make_fairseq_lstm(task, options), CrossEntropyCriterion(task, False)),
    }
    seconds = time_in_turn({name: contender.update for name, contender in contenders.items()}, batches, options)
    theirs = seconds.pop("fairseq lstm")
    return {f"{name} / fairseq lstm": ratio(taken, theirs) for name, taken in seconds.items()}


class PrunedContender(Contender):
    """A contender with the pruning callback, with 80% of the weights pruned."""

    def __init__(self, model, criterion):
        super().__init__(model, criterion)
        self.pruner = WeightPruner(PruningSchedule("one_shot", 0.8), "class_blind", "")

    def update(self, sample):
        """One update as in a task with the callback."""
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
    """NLL update with the pruning callback / without it."""
    contenders = {
        kind.__name__: kind(make_bso_lstm(task, options, "softmax"), CrossEntropyCriterion(task, False))
        for kind in (PrunedContender, Contender)
    }
    seconds = time_in_turn({name: contender.update for name, contender in contenders.items()}, batches, options)
    return {"pruned / unpruned": ratio(seconds["PrunedContender"], seconds["Contender"])}


def word_distillation(task, options, batches):
    """Word-level distillation / (NLL update + forward pass of the teacher, which has twice the units)."""
    larger = Namespace(**{**vars(options), "hidden": 2 * options.hidden})
    teacher = Teacher([make_bso_lstm(task, larger, "softmax")], ["a fresh model"])
    task.teacher = teacher
    contenders = {"nll": Contender(make_bso_lstm(task, options, "softmax"), CrossEntropyCriterion(task, False)).update}
    common = {"distill_weight": 0.5, "label_smoothing": 0.0, "sentence_avg": False}
    distills = functools.partial(WordDistillationCriterion, task, **common)
    for name, temperature, top_k in (("plain", 1.0, 0), ("temperature 2", 2.0, 0), ("top 8", 1.0, 8)):
        criterion = distills(distill_temperature=temperature, teacher_top_k=top_k, teacher_memory=False)
        contenders[name] = Contender(make_bso_lstm(task, options, "softmax"), criterion).update
    criterion = distills(distill_temperature=1.0, teacher_top_k=8, teacher_memory=True)
    for sample in batches:  # the first epoch
        criterion.cache.top_k(sample["net_input"])
    contenders["remembered"] = Contender(make_bso_lstm(task, options, "softmax"), criterion).update

    @torch.no_grad()
    def forward(sample):
        for model in teacher.place(torch.device(options.device)):
            model(**sample["net_input"])

    seconds = time_in_turn({"teacher": forward, **contenders}, batches, options)
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


def shares_of_parts(contender, parts, warm_up, batches, device):
    """The share of each part in the time of a contender's updates, and of the rest.

    Args:
        contender: does the updates.
        parts: (owner, name, label) of each function to time. Labels that begin with "of these" are inside another part.
        warm_up, batches: the batches of updates that are not timed, and that are.
        device: of the model.
    """
    for sample in warm_up:
        contender.update(sample)
    totals = {}
    with ExitStack() as timers:
        for owner, name, label in parts:
            timers.enter_context(timed(owner, name, label, totals, device))
        with clock(totals, "update", device):
            for sample in batches:
                contender.update(sample)
    whole = totals.pop("update")
    shares = {name: round(seconds / whole, 3) for name, seconds in totals.items()}
    rest = 1 - sum(share for name, share in shares.items() if not name.startswith("of these"))
    return {**shares, "rest": round(rest, 3)}


PEAKS = {"nll": ("softmax", None), "bso": ("softmax", 6), "bso, last score": ("unnormalized", 6)}


def peak_memory(options):
    """The peak memory in MiB of a process that does only NLL updates, or only BSO updates."""
    command = [sys.executable, str(Path(__file__).with_name("benchmark.py")), *options.argv]
    found = {}
    for kind in ("none", *PEAKS):
        output = subprocess.run([*command, "--peak", kind], check=True, capture_output=True, text=True).stdout
        found[kind] = float(output.strip().splitlines()[-1])
    return {f"{kind}: MiB above an idle process": round(found[kind] - found["none"]) for kind in PEAKS}


def print_peak(task, options, batches):
    """Does a few updates of one kind and prints the peak in MiB (the GPU's, where there is one)."""
    if options.peak != "none":
        scorer, beam = PEAKS[options.peak]
        criterion = BlockwiseCrossEntropyCriterion(task, False) if beam is None else bso_criterion(task, beam)
        contender = Contender(make_bso_lstm(task, options, scorer), criterion)
        for sample in batches:
            contender.update(sample)
    print_peak_of_process(options.device)


def print_peak_of_process(device):
    """Prints the peak memory of this process in MiB, or that of its GPU."""
    if device == "cuda":
        print(torch.cuda.max_memory_allocated() / 2**20)
    else:
        # getrusage would be wrong: a child's ru_maxrss begins at its parent's.
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
