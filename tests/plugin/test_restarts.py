"""A training that goes on where another start was named says so."""

import logging
from argparse import Namespace

import pytest
from fairseq import checkpoint_utils

from fairseq_bso.restarts import warning_of_another_start


@pytest.mark.parametrize(
    "start, restore, exists, warned",
    [
        ("nll.pt", "checkpoint_last.pt", True, True),
        ("nll.pt", "checkpoint_last.pt", False, False),
        (None, "checkpoint_last.pt", True, False),
        ("nll.pt", "other.pt", True, False),  # fairseq refuses these two itself
    ],
)
def test_an_ignored_start_is_warned_of(tmp_path, caplog, start, restore, exists, warned):
    caplog.set_level(logging.WARNING)
    if exists:
        (tmp_path / "checkpoint_last.pt").touch()
    cfg = Namespace(finetune_from_model=start, restore_file=restore, save_dir=str(tmp_path))
    loaded = warning_of_another_start(lambda *arguments, **options: (arguments, options))
    trainer = Namespace(checkpoint_suffix="")
    assert loaded(cfg, trainer, disable_iterator_cache=True) == ((cfg, trainer), {"disable_iterator_cache": True})
    said = f"goes on from {tmp_path / 'checkpoint_last.pt'}, and --finetune-from-model nll.pt is not read"
    assert (said in caplog.text) == warned and (warned or not caplog.text)


def test_fairseq_calls_it():
    assert checkpoint_utils.load_checkpoint.__wrapped__.__module__ == "fairseq.checkpoint_utils"
