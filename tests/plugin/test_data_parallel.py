"""Losses in torch's wrapper of data parallelism, fairseq's default: it needs a gradient of every parameter, once."""

from random import Random

import pytest
import torch
from bso_runs import criterion, make_batch, make_model
from fairseq.distributed import ModuleProxyWrapper
from reference import fakes, stock
from system_commands import UNUSED
from torch.nn.parallel import DistributedDataParallel

from fairseq_bso.search.violations import Rules

NEVER = -1e9  # a margin below which there is no violation


@pytest.fixture(scope="module", autouse=True)
def group(tmp_path_factory):
    """A group of one worker: the wrapper does all that it does with several."""
    meeting = tmp_path_factory.mktemp("group") / "meeting"
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def gradients(name, wrap, **options):
    """The gradients of three updates, the second without a violation."""
    task, found = fakes.FakeTask(words=6), []
    model = make_model(name, 3, task).float().train()
    unused = any(UNUSED.search(parameter) for parameter, _ in model.named_parameters())
    wrapped = model
    if wrap:
        wrapped = ModuleProxyWrapper(DistributedDataParallel(model, find_unused_parameters=unused))
    bso, sample = criterion(task, **options), stock.batch(task, *make_batch(Random(2)))
    for margin in (1.0, NEVER, 1.0):
        bso.cfg.margin = margin
        model.zero_grad()
        loss, _, logged = bso(wrapped, sample)
        assert (logged.get("violations", 0) > 0) == (margin != NEVER and bso.loss.over != "finished")
        loss.backward()
        for parameter in model.parameters():
            found.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone())
    return found


@pytest.mark.parametrize("name", stock.of_these("transformer", "lstm", "fconv", "lightconv", "bso_lstm"))
@pytest.mark.parametrize(
    "options", [{}, {"loss": "log_beam"}, {"loss": "risk"}, {"target": "oracle"}, {"search_dropout": "none"}]
)
def test_gradients_are_those_of_the_model_itself(monkeypatch, name, options):
    monkeypatch.setattr(Rules, "check", lambda self: None)  # of the margin
    for own, wrapped in zip(gradients(name, False, **options), gradients(name, True, **options)):
        torch.testing.assert_close(wrapped, own)
