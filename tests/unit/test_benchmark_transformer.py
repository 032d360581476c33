"""scripts/benchmarks/benchmark_transformer.py on tiny sizes: all measurements run, and equal work is checked."""

from argparse import Namespace

import pytest
from benchmark_setup import Task, bso_criterion, make_batches
from benchmark_transformer import (
    GeneratorLoop,
    bso_updates,
    check_equal_losses,
    lstms,
    transformer_breakdown,
    transformers,
    ways,
)

from fairseq_bso.models.packed_transformer import PackedTransformer

OPTIONS = Namespace(
    device="cpu",
    dtype="float32",
    sentences=3,
    length=5,
    vocabulary=40,
    hidden=8,
    rounds=2,
    warm_up=0,
    training=2,
    seed=1,
)


@pytest.fixture(scope="module")
def work():
    task = Task(OPTIONS.vocabulary)
    return transformers(task, OPTIONS), OPTIONS, make_batches(task, OPTIONS)


def test_ratios_of_every_beam(work):
    found = bso_updates(*work, beams=[3])
    names = ["beam 3", "beam 3, --search-words 0", "beam 3, --successors word_order"]
    assert list(found) == ["nll seconds", *names]
    assert all(found[name]["median"] > 0 for name in names)
    assert "beam 2" in bso_updates(lstms(work[0].task, OPTIONS), *work[1:], beams=[2])


def test_slower_ways_on_every_model(work):
    found = ways(*work, beam=3)
    assert list(found) == [
        "fresh",
        "fresh, --successors word_order",
        "trained",
        "trained, --successors word_order",
    ]
    assert {len(case) for case in found.values()} == {5, 6}


def test_shares_of_the_parts_sum_to_one(work):
    found = transformer_breakdown(*work, beam=3)
    whole = sum(share for name, share in found.items() if not name.startswith("of these"))
    assert whole == pytest.approx(1, abs=0.01)


def test_unequal_work_is_refused(work, monkeypatch):
    run = PackedTransformer._run
    monkeypatch.setattr(PackedTransformer, "_run", lambda self, packed: 1.5 * run(self, packed))
    with pytest.raises(SystemExit, match="the ways to do a BSO update differ on a fresh model"):
        check_equal_losses(work[0], "fresh", work[0].task, work[2][0], 3)


def test_the_loop_finds_wrong_hypotheses_and_scores_them(work):
    models, _, batches = work
    loop = GeneratorLoop(models.model("fresh"), models.task, 3, OPTIONS.length)
    assert loop.update(batches[0])["loss"] > 0
    assert bso_criterion(models.task, 3).cfg.margin == loop.margin
