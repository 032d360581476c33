"""All differences between releases of fairseq and torch that the package handles; no other module handles any.

An import of this module has these effects:
- fairseq's checkpoints load on every worker, also if torch reads them with its safe loader;
- fairseq-fixed does not leave out sentences;
- fairseq can split text into sentences under numpy 2, and lengths into buckets under numpy 2.4;
- models note the number of updates, which criterions ask for, whatever the task's own training step tells them;
- --bf16 trains on machines without a TPU;
- the thread that reads ahead ends before Python ends;
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
import types
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy
import torch
from fairseq import models
from fairseq.data import bucket_pad_length_dataset, data_utils, iterators
from fairseq.dataclass import utils as dataclass_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.models import BaseFairseqModel
from fairseq.modules import dynamic_convolution
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from fairseq.trainer import Trainer

from .byte_pieces import join_bytes

__all__ = [
    "DYNAMIC_CONVOLUTIONS",
    "SEARCHABLE",
    "allow_in_checkpoints",
    "autocast_settings",
    "broadcast_object_slow",
    "joining_bytes",
    "keep_last_batch",
    "metrics",
    "noting_in_all_models",
    "torch_version",
    "updates_before",
    "without_absent_tpu",
    "without_embedding_files",
    "without_fast_path",
]

logger = logging.getLogger(__name__)

DYNAMIC_CONVOLUTIONS = tuple(
    getattr(dynamic_convolution, name)
    for name in ("DynamicConv1dTBC", "DynamicConv_scripatable")  # fairseq 0.12.2 has the first alone
    if hasattr(dynamic_convolution, name)
)
"""the modules of dynamic convolutions"""
SEARCHABLE = ["bso_lstm", "transformer", "lstm", "fconv"]
"""the architectures whose decoders give features apart from scores, as the search in training needs"""
if len(DYNAMIC_CONVOLUTIONS) > 1:  # the decoder of fairseq 0.12.2 multiplies with a bare parameter
    SEARCHABLE.append("lightconv")


def torch_version() -> Tuple[int, int]:
    """The first two numbers of torch's version."""
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def autocast_settings(device_type: str) -> Dict[str, Any]:
    """The arguments of `torch.autocast` that turn it on again as it is now, on one type of device."""
    if torch_version() >= (2, 4):
        enabled, dtype = torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)
    elif device_type == "cpu":
        enabled, dtype = torch.is_autocast_cpu_enabled(), torch.get_autocast_cpu_dtype()
    else:
        enabled, dtype = torch.is_autocast_enabled(), torch.get_autocast_gpu_dtype()
    return {"device_type": device_type, "enabled": enabled, "dtype": dtype}


def allow_in_checkpoints(*entries: Any) -> None:
    """Lets torch's safe loader rebuild `entries`; a repeated call changes nothing.

    torch 2.6 and newer read checkpoints with `weights_only=True`, which refuses every class that is not allowed.
    Earlier releases refuse nothing, and do not support the pairs below.

    Args:
        entries: classes or functions, or pairs (class or function, its full name in the file).
    """
    if torch_version() >= (2, 6):
        torch.serialization.add_safe_globals(list(entries))


def numpy_array_parts() -> List[Any]:
    """The classes and functions in a pickled numpy array or scalar of numbers, by their names in numpy 1 and 2."""
    core = getattr(numpy, "_core", None) or numpy.core
    parts: List[Any] = [numpy.ndarray, numpy.dtype]
    for name in ("_reconstruct", "scalar"):
        function = getattr(core.multiarray, name)
        parts += [(function, "numpy.{}.multiarray.{}".format(folder, name)) for folder in ("core", "_core")]
    # Each number type has its own class in numpy 1.20 and newer, and the safe loader checks this class too.
    return parts + [type(numpy.dtype(kind)) for kind in ("?", "i4", "i8", "f4", "f8")]


