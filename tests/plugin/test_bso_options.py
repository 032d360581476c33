"""Options that ``--criterion beam_search_optimization`` refuses, before the first update if possible."""

import pytest
import torch
from reference import fakes

from fairseq_bso.bso.criterion import BeamSearchOptimizationConfig, BeamSearchOptimizationCriterion
from fairseq_bso.errors import UserError

INF, NAN = float("inf"), float("nan")


def criterion(**options):
    """The criterion with defaults for all other options."""
    given = {**vars(BeamSearchOptimizationConfig()), "sentence_avg": False, **options}
    given.pop("_name", None)
    return BeamSearchOptimizationCriterion(fakes.FakeTask(), **given)


def loss_of(model, **options):
    net_input, target = fakes.batch(model, [[5, 6, 2]], [[7, 8, 2]])
    sample = {"net_input": net_input, "target": target, "ntokens": 3, "id": torch.arange(1)}
    return criterion(**options)(model, sample)[0]


@pytest.mark.parametrize(
    "options, message",
    [
        *(({"margin": value}, f"--margin is {value}, but must be above 0, and finite") for value in (0.0, INF, NAN)),
        *(({"nll_weight": value}, f"--nll-weight is {value}, but must be at least 0") for value in (-0.5, INF, NAN)),
        *(
            ({"finished_lenpen": value, "finished": "rival"}, f"--finished-lenpen is {value}, but must be from 0 to")
            for value in (-1.0, 11.0, INF, NAN)
        ),
        ({"search_words": -1}, "--search-words is -1, but must be at least 0$"),
        ({"search_screen": 0}, "--search-screen is 0, but must be above 0$"),
        (
            {"finished_lenpen": 0.5},
            "--finished-lenpen is 0.5, but --finished dropped .*: add --finished rival, or leave",
        ),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        criterion(**options)


@pytest.mark.parametrize(
    "options, beam",
    [({}, 2), ({"loss": "cost_margin"}, 2), ({"loss": "risk"}, 5), ({"loss": "risk", "train_beam": 3}, 3)],
)
def test_the_training_beam_that_a_loss_has_if_none_is_named(options, beam):
    assert criterion(**options).curriculum.beam(0) == beam


@pytest.mark.parametrize(
    "scorer, options, message",
    [
        ("unnormalized", {}, "--finished rival compares sums, but --scorer unnormalized scores the last word alone"),
        (
            "summed",
            {"finished_lenpen": 0.5},
            "--finished-lenpen is 0.5, but the raw scores of --scorer summed are never",
        ),
    ],
)
def test_options_that_the_scorer_has_no_use_for(scorer, options, message):
    with pytest.raises(UserError, match=message):
        loss_of(fakes.model(scorer=scorer), finished="rival", **options)


@pytest.mark.parametrize("scorer, lenpen", [("softmax", 0.5), ("softmax", 0.0), ("summed", 1.0)])
def test_a_length_penalty_that_is_used_passes(scorer, lenpen):
    assert loss_of(fakes.model(scorer=scorer), finished="rival", finished_lenpen=lenpen).isfinite()


@pytest.mark.parametrize("scorer", ["summed", "unnormalized"])
def test_cross_entropy_of_raw_scores_names_both_ways_on(scorer):
    model = fakes.model(scorer=scorer)
    net_input, _ = fakes.batch(model, [[5, 2]], [[4, 2]])
    with pytest.raises(
        UserError, match="--criterion self_normalized_cross_entropy or beam_search_optimization, or give"
    ):
        model.get_normalized_probs(model(**net_input), log_probs=True)
