"""What fairseq gets wrong in every release that the package supports, corrected from outside.

Differences between releases are in `compat` instead. An import of this module has these effects:
- models note the number of updates, which criterions ask for, whatever the task's own training step tells them;
- --bf16 trains on machines without a TPU;
- the thread that reads ahead ends before Python ends;
- a killed training leaves no half of a checkpoint;
- --store-ema goes on from a checkpoint without averages;
- --remove-bpe sentencepiece writes pieces of bytes as the characters that they spell;
- models are built for loading without the embedding files that they started from.
"""

import argparse
import atexit
import functools
import importlib.util
import logging
import queue
import time
import weakref
from typing import Any, Callable, Optional

from fairseq import checkpoint_utils, models
from fairseq.data import data_utils, iterators
from fairseq.dataclass import utils as dataclass_utils
from fairseq.file_io import PathManager
from fairseq.models import BaseFairseqModel
from fairseq.trainer import Trainer

from .byte_pieces import join_bytes

__all__ = [
    "copying_whole",
    "joining_bytes",
    "noting_in_all_models",
    "starting_averages",
    "updates_before",
    "without_absent_tpu",
    "without_embedding_files",
]

logger = logging.getLogger(__name__)


def without_absent_tpu(override: Callable[[argparse.Namespace], Any]) -> Callable[[argparse.Namespace], Any]:
    """fairseq's `override_module_args`, the first function that sees the parsed command line.

    fairseq-train interprets --bf16 as --tpu, and then fails on every machine without a TPU ("'NoneType' object has no
    attribute 'xla_device'"). GPUs and CPUs also have bfloat16, and fairseq's trainer can use it there.
    """

    @functools.wraps(override)
    def override_args(args):
        asked = getattr(args, "bf16", False) and getattr(args, "tpu", False)
        if asked and importlib.util.find_spec("torch_xla") is None:
            logger.info("--bf16 means --tpu to fairseq, but torch_xla is not installed: bfloat16 without a TPU")
            args.tpu = False
        return override(args)

    return override_args


def noting_updates(set_num_updates: Callable[..., None]) -> Callable[..., None]:
    """fairseq's `set_num_updates` of models, which also notes the number: criterions are never given it."""

    @functools.wraps(set_num_updates)
    def set_and_note(self, num_updates):
        self.updates_before = num_updates
        set_num_updates(self, num_updates)

    return set_and_note


