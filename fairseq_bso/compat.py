"""Every difference between releases of fairseq and torch that the package meets, and nowhere else.

Importing this module is enough: it makes fairseq's checkpoints loadable where torch reads them with its safe loader,
on every worker, keeps fairseq-fixed from leaving out sentences, lets fairseq cut text into sentences under numpy 2,
lets --bf16 train where there is no TPU, and ends the thread that reads ahead before Python ends.
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
from typing import Any, Callable, List, Tuple

import numpy
import torch
from fairseq.data import data_utils, iterators
from fairseq.dataclass import utils as dataclass_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase

__all__ = [
    "allow_in_checkpoints",
    "broadcast_object_slow",
    "keep_last_batch",
    "metrics",
    "torch_version",
    "without_absent_tpu",
    "without_fast_path",
]

logger = logging.getLogger(__name__)


def torch_version() -> Tuple[int, int]:
    """The first two numbers of torch's version."""
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def allow_in_checkpoints(*entries: Any) -> None:
    """Let torch's safe loader rebuild what `entries` name; asking again changes nothing.

    torch 2.6 and newer read checkpoints with `weights_only=True`, which refuses everything that it was not told of.
    Earlier releases refuse nothing, and do not know the pairs below.

    Args:
        entries: classes or functions, or pairs (class or function, its full name in the file).
    """
    if torch_version() >= (2, 6):
        torch.serialization.add_safe_globals(list(entries))


def numpy_array_parts() -> List[Any]:
    """What a pickled numpy array or scalar of numbers is made of, under the names of numpy 1 and of numpy 2."""
    core = getattr(numpy, "_core", None) or numpy.core
    parts: List[Any] = [numpy.ndarray, numpy.dtype]
    for name in ("_reconstruct", "scalar"):
        function = getattr(core.multiarray, name)
        parts += [(function, "numpy.{}.multiarray.{}".format(folder, name)) for folder in ("core", "_core")]
    # Each number type has a class of its own in numpy 1.20 and newer, which the safe loader looks at as well.
    return parts + [type(numpy.dtype(kind)) for kind in ("?", "i4", "i8", "f4", "f8")]


def keep_last_batch(batch_by_size: Callable[..., List[numpy.ndarray]]) -> Callable[..., List[numpy.ndarray]]:
    """fairseq's `batch_by_size` with every index in one of the batches, as fairseq 0.12.2 does it.

    fairseq-fixed drops the last batch, of any size, where its length is not a multiple of
    --required-batch-size-multiple (8 unless said): the longest sentences of a test set are then neither decoded nor
    scored, and nothing says so. Batches hold the indices in order, so what is missing is the end of the list.
    """

    @functools.wraps(batch_by_size)
    def batch_all_by_size(indices, *args, **kwargs):
        if not isinstance(indices, numpy.ndarray):
            indices = numpy.fromiter(indices, dtype=numpy.int64, count=-1)
        batches = batch_by_size(indices, *args, **kwargs)
        fixed_shapes = args[5] if len(args) > 5 else kwargs.get("fixed_shapes")
        if fixed_shapes is not None:  # what is in none of these batches is not the end of the list
            return batches
        dropped = indices[sum(len(batch) for batch in batches) :]
        return [*batches, dropped] if len(dropped) else batches

    return batch_all_by_size


def without_fast_path(build: Callable[..., None]) -> Callable[..., None]:
    """The `__init__` of fairseq's transformer encoder layer, for layers that never take torch's fast path.

    fairseq 0.12.2 calls torch 1.13's without an argument that it asks for ("Mask Type should be defined"), so no
    transformer could decode padded sentences, or teach. fairseq-fixed has no such path.
    """

    @functools.wraps(build)
    def build_layer(self, *args, **kwargs):
        build(self, *args, **kwargs)
        self.can_use_fastpath = False

    return build_layer


def without_absent_tpu(override: Callable[[argparse.Namespace], Any]) -> Callable[[argparse.Namespace], Any]:
    """fairseq's `override_module_args`, the first to see a command line that has been read.

    fairseq-train takes --bf16 for --tpu, and then fails on every machine that has none ("'NoneType' object has no
    attribute 'xla_device'"). GPUs and CPUs have bfloat16 too, and its trainer can use it there.
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

    fairseq's own writes a checkpoint with its config objects, which the safe loader of the other workers refuses. What
    arrives here was sent by a worker of the same run, so plain pickle, as torch takes for objects, is enough.
    """
    box = [obj]
    torch.distributed.broadcast_object_list(box, src=src_rank, group=group, device=dist_device)
    return box[0]


class EndingConsumer(iterators.BackgroundConsumer):
    """fairseq's thread that reads batches ahead (--data-buffer-size), which ends before Python does.

    A training that ends within an epoch leaves fairseq's own at work. Where Python's end meets it inside torch, the
    process aborts ("terminate called without an active exception"): all is saved, but the exit status is that of a
    failure.
    """

    running: "weakref.WeakSet[EndingConsumer]" = weakref.WeakSet()

    def start(self) -> None:
        self.running.add(self)
        super().start()

    def end(self, seconds: float = 10.0) -> None:
        """Lets the thread finish the batch at which it is; gives up after so many seconds."""
        self._max_len = 0  # after the next batch it has read enough
        limit = time.monotonic() + seconds
        while self.is_alive() and time.monotonic() < limit:
            try:
                self._queue.get(timeout=0.05)  # it may wait for room
            except queue.Empty:
                pass


@atexit.register
def end_consumers() -> None:
    """Ends every thread that still reads ahead."""
    for consumer in list(EndingConsumer.running):
        consumer.end()


# fairseq keeps the command line of a run in its checkpoint as an `argparse.Namespace`, and with --eval-bleu the n-gram
# counts of validation as numpy arrays. `--user-dir` is imported before any checkpoint is read, so this is early enough.
allow_in_checkpoints(argparse.Namespace, *numpy_array_parts())

if (1, 13) <= torch_version() < (2, 0):
    TransformerEncoderLayerBase.__init__ = without_fast_path(TransformerEncoderLayerBase.__init__)

if torch_version() >= (2, 6):
    distributed_utils._broadcast_object_slow = broadcast_object_slow

if not hasattr(numpy, "compat"):
    # numpy 2 took it away; fairseq asks it for `long` where samples are sentences (--sample-break-mode eos).
    numpy.compat = types.SimpleNamespace(long=int)

dataclass_utils.override_module_args = without_absent_tpu(dataclass_utils.override_module_args)

# Data sets look this name up in the module at every call.
data_utils.batch_by_size = keep_last_batch(data_utils.batch_by_size)

# Iterators look this name up in the module, too.
iterators.BackgroundConsumer = EndingConsumer
