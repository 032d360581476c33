"""`corrections`: bfloat16 without a TPU, a reading thread that ends, and the number of updates in every model."""

import argparse
import shutil
import subprocess
import sys
from functools import partial

import pytest
import torch
from fairseq.dataclass import utils as dataclass_utils
from fairseq.file_io import PathManager
from fairseq.trainer import Trainer
from reference import fakes

from fairseq_bso import corrections


@pytest.mark.parametrize("there, tpu", [(False, False), (True, True)])
def test_bf16_means_a_tpu_only_where_one_can_be(monkeypatch, there, tpu):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if there else None)
    arguments = argparse.Namespace(bf16=True, tpu=True)  # the result of fairseq's parser for --bf16
    dataclass_utils.override_module_args(arguments)
    assert arguments.tpu is tpu
    alone = argparse.Namespace(bf16=False, tpu=True)  # --tpu alone is not changed
    dataclass_utils.override_module_args(alone)
    assert alone.tpu


def test_a_copy_of_a_checkpoint_has_its_name_once_it_is_whole(tmp_path, monkeypatch):
    new, last = tmp_path / "checkpoint_1_8.pt", tmp_path / "checkpoint_last.pt"
    new.write_bytes(b"new checkpoint")
    last.write_bytes(b"old checkpoint")

    def half(source, target):
        with open(source, "rb") as file:
            content = file.read()
        with open(target, "wb") as file:
            file.write(content[:5])
        raise KeyboardInterrupt  # the process ends here

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "copyfile", half)
        PathManager.copy(str(new), str(last), overwrite=True)
    assert last.read_bytes() == b"old checkpoint"
    assert PathManager.copy(str(new), str(last), overwrite=True)
    assert last.read_bytes() == b"new checkpoint"
    assert sorted(tmp_path.iterdir()) == [new, last]


READS_AHEAD = """
import sys
import torch
from fairseq.data import iterators
import fairseq_bso
from fairseq_bso.errors import UserError

class Endless:
    def __len__(self):
        return 10**9

    def __iter__(self):
        rows = torch.ones(20000, 20)
        while True:
            yield torch.stack([rows.clone() for _ in range(20)]).sum()

next(iterators.BufferedIterator(int(sys.argv[1]), Endless()))
if sys.argv[2] == "refused":
    raise UserError("so it is")
"""


@pytest.mark.parametrize("room", [1, 10**6])  # the thread waits for room, or is almost always in torch
@pytest.mark.parametrize("how, status", [("done", 0), ("refused", 1)])
def test_a_process_that_still_reads_ahead_ends_with_its_own_status(room, how, status):
    """With fairseq's own thread and enough room, the process almost always aborts."""
    command = [sys.executable, "-c", READS_AHEAD, str(room), how]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert ("so it is" in done.stderr) == (how == "refused") and "Traceback" not in done.stderr


def test_every_model_notes_the_updates_of_a_training_whose_task_tells_it_none():
    """A model inside another one too, as in multilingual_translation; resumed at 5 updates."""
    inner, outer = fakes.model(), torch.nn.Module()
    outer.inner = inner
    inner.set_num_updates(5)
    steps = corrections.noting_in_all_models(lambda trainer, samples: (samples, corrections.updates_before(inner)))
    for updates in (5, 6):
        trainer = argparse.Namespace(model=outer, get_num_updates=partial(int, updates))
        assert steps(trainer, "batch") == ("batch", updates)
    assert Trainer.train_step.__wrapped__.__module__ == "fairseq.trainer"
