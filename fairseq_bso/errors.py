"""How a fairseq command ends when its user must change something: with one message in place of a traceback."""

import os
import sys
from types import TracebackType
from typing import Optional, Type

__all__ = ["BadInput"]


class BadInput(BaseException):
    """Says what was wrong, what was allowed, and what to do. Uncaught, it ends the process with status 1.

    Not an Exception: of those fairseq writes a crash checkpoint, and those of a checkpoint's loading it replaces by a
    vaguer one.
    """


_hook_before = sys.excepthook


def _report(kind: Type[BaseException], value: BaseException, trace: Optional[TracebackType]) -> None:
    if not issubclass(kind, BadInput):
        _hook_before(kind, value, trace)
        return
    print(value, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # A usual exit may crash: it closes HDF5 files that could not be written, while fairseq's thread reads batches.
    os._exit(1)


sys.excepthook = _report
