"""`fairseq-bso view`: the web page of captured states."""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Callable

from ...errors import BadInput

NAME = "view"
HELP = "Show the states that `fairseq-bso states` captured on a web page of this machine."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, and where the page is served."""
    parser.add_argument("folder", metavar="DIR", help="folder that `fairseq-bso states` wrote")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve at; by default no other machine can open the page (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Builds what is missing of the index, then serves until it is interrupted. Returns the exit status.

    Raises:
        BadInput: for a folder that is not whole, packages that are missing, and an address that cannot be served at.
    """
    if not 0 <= arguments.port <= 65535:
        raise BadInput(f"--port is {arguments.port}, but must be from 0 to 65535")
    # fairseq's import has set the level of debugging for all, h5py and the web server included.
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, force=True)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it counts who waits; they are answered all the same
    import torch

    try:
        from ..folder.index import open_index
        from ..folder.reader import open_capture
        from .answers import Queries
        from .server import serve
    except ImportError as fault:
        raise BadInput(
            f"fairseq-bso view needs the package {fault.name}: pip install 'fairseq-bso[interpret]'"
        ) from None
    torch.set_num_threads(1)  # requests are answered side by side, which keeps the processors busy enough
    capture = open_capture(Path(arguments.folder))
    indexes = {name: open_index(side, _progress(f"index of {name}")) for name, side in capture.sides.items()}
    try:
        serve(capture, Queries(capture, indexes), arguments.host, arguments.port, _say_where)
    except KeyboardInterrupt:
        print()
    return 0


def _say_where(address: str) -> None:
    print(f"The page is at {address} (Ctrl-C ends it)", flush=True)


def _progress(what: str) -> Callable[[int, int], None]:
    """Prints how far something is: one line that is rewritten on a terminal, else a line in so many seconds."""
    live, last = sys.stderr.isatty(), time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        text = f"{what}: {done:,} of {total:,} steps"
        if live:
            print(f"\r{text}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif done == total or time.monotonic() - last > 10:
            last = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    return show
