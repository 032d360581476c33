"""Pruning while small models are trained: weights that stay zero, and refused options."""

import re
from argparse import Namespace

import pytest
import torch
from fairseq.tasks import TASK_REGISTRY
from pruning_runs import build, classes_of, one_update, options
from reference import fakes, stock
from torch import nn

from fairseq_bso.errors import UserError
from fairseq_bso.prune import optimizer_state, task, weight_classes
from fairseq_bso.prune import pruner as pruning
from fairseq_bso.prune.schemes import PruningSchedule
from fairseq_bso.prune.weight_pruner import WeightPruner


def half_of(classes):
    """Masks that prune half of the weights."""
    return classes.extend_masks("class_blind", classes.empty_masks(), round(0.5 * classes.total)).pruned


def pruner(amount=0.5, **schedule):
    return WeightPruner(PruningSchedule(schedule.pop("kind", "one_shot"), amount, **schedule), "class_blind", "")


class Noisy(torch.optim.SGD):
    """Adds noise to all weights, pruned weights included."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for one in group["params"]:
                one.data.add_(torch.randn_like(one), alpha=0.01)


def noisy(model):
    optimizer = build("sgd", model)
    optimizer._optimizer = Noisy(model.parameters(), lr=0.05)
    return optimizer


@pytest.mark.parametrize("name", ["adam", "adamax", "adadelta", "adafactor", "nag", "sgd", "adagrad", "noisy"])
def test_pruned_weights_stay_zero_with_every_optimizer(name):
    model = fakes.model().float()
    optimizer = noisy(model) if name == "noisy" else build(name, model)
    callback = pruner(0.6, kind="gradual", start=2, end=6, every=2)
    total = classes_of(model).total
    for update in range(8):
        one_update(model, optimizer, callback, update)
        count = callback.schedule.count(update + 1, total)
        zeros = sum(int((one == 0).sum()) for one in callback.classes.weights)
        # The padding rows of two embeddings are zero from the start; they are pruned first.
        assert callback.count == count and zeros == (count if name == "noisy" else max(count, 10))
    assert count == round(0.6 * total)
    assert callback.keeps_zeros == (name != "noisy")  # otherwise every step sets the pruned weights to zero
    for place, name, moments in optimizer_state.moments_of(optimizer, callback.classes.weights, []):
        if name in optimizer_state.SQUARES:  # the root of zero is slow
            assert (moments[callback.pruned[place]] > 1e-15).all()
        else:
            assert (moments[callback.pruned[place]] == 0).all()


def test_a_tied_matrix_has_one_mask_in_all_its_places():
    """torch.nn.utils.prune masks one of two tied layers; gradients of the other move masked weights (findings)."""
    model = fakes.model(share_all_embeddings=True).float()
    optimizer, callback = build("adam", model), pruner(0.7)
    for update in range(3):
        one_update(model, optimizer, callback, update)
    state = model.state_dict()
    found = [state[name] for name in ("encoder.embedding.weight", "decoder.embedding.weight", "decoder.output_weight")]
    (mask,) = [
        mask
        for mask, weight in zip(callback.pruned, callback.classes.weights)
        if weight.data_ptr() == found[0].data_ptr()
    ]
    assert 1 < mask.sum() < mask.numel() - 1
    assert all(torch.equal(one == 0, mask) for one in found)
    assert sum(int((one == 0).sum()) for one in callback.classes.weights) == round(0.7 * callback.classes.total)


def test_a_pruned_transformer_scores_the_same_once_it_is_loaded():
    """torch.nn.utils.prune leaves the output weights of attention as they were before loading (findings)."""
    trained, loaded = (stock.model("transformer", seed).float() for seed in (1, 2))
    optimizer, callback = build("adam", trained), pruner(0.5)
    for update in range(2):
        one_update(trained, optimizer, callback, update)
    loaded.load_state_dict(trained.state_dict())
    net_input, _ = fakes.batch(trained, [[5, 6, 2]], [[7, 8, 2]])
    with torch.no_grad():
        assert torch.equal(trained(**net_input)[0], loaded(**net_input)[0])
    outputs = [module.out_proj.weight for module in loaded.modules() if hasattr(module, "out_proj")]
    assert len(outputs) == 3 and all(0 < int((one == 0).sum()) < one.numel() for one in outputs)


def test_bfloat16_and_its_master_weights():
    model = fakes.model().bfloat16()
    optimizer, callback = build("adam", model, bf16=True), pruner(0.7)
    for update in range(4):
        one_update(model, optimizer, callback, update)
    masks = dict(zip(map(id, callback.classes.weights), callback.pruned))
    assert len(callback.masters) == len(masks)
    checked = 0
    for one, master in zip(optimizer.fp16_params, optimizer.fp32_params):
        if id(one) in masks:
            assert (one[masks[id(one)]] == 0).all() and (master[masks[id(one)]] == 0).all()
            assert (master[~masks[id(one)]] != 0).all()
            checked += int(masks[id(one)].sum())
    assert checked == round(0.7 * callback.classes.total)


def test_master_weights_and_moments_in_one_flat_parameter():
    """--fp16 on a GPU stores all float32 weights of a device in one parameter."""
    model = fakes.model().half()
    parameters = list(model.parameters())
    flat = nn.Parameter(torch.cat([one.detach().flatten() for one in parameters]).float())
    inner = torch.optim.Adam([flat])
    flat.grad = torch.ones_like(flat)
    inner.step()
    optimizer = Namespace(fp16_params=parameters, fp32_params={0: flat}, optimizer=inner)
    callback = pruner(0.5)
    callback.before_step(model, optimizer, 0)
    start = 0
    masks = dict(zip(map(id, callback.classes.weights), callback.pruned))
    for one in parameters:
        mask = masks.get(id(one), torch.zeros_like(one, dtype=torch.bool)).flatten()
        for values in (flat.detach(), inner.state[flat]["exp_avg"], inner.state[flat]["exp_avg_sq"]):
            part = values[start : start + one.numel()]
            assert (part[mask] == 0).all() and (part[~mask] != 0).any()
        start += one.numel()


@pytest.mark.parametrize("schedule", [{"amount": 0.3}, {"kind": "gradual", "start": 0, "end": 9}, {"start": 5}])
def test_a_schedule_that_begins_below_the_pruned_share_says_so(schedule, caplog):
    model = fakes.model().float()
    found = classes_of(model)
    found.write_zero_marks(half_of(found))
    callback = pruner(**schedule)
    callback.before_step(model, build("adam", model), 0)
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "weights are zero, but the masks of update 0 prune" in warning
    needed = float(re.search("--prune-amount of ([0-9.]+) or more", warning).group(1))
    assert round(needed * found.total) == round(0.5 * found.total)


@pytest.mark.parametrize("schedule", [{"amount": 0.5}, {"amount": 0.6}, {"kind": "gradual", "start": 3, "end": 9}])
def test_zeros_of_padding_and_a_pruning_that_goes_on_need_no_warning(schedule, caplog, monkeypatch):
    monkeypatch.setattr(weight_classes, "ZERO_BY_CHANCE", 0.05)  # small models have a larger share of padding
    model = fakes.model().float()
    found = classes_of(model)
    if "kind" not in schedule:
        found.write_zero_marks(half_of(found))
    pruner(**schedule).before_step(model, build("adam", model), 0)
    assert not [one for one in caplog.records if one.levelname == "WARNING"]


def test_squares_are_lifted_again_before_they_have_decayed(monkeypatch):
    monkeypatch.setattr(pruning, "LIFT_EVERY", 3)
    model = fakes.model().float()
    optimizer, callback = build("adam", model), pruner(0.6)
    lifted = []
    for update in range(8):
        one_update(model, optimizer, callback, update)
        lifted.append(callback.lifted)
        moments = optimizer_state.moments_of(optimizer, callback.classes.weights, [])
        squares = [one[callback.pruned[place]] for place, name, one in moments if name == "exp_avg_sq"]
        decay = 0.99 ** (update + 1 - callback.lifted)
        assert all(torch.allclose(one, torch.full_like(one, pruning.LIFTED * decay)) for one in squares)
    assert lifted == [1, 1, 1, 4, 4, 4, 7, 7]


def test_sparse_gradients_bring_nothing_back():
    table = nn.Embedding(20, 4, sparse=True)
    optimizer, callback = torch.optim.SGD(table.parameters(), lr=0.5), pruner(0.5)
    for update in range(3):
        callback.before_step(table, optimizer, update)
        optimizer.zero_grad()
        table(torch.tensor([1, 2, 3, 2])).sum().backward()
        assert table.weight.grad.is_sparse
        callback.mask_gradients()
        optimizer.step()
        callback.after_step(optimizer, update + 1)
        assert (table.weight[callback.pruned[0]] == 0).all() and int((table.weight == 0).sum()) == 40


def test_gradients_of_pruned_weights_do_not_count_in_clipping():
    model = fakes.model().float()
    optimizer, callback = build("sgd", model), pruner(0.9)
    one_update(model, optimizer, callback, 0)
    pairs = list(zip(callback.classes.weights, callback.pruned))
    gradients = [(weight.grad, mask) for weight, mask in pairs if weight.grad is not None]
    assert any(gradient[~mask].any() for gradient, mask in gradients)
    assert all((gradient[mask] == 0).all() for gradient, mask in gradients)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"prune_amount": 1.5}, "amount to prune is 1.5"),
        ({"prune_scheme": "random"}, "unknown pruning scheme 'random'; choose from: class_blind"),
        ({"prune_schedule": "gradual"}, "must end after its start"),
        ({"ddp_backend": "fully_sharded"}, "--prune-amount cannot be used with --ddp-backend fully_sharded"),
        ({"ddp_backend": "slowmo"}, "--ddp-backend slowmo"),
        ({"zero_sharding": "os"}, "--zero-sharding os"),
        ({"model_parallel_size": 2}, "--model-parallel-size 2"),
        ({"pipeline_model_parallel": True}, "--pipeline-model-parallel True"),
        ({"use_bmuf": True}, "--use-bmuf"),
        ({"store_ema": True}, "--store-ema"),
    ],
)
def test_unsupported_options_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        task.make_pruner(options(**{"prune_amount": 0.5, **given}))


def test_experts_of_several_workers_are_refused(monkeypatch):
    model = fakes.model().float()
    model.encoder.embedding.weight.expert = True
    pruner().before_step(model, build("adam", model), 0)
    monkeypatch.setattr(pruning, "_workers", lambda: 2)
    with pytest.raises(UserError, match="--base-layers on several workers"):
        pruner().before_step(model, build("adam", model), 0)


def test_without_an_amount_there_is_no_pruner():
    assert task.make_pruner(options(ddp_backend="fully_sharded")) is None
    assert task.make_pruner(Namespace()) is None


def test_any_task_can_be_given_pruning_and_names_are_taken_once():
    made = task.register_pruned_task("masked_lm", "pruned_for_the_test")
    assert TASK_REGISTRY["pruned_for_the_test"] is made and issubclass(made, TASK_REGISTRY["masked_lm"])
    with pytest.raises(ValueError, match="already registered"):
        task.register_pruned_task("masked_lm", "pruned_for_the_test")
    with pytest.raises(ValueError, match="there is no task 'nothing'"):
        task.register_pruned_task("nothing")
