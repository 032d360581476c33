"""Every difference between releases of fairseq and torch that the package meets, and nowhere else.

Importing this module is enough: it makes fairseq's checkpoints loadable where torch reads them with its safe loader.
"""

import argparse
from typing import Any, List, Tuple

import numpy
import torch
from fairseq.logging import metrics

__all__ = ["allow_in_checkpoints", "metrics", "torch_version"]


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


# fairseq keeps the command line of a run in its checkpoint as an `argparse.Namespace`, and with --eval-bleu the n-gram
# counts of validation as numpy arrays. `--user-dir` is imported before any checkpoint is read, so this is early enough.
allow_in_checkpoints(argparse.Namespace, *numpy_array_parts())
