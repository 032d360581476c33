"""The names that ``--user-dir fairseq_bso`` registers; no option hides another."""

import dataclasses
import subprocess
import sys
from argparse import Namespace

import pytest
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.translation import TranslationConfig
from reference import fakes

from fairseq_bso import tasks
from fairseq_bso.bso import costs, criterion
from fairseq_bso.cross_entropy import criterion as cross_entropy
from fairseq_bso.cross_entropy import scheduled_sampling
from fairseq_bso.distill import criterion as distillation
from fairseq_bso.distill import options as distillation_options
from fairseq_bso.distill import tasks as distillation_tasks
from fairseq_bso.models import bso_lstm

SIZES = {
    "bso_lstm": (1, 256),
    "bso_lstm_word_ordering": (2, 256),
    "bso_lstm_parsing": (2, 300),
    "bso_lstm_iwslt": (1, 256),
    "bso_lstm_4x1000": (4, 1000),
    "bso_lstm_2x500": (2, 500),
    "bso_lstm_2x300": (2, 300),
    "bso_lstm_tiny": (1, 32),
}


def test_the_registries_hold_our_classes():
    """fairseq silently keeps the first of two models or tasks with the same name."""
    assert MODEL_REGISTRY["bso_lstm"] is bso_lstm.BsoLSTMModel
    assert CRITERION_REGISTRY["beam_search_optimization"] is criterion.BeamSearchOptimizationCriterion
    assert CRITERION_REGISTRY["word_distillation"] is distillation.WordDistillationCriterion
    assert CRITERION_REGISTRY["blockwise_cross_entropy"] is cross_entropy.BlockwiseCrossEntropyCriterion
    smoothed = CRITERION_REGISTRY["blockwise_label_smoothed_cross_entropy"]
    assert smoothed is cross_entropy.BlockwiseLabelSmoothedCrossEntropyCriterion
    assert CRITERION_REGISTRY["self_normalized_cross_entropy"] is cross_entropy.SelfNormalizedCrossEntropyCriterion
    assert CRITERION_REGISTRY["scheduled_sampling"] is scheduled_sampling.ScheduledSamplingCriterion
    assert TASK_REGISTRY["bso_translation"] is tasks.BsoTranslationTask
    assert TASK_REGISTRY["word_distillation"] is distillation_tasks.WordDistillationTask
    assert TASK_REGISTRY["sequence_distillation"] is distillation_tasks.SequenceDistillationTask
    assert {name for name, model in ARCH_MODEL_REGISTRY.items() if model is bso_lstm.BsoLSTMModel} == set(SIZES)


@pytest.mark.parametrize("name", sorted(set(SIZES) - {"bso_lstm"}))
def test_named_sizes_set_both_sides_and_yield_to_the_command_line(name):
    layers, size = SIZES[name]
    args = Namespace(decoder_hidden_size=7)
    ARCH_CONFIG_REGISTRY[name](args)
    assert args.encoder_layers == args.decoder_layers == layers
    assert args.encoder_embed_dim == args.encoder_hidden_size == args.decoder_embed_dim == size
    assert args.decoder_hidden_size == 7


CRITERIONS = (
    criterion.BeamSearchOptimizationConfig,
    cross_entropy.SelfNormalizedCrossEntropyConfig,
    scheduled_sampling.ScheduledSamplingConfig,
    distillation.WordDistillationCriterionConfig,
)
TASKS = (
    tasks.BsoTranslationConfig,
    distillation_options.WordDistillationConfig,
    distillation_options.SequenceDistillationConfig,
)


@pytest.mark.parametrize("criterion", CRITERIONS, ids=lambda config: config.__name__)
@pytest.mark.parametrize("task", TASKS, ids=lambda config: config.__name__)
def test_options_are_unique_among_all_that_one_command_line_holds(criterion, task):
    """A name in two dataclasses becomes one flag with one of two defaults. Links (II) to another field are intended."""
    groups = {
        name: field.default_factory() if field.default is dataclasses.MISSING else field.default
        for name, field in FairseqConfig.__dataclass_fields__.items()
    }
    taken = {}
    for name, group in groups.items():
        if dataclasses.is_dataclass(group):
            for field in dataclasses.fields(group):
                taken.setdefault(field.name, name)
    assert len(taken) > 100
    fairseqs_own = {field.name for field in dataclasses.fields(TranslationConfig)}
    for name, config in {"model": bso_lstm.BsoLSTMConfig, "criterion": criterion, "task": task}.items():
        for field in dataclasses.fields(config):
            if field.name == "_name" or str(field.default).startswith("${"):
                continue
            if name == "task" and field.name in fairseqs_own:
                continue
            assert taken.setdefault(field.name, name) == name, f"{field.name} of {name} is also in {taken[field.name]}"


def test_options_have_help_and_no_flag_that_turns_off():
    for config in (bso_lstm.BsoLSTMConfig, *CRITERIONS, *TASKS):
        for field in dataclasses.fields(config):
            linked = str(field.default).startswith("${")
            assert linked or field.name == "_name" or field.metadata.get("help"), field.name
            assert field.default is not True or field.name == "left_pad_source", (
                f"{field.name}: fairseq makes a flag of it that turns it off"
            )


def test_an_installed_package_is_found_by_its_plain_name_from_any_folder(tmp_path):
    code = (
        "from argparse import Namespace; from fairseq import utils; from pathlib import Path; import fairseq, sys;"
        "here = Path(fairseq.__file__).parent.parent / 'fairseq_bso';"
        "utils.import_user_module(Namespace(user_dir='fairseq_bso' if here.exists() else sys.argv[1]));"
        "from fairseq.models import MODEL_REGISTRY; print(MODEL_REGISTRY['bso_lstm'].__module__)"
    )
    folder = str(__import__("pathlib").Path(bso_lstm.__file__).resolve().parents[1])
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "fairseq_bso.models.bso_lstm", done.stderr


def test_a_user_registers_a_delta_of_their_own(monkeypatch):
    monkeypatch.setattr(costs._DELTAS, "members", dict(costs._DELTAS.members))  # drops the registration after the test

    @costs.register_delta("half_for_the_registration_test")
    def half(hypothesis, gold, lengths):
        return lengths.float() * 0 + 0.5

    model = fakes.model()
    net_input, target = fakes.batch(model, [[5, 6, 2]], [[7, 8, 2]])
    sample = {"net_input": net_input, "target": target, "ntokens": 3, "id": target[:, 0]}
    losses = {}
    for name in ("zero_one", "half_for_the_registration_test"):
        build = criterion.BeamSearchOptimizationCriterion
        losses[name] = build(fakes.FakeTask(), 3, 2, 0, name, 1.0, 0.0, "model", 2, False)(model, sample)[0]
    assert losses["zero_one"] > 0
    assert losses["half_for_the_registration_test"] == losses["zero_one"] / 2
