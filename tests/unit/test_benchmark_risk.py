"""scripts/benchmarks/benchmark_risk.py on tiny sizes: the loop does the same work as ours, and all measurements run."""

import os
from argparse import Namespace
from subprocess import CompletedProcess
from unittest import mock

import pytest
import torch
from benchmark_risk import KINDS, RiskLoop, peak, risk_breakdown, risk_models, risk_updates
from benchmark_setup import Task, bso_criterion, make_batches
from forked import PROCESSOR_TIME, Forked

from fairseq_bso.bso import criterion

OPTIONS = Namespace(
    device="cpu",
    dtype="float64",
    sentences=4,
    length=6,
    vocabulary=30,
    hidden=8,
    rounds=2,
    warm_up=0,
    training=40,
    seed=1,
    threads=1,
)
END = 2  # </s>


@pytest.fixture(scope="module")
def work():
    """The models of each kind, trained once from the same weights whatever ran before, and batches."""
    models = risk_models(Task(OPTIONS.vocabulary), OPTIONS)
    for one in models.values():
        torch.manual_seed(2)
        one.model("trained")
    return models, make_batches(models["bso_lstm"].task, OPTIONS)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(2)


def gradients(model, loss):
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: part.grad for name, part in model.named_parameters() if part.grad is not None}


def noting_to(found):
    """While open, what each search of ours finds is appended to a list."""
    search = criterion.finished_search
    return mock.patch.object(
        criterion, "finished_search", lambda *given, **named: found.append(search(*given, **named)) or found[-1]
    )


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_loop_has_the_loss_and_gradients_of_ours_on_the_same_hypotheses(work, kind):
    models, batches = work
    model, task = models[kind].model("trained").eval(), models[kind].task
    loop, found, sizes = RiskLoop(model, task, 5, OPTIONS.length), [], []
    for sample in batches:
        with noting_to(found):
            ours, _, _ = bso_criterion(task, 5, loss="risk", search_words=0)(model, sample)
        ours_by_name = gradients(model, ours)
        theirs = loop.loss(sample, found[-1])
        theirs_by_name = gradients(model, theirs)
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-5, atol=1e-6)
        for name, part in theirs_by_name.items():
            torch.testing.assert_close(ours_by_name.get(name, 0 * part), part, rtol=1e-5, atol=1e-5, msg=name)
        sizes += found[-1].lengths[found[-1].lengths > 0].tolist()
    assert len(sizes) > 10 and len(set(sizes)) > 1


def test_the_loops_hypotheses_are_those_of_our_search(work):
    """Where a search ends by itself with words: fairseq ends the longest hypotheses by force, and has no empty ones."""
    models, batches = work
    model, task = models["bso_lstm"].model("trained").eval(), models["bso_lstm"].task
    loop, found, equal = RiskLoop(model, task, 5, OPTIONS.length), [], 0
    for sample in batches:
        with noting_to(found):
            bso_criterion(task, 5, loss="risk", search_words=0)(model, sample)
        theirs = loop.finished(loop.generator.generate([model], sample))
        for ours, other in zip(found[-1].paths.tolist(), theirs.paths.tolist()):
            sets = [{tuple(word for word in path if word != 1) for path in paths} - {()} for paths in (ours, other)]
            if len(sets[0]) == 5 and (END,) not in sets[0]:
                equal += 1
                assert sets[0] == sets[1]
    assert equal > 4


@pytest.mark.parametrize("kind", list(KINDS))
def test_ratios_of_time_and_memory(work, kind):
    with mock.patch("benchmark_risk.peak", lambda way, *_: {"none": 100.0, "ours": 130.0, "loop": 160.0}[way]):
        found = risk_updates(kind, work[0][kind], OPTIONS, work[1])
    assert found["ours / loop"]["median"] > 0 and found["memory, ours / loop"] == 0.5


def test_the_peak_of_a_process(work, tmp_path):
    """A child loads the state, does its updates and prints its peak. Here it is a fork that need not import fairseq."""

    def fork(command, **_):
        ended = Forked(command[1], command[2:], tmp_path / "out", os.environ).wait()
        lines = (tmp_path / "out").read_text().splitlines()
        assert ended == 0, lines
        return CompletedProcess(command, 0, "\n".join(line for line in lines if PROCESSOR_TIME not in line))

    with mock.patch("benchmark_risk.subprocess", Namespace(run=fork)):
        assert peak("loop", "bso_lstm", work[0]["bso_lstm"].states["trained"], OPTIONS) > 10


@pytest.mark.parametrize("kind", list(KINDS))
def test_shares_of_the_parts_sum_to_one(work, kind):
    found = risk_breakdown(kind, work[0][kind], OPTIONS, work[1])
    whole = sum(share for name, share in found.items() if not name.startswith("of these"))
    assert whole == pytest.approx(1, abs=0.01) and found["search"] > 0
