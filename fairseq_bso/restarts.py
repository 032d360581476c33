"""A warning where fairseq goes on with an old training in place of the start that the command names."""

import functools
import logging
import os
from typing import Any, Callable

from fairseq import checkpoint_utils

__all__ = ["warning_of_another_start"]

logger = logging.getLogger(__name__)


def warning_of_another_start(load_checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's `load_checkpoint` with a warning where it ignores `--finetune-from-model`.

    fairseq goes on from checkpoint_last.pt of `--save-dir` if there is one, without a word. A command that is run again
    with another start then trains from the old one.
    """

    @functools.wraps(load_checkpoint)
    def load(cfg, trainer, *args, **kwargs):
        start = getattr(cfg, "finetune_from_model", None)
        last = os.path.join(cfg.save_dir, f"checkpoint_last{trainer.checkpoint_suffix}.pt")
        if start and cfg.restore_file == "checkpoint_last.pt" and os.path.exists(last):
            logger.warning(
                f"this training goes on from {last}, and --finetune-from-model {start} is not read: give another "
                "--save-dir for another start"
            )
        return load_checkpoint(cfg, trainer, *args, **kwargs)

    return load


# fairseq-train looks this name up in the module.
checkpoint_utils.load_checkpoint = warning_of_another_start(checkpoint_utils.load_checkpoint)