def keep_last_batch(batch_by_size: Callable[..., List[numpy.ndarray]]) -> Callable[..., List[numpy.ndarray]]:
    """fairseq's `batch_by_size` with every index in one of the batches, as in fairseq 0.12.2.

    fairseq-fixed drops the last batch, of any size, if its length is not a multiple of --required-batch-size-multiple
    (8 by default). The longest sentences of a test set are then neither decoded nor scored, without any message.
    Batches hold the indices in order, so the missing indices are the end of the list.
    """

    @functools.wraps(batch_by_size)
    def batch_all_by_size(indices, *args, **kwargs):
        if not isinstance(indices, numpy.ndarray):
            indices = numpy.fromiter(indices, dtype=numpy.int64, count=-1)
        batches = batch_by_size(indices, *args, **kwargs)
        fixed_shapes = args[5] if len(args) > 5 else kwargs.get("fixed_shapes")
        if fixed_shapes is not None:  # the missing indices are then not the end of the list
            return batches
        dropped = indices[sum(len(batch) for batch in batches) :]
        return [*batches, dropped] if len(dropped) else batches

    return batch_all_by_size


def without_fast_path(build: Callable[..., None]) -> Callable[..., None]:
    """The `__init__` of fairseq's transformer encoder layer, for layers that never take torch's fast path.

    fairseq 0.12.2 calls the fast path of torch 1.13 without a required argument ("Mask Type should be defined"). No
    transformer could then decode padded sentences, or be the teacher in distillation. fairseq-fixed has no such path.
    """

    @functools.wraps(build)
    def build_layer(self, *args, **kwargs):
        build(self, *args, **kwargs)
        self.can_use_fastpath = False

    return build_layer


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


def broadcast_object_slow(obj: Any, src_rank: int, group: Any, dist_device: torch.device) -> Any:
    """`obj` of worker `src_rank` on every worker of the group.

    fairseq's own function sends a checkpoint with its config objects, which the safe loader of the other workers
    refuses. Here the sender is a worker of the same run, so plain pickle, which torch uses for objects, is enough.
    """
    box = [obj]
    torch.distributed.broadcast_object_list(box, src=src_rank, group=group, device=dist_device)
    return box[0]


def length_buckets(sizes: Any, num_buckets: int) -> numpy.ndarray:
    """The limits of --num-batch-buckets. fairseq's own function names an argument that numpy 2.4 has removed.

    Args:
        sizes: (N,) the lengths.
        num_buckets: how many limits there are at most.

    Returns:
        (b,) quantiles of the lengths, each once, ascending.
    """
    return numpy.unique(numpy.percentile(sizes, numpy.linspace(0, 100, num_buckets + 1), method="lower")[1:])


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


# fairseq's checkpoint holds the command line of a run as an `argparse.Namespace`. With --eval-bleu it also holds the
# n-gram counts of validation as numpy arrays. `--user-dir` is imported before any checkpoint is read.
allow_in_checkpoints(argparse.Namespace, *numpy_array_parts())

if (1, 13) <= torch_version() < (2, 0):
    TransformerEncoderLayerBase.__init__ = without_fast_path(TransformerEncoderLayerBase.__init__)

if torch_version() >= (2, 6):
    distributed_utils._broadcast_object_slow = broadcast_object_slow

if not hasattr(numpy, "compat"):
    # numpy 2 has no `numpy.compat`; fairseq uses its `long` if samples are sentences (--sample-break-mode eos).
    numpy.compat = types.SimpleNamespace(long=int)

if tuple(map(int, numpy.__version__.split(".")[:2])) >= (1, 22):
    data_utils.get_buckets = bucket_pad_length_dataset.get_buckets = length_buckets

dataclass_utils.override_module_args = without_absent_tpu(dataclass_utils.override_module_args)

# Data sets look this name up in the module at every call.
data_utils.batch_by_size = keep_last_batch(data_utils.batch_by_size)
data_utils.post_process = joining_bytes(data_utils.post_process)

models.build_model = without_embedding_files(models.build_model)

BaseFairseqModel.set_num_updates = noting_updates(BaseFairseqModel.set_num_updates)
Trainer.train_step = noting_in_all_models(Trainer.train_step)

# Iterators also look this name up in the module.
iterators.BackgroundConsumer = EndingConsumer
