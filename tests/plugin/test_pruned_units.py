"""Pruned units of small models: they are zero, stay zero in training, and exports without them compute the same."""

import numpy as np
import pytest
import torch
from pruning_runs import build, one_update, options
from reference import fakes
from runtime_models import VARIANTS

from bso_runtime import weights
from bso_runtime.config import ModelConfig
from bso_runtime.model_file import Model
from bso_runtime.network import Network
from bso_runtime.onnx_network import OnnxNetwork
from fairseq_bso.errors import UserError
from fairseq_bso.export import command as export
from fairseq_bso.export import onnx_graphs
from fairseq_bso.export.zero_units import without_zero_units
from fairseq_bso.models.decoder import DecoderPass
from fairseq_bso.prune import task
from fairseq_bso.prune.schemes import PruningSchedule
from fairseq_bso.prune.unit_classes import UnitClasses
from fairseq_bso.prune.unit_pruner import UnitPruner
from fairseq_bso.prune.weight_classes import named_parameters
from fairseq_bso.unit_sets import zero_units

MORE = [
    *VARIANTS,
    {"encoder_hidden_size": 4, "decoder_hidden_size": 8, "encoder_bidirectional": True},  # no bridge, two directions
    {"encoder_bidirectional": True, "encoder_layers": 2, "decoder_layers": 2},
]
SOURCES, GOLDS = [[5, 6, 2], [5, 6, 7, 4, 2], [8, 2]], [[6, 6, 9, 8, 2], [7, 4, 5, 9, 2], [4, 9, 9, 4, 2]]


def classes_of(model, exclude=""):
    parameters = named_parameters(model, frozen=True)
    return UnitClasses(parameters, model.unit_sets(parameters, model.residual), exclude=exclude)


def prune(model, amount, exclude=""):
    """Prunes units of a model; returns its classes and masks."""
    classes = classes_of(model, exclude)
    masks = classes.extend_masks(classes.empty_masks(), classes.counts(PruningSchedule("one_shot", amount), 0)).pruned
    classes.write_zero_marks(masks)
    return classes, masks


def state_of(model, given):
    config = {"_name": "bso_lstm", "scorer": "unnormalized", "max_target_positions": 1024, **given}
    return {"model": dict(model.state_dict()), "cfg": {"model": config}}


def exported(model, given, cut, **vocabularies):
    """The output of `export`, with or without zero units, and the counts that it prints."""
    state = state_of(model.float(), given)
    tensors, counts = without_zero_units(state, state["model"]) if cut else (state["model"], {})
    config = ModelConfig(**weights.structure_of(tensors), **export._options(state))
    return Model(config, {name: tensor.numpy() for name, tensor in tensors.items()}, vocabularies), counts


def scores_of(network):
    """f of all next words along three targets, (T, B, V)."""
    memory, state = network.encode(SOURCES)
    found = []
    for words in np.array([[2, *gold[:-1]] for gold in GOLDS]).T:
        scores, state = network.step(words, state, memory)
        found.append(scores)
    return np.stack(found)


@pytest.mark.parametrize("given", MORE)
def test_pruned_units_are_zero_at_every_step_whatever_is_read(given):
    model = fakes.model(**given)
    prune(model, 0.4)
    net_input, _ = fakes.batch(model, SOURCES, GOLDS)
    memory = model.encoder(net_input["src_tokens"], net_input["src_lengths"])
    _, (*states, fed), _ = run_of(model, memory).along(net_input["prev_output_tokens"])
    # Without a bridge the decoder's units are those of the encoder's directions, each of which rounds its own count.
    starts = len(model.encoder.layers[0].all_weights) if model.decoder.initial_hidden is None else 1
    for state in states:  # hidden and cell of every layer, the first ones from the encoder
        assert int((state == 0).flatten(0, 1).all(0).sum()) == starts * round(0.4 * state.size(2) / starts)
    assert int((fed == 0).flatten(0, 1).all(0).sum()) == round(0.4 * fed.size(2))
    for state in (*memory.hidden, *memory.cell):
        halves = state.chunk(2, 1) if model.encoder.layers[0].bidirectional else [state]
        assert all(int((half == 0).all(0).sum()) == round(0.4 * half.size(1)) for half in halves)
    initial = model.decoder.initial_states(memory)
    zeros = (states[0] == 0).flatten(0, 1).all(0)
    assert (initial[0][:, zeros] == 0).all() and (initial[model.decoder.layers][:, zeros] == 0).all()