def noting_in_all_models(train_step: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's `Trainer.train_step`, before which every model notes the number of updates.

    Tasks tell it to the model in their own training step. Those of multilingual_translation and
    semisupervised_translation do not: a resumed training would stay at the number that its checkpoint had.
    """

    @functools.wraps(train_step)
    def note_and_step(self, samples, *args, **kwargs):
        for module in self.model.modules():
            if isinstance(module, BaseFairseqModel):
                module.updates_before = self.get_num_updates()
        return train_step(self, samples, *args, **kwargs)

    return note_and_step


def updates_before(model: Any) -> Optional[int]:
    """The number of updates before this one. None for a model that was never given it."""
    return getattr(model, "updates_before", None)


def joining_bytes(post_process: Callable[[str, str], str]) -> Callable[[str, str], str]:
    """fairseq's `post_process`, which joins subwords, with pieces of bytes as text.

    fairseq knows nothing of sentencepiece's `byte_fallback`: `--remove-bpe sentencepiece` writes `<0xC3><0xA9>` for a
    letter that has no piece. `--eval-bleu` and the costs of texts then compare these.
    """

    @functools.wraps(post_process)
    def join(sentence, symbol):
        return post_process(join_bytes(sentence) if symbol == "sentencepiece" else sentence, symbol)

    return join


def without_embedding_files(build_model: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's `build_model`, which builds a model for a checkpoint without its files of pretrained embeddings.

    The checkpoint holds the vectors, but fairseq reads the files first. The model could then be loaded only where they
    lie, and only by programs with the options that name them.
    """

    @functools.wraps(build_model)
    def build(cfg, task, from_checkpoint=False):
        for side in ("encoder", "decoder") if from_checkpoint else ():
            of_side = getattr(cfg, side, None)  # fairseq's newest Transformer has a config for each side
            for part, name in ((cfg, f"{side}_embed_path"), (of_side, "embed_path")):
                if getattr(part, name, None):
                    setattr(part, name, None)
        return build_model(cfg, task, from_checkpoint)

    return build


def copying_whole(copy: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's `PathManager.copy`, which gives a copy its name once it is whole.

    fairseq writes a checkpoint so, but copies it to checkpoint_last.pt in place. A training that is killed within the
    copy could not be resumed.
    """

    @functools.wraps(copy)
    def copy_whole(src_path, dst_path, overwrite=False):
        if not overwrite or not PathManager.supports_rename(dst_path):
            return copy(src_path, dst_path, overwrite=overwrite)
        part = dst_path + ".tmp"
        copied = copy(src_path, part, overwrite=True)
        PathManager.rename(part, dst_path)
        return copied

    return copy_whole


def starting_averages(load_checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """fairseq's `Trainer.load_checkpoint`, in which the averages of --store-ema start from the loaded weights.

    That is what fairseq says it does with a checkpoint without averages, as --finetune-from-model may name. But it has
    deleted the weights before it reads them (KeyError: 'model').
    """

    @functools.wraps(load_checkpoint)
    def load(trainer, *args, **kwargs):
        if not trainer.cfg.ema.store_ema:
            return load_checkpoint(trainer, *args, **kwargs)
        read = checkpoint_utils.load_checkpoint_to_cpu

        def read_with_averages(*names, **options):
            state = read(*names, **options)
            extra = state.get("extra_state") or {}
            if "ema" not in extra:
                logger.info("the checkpoint has no averages of weights (--store-ema): they start from its weights")
                state["extra_state"] = {**extra, "ema": state["model"]}
            return state

        checkpoint_utils.load_checkpoint_to_cpu = read_with_averages
        try:
            return load_checkpoint(trainer, *args, **kwargs)
        finally:
            checkpoint_utils.load_checkpoint_to_cpu = read

    return load


class EndingConsumer(iterators.BackgroundConsumer):
    """fairseq's thread that reads batches ahead (--data-buffer-size), with an end before Python's own.

    fairseq's own thread keeps running if training ends within an epoch. If Python exits while the thread is inside
    torch, the process aborts ("terminate called without an active exception"). All files are saved, but the exit status
    reports a failure.
    """

    running: "weakref.WeakSet[EndingConsumer]" = weakref.WeakSet()

    def start(self) -> None:
        self.running.add(self)
        super().start()

    def end(self, seconds: float = 10.0) -> None:
        """Waits until the thread has finished its current batch, for at most ``seconds``."""
        self._max_len = 0  # the thread stops after the next batch
        limit = time.monotonic() + seconds
        while self.is_alive() and time.monotonic() < limit:
            try:
                self._queue.get(timeout=0.05)  # the thread may wait for room in the queue
            except queue.Empty:
                pass


@atexit.register
def end_consumers() -> None:
    """Ends every thread that still reads ahead."""
    for consumer in list(EndingConsumer.running):
        consumer.end()


dataclass_utils.override_module_args = without_absent_tpu(dataclass_utils.override_module_args)

models.build_model = without_embedding_files(models.build_model)

BaseFairseqModel.set_num_updates = noting_updates(BaseFairseqModel.set_num_updates)
Trainer.train_step = noting_in_all_models(Trainer.train_step)
Trainer.load_checkpoint = starting_averages(Trainer.load_checkpoint)

PathManager.copy = staticmethod(copying_whole(PathManager.copy))

data_utils.post_process = joining_bytes(data_utils.post_process)

# Iterators also look this name up in the module.
iterators.BackgroundConsumer = EndingConsumer
