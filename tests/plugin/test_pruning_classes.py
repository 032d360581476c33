"""The weight classes of small models, and the masks of their weights."""

from argparse import Namespace

import pytest
import torch
from fairseq.models.lstm import LSTMModel, base_architecture
from pruning_runs import classes_of
from reference import fakes

from fairseq_bso.errors import UserError
from fairseq_bso.prune.weight_classes import AlreadyPruned, class_by_module


def test_classes_of_bso_lstm():
    model = fakes.model(encoder_layers=2, decoder_layers=2, attention="mlp", encoder_bidirectional=True)
    found = classes_of(model)
    assert list(found.members) == [
        "source_embedding",
        "encoder_layer_1",
        "encoder_layer_2",
        "attention",
        "decoder_layer_1",
        "scorer",
        "target_embedding",
        "decoder_layer_2",
        "initial_state",
    ]
    sizes = {name: len(places) for name, places in found.members.items()}
    assert sizes["encoder_layer_1"] == 4 and sizes["attention"] == 4 and sizes["initial_state"] == 2
    assert found.total + found.untouched == sum(one.numel() for one in model.parameters())


def test_tied_embeddings_count_once_and_answer_to_each_of_their_names():
    model = fakes.model(share_all_embeddings=True)
    found = classes_of(model)
    assert "source_embedding+scorer+target_embedding" in found.members
    assert found.total + found.untouched == sum(one.numel() for one in model.parameters())
    without = classes_of(model, "scorer")
    assert not any("embedding" in name for name in without.members)


def test_frozen_embeddings_are_not_pruned():
    assert "source_embedding" in classes_of(fakes.model()).members
    assert "source_embedding" not in classes_of(fakes.model(encoder_freeze_embed=True)).members


@pytest.mark.parametrize(
    "name, expected",
    [
        ("encoder.embed_tokens.weight", "encoder.embed_tokens"),
        ("encoder.lstm.weight_ih_l1_reverse", "encoder.lstm.1"),
        ("decoder.layers.3.self_attn.k_proj.weight", "decoder.layers.3"),
        ("decoder.layers.11.fc1.weight", "decoder.layers.11"),
        ("decoder.fc_out.weight", "decoder.fc_out"),
        ("scale", "scale"),
    ],
)
def test_classes_of_other_models_are_modules(name, expected):
    assert class_by_module(name) == expected


def test_exclude_takes_patterns_and_names_what_it_does_not_know():
    model = fakes.model(encoder_layers=2, decoder_layers=2)
    found = classes_of(model, "*embedding, encoder.layers.0.weight_hh*")
    assert not any("embedding" in name for name in found.members)
    assert len(found.members["encoder_layer_1"]) == 1 and len(found.members["encoder_layer_2"]) == 2
    with pytest.raises(UserError, match="embeddings matches no weights of this model, whose classes are source_emb"):
        classes_of(model, "scorer,embeddings")
    with pytest.raises(UserError, match="no weight can be pruned"):
        classes_of(model, "*")


def test_marks_distinguish_pruned_weights_from_weights_that_are_zero():
    model = fakes.model()
    found = classes_of(model)
    pruned, _ = found.extend_masks("class_blind", found.empty_masks(), 40)
    with torch.no_grad():
        for weight, mask in zip(found.weights, pruned):
            weight.mul_(~mask)  # leaves negative zeros
    next(weight for weight, mask in zip(found.weights, pruned) if not mask.flatten()[0]).data.flatten()[0] = 0.0
    found.write_zero_marks(pruned)
    assert all(torch.equal(*pair) for pair in zip(found.zeros(), pruned))


def test_masks_are_found_extended_or_refused():
    classes = classes_of(fakes.model())
    half = round(0.5 * classes.total)
    first = classes.choose_masks("class_blind", half)
    classes.write_zero_marks(first.pruned)
    assert classes.choose_masks("class_blind", half - 1) == AlreadyPruned(half)
    found = classes.choose_masks("class_blind", half - 1, accept=(half - 1, half))
    assert found.thresholds is None and all(torch.equal(*pair) for pair in zip(found.pruned, first.pruned))
    more = classes.choose_masks("class_uniform", half + 30)
    assert sum(int(mask.sum()) for mask in more.pruned) == half + 30
    assert all((~before | after).all() for before, after in zip(first.pruned, more.pruned))


def test_classes_of_fairseqs_own_lstm():
    defaults = {"encoder_embed_dim": 4, "decoder_embed_dim": 4, "decoder_out_embed_dim": 4, "encoder_layers": 2}
    args = Namespace(**defaults, decoder_layers=2, decoder_hidden_size=4, encoder_hidden_size=4)
    fake = fakes.FakeTask()
    args.max_source_positions = args.max_target_positions = 9
    args.criterion = "cross_entropy"
    base_architecture(args)
    model = LSTMModel.build_model(args, fake)
    names = list(classes_of(model).members)
    assert {"encoder.embed_tokens", "encoder.lstm.0", "encoder.lstm.1", "decoder.layers.1"} <= set(names)