def run_of(model, memory):
    return DecoderPass(model.decoder, memory, len(GOLDS[0]))


@pytest.mark.parametrize("given", MORE)
@pytest.mark.parametrize("exclude", ["", "attentional_vector", "encoder*"])
def test_an_export_without_zero_units_computes_the_same_with_smaller_matrices(given, exclude, tmp_path):
    model = fakes.model(**given)
    classes, masks = prune(model, 0.4, exclude)
    whole, (cut, counts) = exported(model, given, False)[0], exported(model, given, True)
    assert counts == {name: (kept, size) for name, (kept, size) in classes.kept(masks).items() if kept < size}
    left = sum(tensor.size for tensor in cut.tensors.values())
    assert left < 0.9 * sum(tensor.size for tensor in whole.tensors.values())
    assert cut.config == whole.config
    weights.check_shapes(cut.config, {name: tensor.shape for name, tensor in cut.tensors.items()})
    expected = scores_of(Network(whole.config, whole.tensors))
    net_input, _ = fakes.batch(model, SOURCES, GOLDS)
    np.testing.assert_allclose(model(**net_input)[0].detach().numpy().swapaxes(0, 1), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores_of(Network(cut.config, cut.tensors)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", MORE)
def test_onnx_graphs_without_zero_units_compute_the_same(given, tmp_path):
    pytest.importorskip("onnxruntime")
    model = fakes.model(**given)
    prune(model, 0.4, "attentional_vector")
    side = "\n".join(["<s>", "<pad>", "</s>", "<unk>", *"abcdef"]).encode()
    cut, _ = exported(model, given, True, source=side, target=side)
    for name, content in onnx_graphs.graphs(cut):
        (tmp_path / f"model.{name}.onnx").write_bytes(content)
    graphs = OnnxNetwork(str(tmp_path / "model"))
    np.testing.assert_allclose(scores_of(graphs), scores_of(Network(cut.config, cut.tensors)), rtol=1e-4, atol=1e-5)


def test_sets_of_one_kind_keep_the_same_number_of_units():
    """Only one of two layers is pruned: the file holds the states of all layers in one block, so both stay whole."""
    given = {"encoder_layers": 2, "decoder_layers": 2}
    model = fakes.model(**given)
    prune(model, 0.4, "encoder_layer_2,*embedding")
    whole, (cut, counts) = exported(model, given, False)[0], exported(model, given, True)
    assert counts == {"attentional_vector": (3, 5)}
    expected = scores_of(Network(whole.config, whole.tensors))
    np.testing.assert_allclose(scores_of(Network(cut.config, cut.tensors)), expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_belongs_to_units_but_the_bias_of_the_words():
    for given in MORE:
        model = fakes.model(**given)
        classes = classes_of(model)
        sets = {units.name: units for units in classes.sets}
        assert len(sets) == len(classes.sets)
        names = {names[0] for names, _ in named_parameters(model)}
        assert names - set(classes.parameters) == {"decoder.output_bias"}


@pytest.mark.parametrize("name", ["adam", "adafactor", "nag", "adagrad", "adadelta"])
def test_pruned_units_stay_zero_with_every_optimizer(name):
    model = fakes.model(encoder_bidirectional=True, share_all_embeddings=True).float()
    optimizer, pruner = build(name, model), UnitPruner(PruningSchedule("gradual", 0.6, 2, 6, 2), "")
    for update in range(8):
        one_update(model, optimizer, pruner, update)
        counts = [int(zero_units(units, pruner.classes.parameters).sum()) for units in pruner.classes.sets]
        assert counts == [pruner.schedule.count(update + 1, units.size) for units in pruner.classes.sets]
        assert pruner.count == sum(counts) and pruner.share == pruner.count / 20
    assert counts == [3, 3, 3, 3]
    assert all((weight[~mask] != 0).float().mean() > 0.9 for weight, mask in zip(pruner.classes.weights, pruner.pruned))


def test_bfloat16_and_its_master_weights():
    model = fakes.model().bfloat16()
    optimizer, pruner = build("adam", model, bf16=True), UnitPruner(PruningSchedule("one_shot", 0.6, 2), "")
    for update in range(4):
        one_update(model, optimizer, pruner, update)
    masks = dict(zip(map(id, pruner.classes.weights), pruner.pruned))
    assert len(pruner.masters) == len(masks)
    for one, master in zip(optimizer.fp16_params, optimizer.fp32_params):
        if id(one) in masks:
            assert (one[masks[id(one)]] == 0).all() and (master[masks[id(one)]] == 0).all()


def test_a_run_goes_on_with_the_zero_units_of_its_checkpoint(caplog):
    model = fakes.model().float()
    classes, masks = prune(model, 0.4)
    pruner = UnitPruner(PruningSchedule("gradual", 0.8, 0, 8, 4), "")
    pruner.before_step(model, build("adam", model), 4)  # 0.7 of 5 units: more than the checkpoint has
    assert pruner.count == 4 * 4 and all((~one | two).all() for one, two in zip(masks, pruner.pruned))
    again = UnitPruner(PruningSchedule("gradual", 0.8, 0, 8, 4), "")
    again.before_step(model, build("adam", model), 5)
    assert all(torch.equal(one, two) for one, two in zip(again.pruned, pruner.pruned))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    less = UnitPruner(PruningSchedule("one_shot", 0.2), "")
    less.before_step(model, build("adam", model), 0)
    assert less.count == 16  # zero units have no gradient, so that they stay zero
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "more units are zero than update 0 prunes, and stay so: those of encoder_layer_1+decoder_layer_1" in warning


def test_weights_that_were_pruned_before_are_named(caplog):
    model = fakes.model().float()
    model.encoder.layers[0].weight_ih_l0.data[:, :3] = 0
    UnitPruner(PruningSchedule("one_shot", 0.4), "").before_step(model, build("adam", model), 0)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "weights outside the pruned units are zero, and may be trained again" in warning


def test_frozen_embeddings_stay_whole():
    model = fakes.model(encoder_freeze_embed=True).float()
    pruner = UnitPruner(PruningSchedule("one_shot", 0.4), "")
    pruner.before_step(model, build("adam", model), 0)
    assert "source_embedding" not in {units.name for units in pruner.classes.sets}
    assert int((model.encoder.embedding.weight == 0).sum()) == 5  # the padding symbol


@pytest.mark.parametrize(
    "given, message",
    [
        ({"prune_units": 1.0}, "amount to prune is 1.0, but must be from 0 .none. to below 1"),
        ({"prune_units": -0.1}, "amount to prune is -0.1"),
        ({"prune_units": float("nan")}, "amount to prune is nan"),
        (
            {"prune_units": 0.3, "prune_amount": 0.5},
            "--prune-units 0.3 and --prune-amount 0.5 cannot be given together",
        ),
        ({"prune_units": 0.3, "prune_scheme": "class_uniform"}, "--prune-scheme class_uniform chooses weights"),
        ({"prune_units": 0.3, "prune_schedule": "gradual"}, "must end after its start"),
        ({"prune_units": 0.3, "store_ema": True}, "--prune-units cannot be used with --store-ema"),
    ],
)
def test_unsupported_options_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        task.make_pruner(options(**given))


def test_a_layer_is_never_pruned_whole():
    model = fakes.model().float()
    pruner = task.make_pruner(options(prune_units=0.95))
    with pytest.raises(UserError, match="would prune all 5 units of encoder_layer_1.decoder_layer_1: give at most 0.8"):
        pruner.before_step(model, build("adam", model), 0)


def test_a_model_without_named_units_is_refused():
    pruner = task.make_pruner(options(prune_units=0.5))
    with pytest.raises(UserError, match="prunes the units of bso_lstm, but not of Linear: .* with --prune-amount"):
        pruner.before_step(torch.nn.Linear(3, 3), None, 0)
