"""What a subcommand shows of what is logged."""

import logging


def show_logs(level: int = logging.WARNING) -> None:
    """From `level` on, in the form of fairseq-train. Without this all is shown that any library logs, for debugging
    too: fairseq turns that on when it is imported."""
    form = "%(asctime)s | %(levelname)s | %(name)s | %(message)s"
    logging.basicConfig(format=form, datefmt="%Y-%m-%d %H:%M:%S", level=level, force=True)
