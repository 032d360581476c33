"""The file of a shortlist, for a task of fairseq. bso_runtime/shortlist.py describes its format."""

from pathlib import Path
from typing import Any, Optional

import numpy
import torch

from bso_runtime.model_file import ModelFileError
from bso_runtime.shortlist import Shortlist

from ..errors import UserError
from ..search.shortlist import ShortlistTable

MISSING = "make it with `fairseq-bso shortlist`, or name it with --shortlist"
"""what to do where the file is not there"""


def path_in(data: Optional[str], source: Optional[str], target: Optional[str]) -> str:
    """The file in a data folder, or in the first of several, separated by colons."""
    return str(Path((data or "").split(":")[0]) / f"shortlist.{source}-{target}")


def symbols_of(dictionary: Any) -> bytes:
    """A dictionary's symbols, one a line."""
    return "\n".join(dictionary.symbols).encode("utf-8")


def read_shortlist(path: str, source: bytes, target: bytes) -> bytes:
    """The content of a file that fits two dictionaries, given as their symbols.

    Raises:
        UserError: it cannot be read, is damaged, or was made for other dictionaries.
    """
    try:
        content = Path(path).read_bytes()
        Shortlist.from_bytes(content, source, target, path)
    except OSError as error:
        raise UserError(f"the shortlist {path} cannot be read ({error.strerror}): {MISSING}") from None
    except ModelFileError as error:
        raise UserError(str(error)) from None
    return content


def load_shortlist(path: str, source: Any, target: Any) -> ShortlistTable:
    """The table of a file, for fairseq dictionaries. Raises as ``read_shortlist``."""
    sides = symbols_of(source), symbols_of(target)
    shortlist = Shortlist.from_bytes(read_shortlist(path, *sides), *sides, path)
    counts = shortlist.counts.astype(numpy.int64)
    most = int(counts.max()) if counts.size else 0
    words = numpy.full((len(counts), most), target.pad(), numpy.int64)  # (V, n)
    words[numpy.arange(most) < counts[:, None]] = shortlist.words
    return ShortlistTable(torch.from_numpy(shortlist.common.astype(numpy.int64)), torch.from_numpy(words))
