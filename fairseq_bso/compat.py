"""All differences between releases of fairseq and torch that the package handles; no other module handles any.

An import of this module has these effects:
- fairseq's checkpoints load on every worker, also if torch reads them with its safe loader;
- fairseq-fixed does not leave out sentences;
- --diverse-beam-groups of fairseq-fixed takes the overlaps of groups from the same sentence;
- fairseq can split text into sentences under numpy 2, and lengths into buckets under numpy 2.4.
"""

import argparse
import functools
import types
from typing import Any, Callable, Dict, List, Tuple

import numpy
import torch
from fairseq.data import bucket_pad_length_dataset, data_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.modules import dynamic_convolution
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from fairseq.search import DiverseBeamSearch

__all__ = [
    "DYNAMIC_CONVOLUTIONS",
    "SEARCHABLE",
    "allow_in_checkpoints",
    "autocast_settings",
    "broadcast_object_slow",
    "keep_last_batch",
    "metrics",
    "overlaps_by_place",
    "torch_version",
    "without_fast_path",
]

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


def overlaps_by_place(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step of `--diverse-beam-groups`, which keeps the overlaps of groups by a sentence's place in its first batch.

    fairseq-fixed looks them up by the number of the sentence in the data set: an IndexError, or those of another
    sentence. fairseq 0.12.2 has no overlaps.
    """

    @functools.wraps(step)
    def step_by_place(self, number, lprobs, scores, prev_output_tokens=None, original_batch_idxs=None):
        if number == 0:
            self.sentences = original_batch_idxs  # (B,)
        places = (original_batch_idxs.unsqueeze(1) == self.sentences).long().argmax(1)  # (b,), once some are finished
        return step(self, number, lprobs, scores, prev_output_tokens, places)

    return step_by_place


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

# Data sets look this name up in the module at every call.
data_utils.batch_by_size = keep_last_batch(data_utils.batch_by_size)

DiverseBeamSearch.step = overlaps_by_place(DiverseBeamSearch.step)
