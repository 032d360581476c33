"""Which log messages a subcommand shows."""

import logging
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def quietly() -> Iterator[None]:
    """Leaves out messages that are less than warnings, such as those that importing fairseq writes."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def show_logs(level: int = logging.WARNING) -> None:
    """Shows messages from `level` on, in the form of fairseq-train.

    Without this call the debug messages of every library are shown, because importing fairseq turns them on.
    """
    form = "%(asctime)s | %(levelname)s | %(name)s | %(message)s"
    logging.basicConfig(format=form, datefmt="%Y-%m-%d %H:%M:%S", level=level, force=True)
