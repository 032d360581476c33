"""The error for mistakes of the user: the command ends with one message instead of a traceback. Parts of messages."""

import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import Optional, Type

__all__ = ["UserError", "counted", "short"]


class UserError(BaseException):
    """A mistake of the user. The message states the value, the allowed values, and the remedy.

    Uncaught, it ends the process with status 1. It derives from BaseException because fairseq catches Exception.
    fairseq then writes a crash checkpoint, and replaces errors from the loading of a checkpoint by a vaguer message.
    """


_hook_before = sys.excepthook


def _report(kind: Type[BaseException], value: BaseException, trace: Optional[TracebackType]) -> None:
    if not issubclass(kind, UserError):
        _hook_before(kind, value, trace)
        return
    for stream, text in ((sys.stderr, f"{value}\n"), (sys.stdout, "")):
        with suppress(OSError):  # its reader is gone
            if stream is not None:  # closed from the start
                stream.write(text)
                stream.flush()
    # A regular exit may crash: it closes HDF5 files whose writing failed while a thread of fairseq reads batches.
    os._exit(1)


sys.excepthook = _report


def short(value: object) -> str:
    """A value from a file, shortened for a message of one line: checksums and long texts are cut."""
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(value)[:200])
    most = 12 if len(text) == 64 else 100
    return text if len(text) <= most else text[:most] + "..."


def counted(number: int, noun: str) -> str:
    """A number with its noun, for a message: "1 sentence", "1,200 sentences"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
