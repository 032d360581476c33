"""Datasets of an HDF5 file, checked for their shape and their kind of number before anything is computed with them.

Other programs write word numbers as floats: whole numbers in floats are taken, others are refused.
"""

from typing import Any, Optional

import h5py
import numpy

from ...errors import UserError

__all__ = ["dataset", "numbers_for_each", "whole"]

WHOLE, REAL = "iu", "iuf"


def dataset(file: "h5py.File", name: Any) -> Optional["h5py.Dataset"]:
    """The dataset of a name; None if there is none."""
    found = file.get(name) if isinstance(name, str) and name else None
    return found if isinstance(found, h5py.Dataset) else None


def numbers_for_each(file: "h5py.File", name: Any, length: int, remedy: str) -> numpy.ndarray:
    """(length,) int64 of a dataset. Raises UserError if there is none of this length, or its values are not whole."""
    found = dataset(file, name)
    if found is None or found.shape != (length,):
        raise UserError(f"{file.filename} has no {name} for each of {length:,} steps: {remedy}")
    return whole(found, remedy)


def whole(found: "h5py.Dataset", remedy: str) -> numpy.ndarray:
    """The values of a dataset as int64. Raises UserError if they are not whole numbers."""
    what = f"{found.file.filename}: {found.name.strip('/')}"
    if found.dtype.kind not in REAL:
        raise UserError(f"{what} holds {found.dtype}, but must hold whole numbers: {remedy}")
    values = found[()]
    if found.dtype.kind == "i":
        return values.astype(numpy.int64)
    right = (values == numpy.rint(values)) & (values >= -(2.0**63)) & (values < 2.0**63)
    if not right.all():
        wrong = values[~right].flat[0]
        raise UserError(f"{what} holds {wrong}, but must hold whole numbers: {remedy}")
    return values.astype(numpy.int64)
