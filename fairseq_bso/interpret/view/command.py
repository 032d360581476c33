"""`fairseq-bso view`: shows a capture folder on a web page."""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

from ...errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, and the address of the page."""
    parser.add_argument("folder", metavar="DIR", help="folder that `fairseq-bso states` wrote")
    parser.add_argument(
        "--index",
        action="store_true",
        help="write the index again first, with the cards of all units, and with --model their output words: for "
        "captures of earlier versions",
    )
    parser.add_argument(
        "--model",
        metavar="CHECKPOINT",
        help="the checkpoint that was captured: the page then also reads one's own text, and sets units",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="folder with the dictionaries of --model (default: that of its training)"
    )
    parser.add_argument("--user-dir", help="folder with your own plugins that --model needs")
    parser.add_argument("--cpu", action="store_true", help="use no GPU for --model")
    parser.add_argument(
        "--export",
        metavar="FILE",
        help="write one view as an HTML file that opens without server or network, and serve nothing",
    )
    parser.add_argument(
        "--address",
        default="",
        help="for --export: the view, as in the address of the page from # on, such as view=unit&unit=hidden1:3 "
        "(default: the beginning of the select view)",
    )
    parser.add_argument("--port", type=int, default=8080, help="0 for any free port (default: %(default)s)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve at; with the default no other machine can open the page (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Builds a missing index, then writes one view or serves until it is interrupted. Returns the exit status.

    Raises:
        UserError: the folder is incomplete, a package is missing, or the address cannot be used.
    """
    if arguments.address and arguments.export is None:
        raise UserError(f"--address {arguments.address} says what --export writes: give both, or neither")
    if not 0 <= arguments.port <= 65535:
        raise UserError(f"--port is {arguments.port}, but must be from 0 to 65535")
    if not arguments.model and (arguments.data or arguments.user_dir):
        raise UserError("--data and --user-dir are for --model, which is not given: give it, or leave them out")
    # Importing fairseq sets the log level of every library to debug, including h5py and the web server.
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, force=True)
    # The warnings of this logger count waiting requests, which are answered anyway.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    try:
        from ..folder.reader import open_capture
        from .answers import Answers
        from .server import serve
        from .standalone import write_page
    except ImportError as error:
        raise UserError(
            f"fairseq-bso view needs the package {error.name}: pip install 'fairseq-bso[interpret]', or without "
            "fairseq 'fairseq-bso-runtime[view]'"
        ) from None
    capture, own = open_capture(Path(arguments.folder)), None
    if arguments.model:
        capture, own = _own_answers(arguments, capture)
    answers = Answers(capture, _open_indexes(capture, arguments.index), own)
    if arguments.export is not None:
        size = write_page(answers, arguments.address, arguments.export)
        print(f"{arguments.export}: {size:,} bytes")
        return 0
    try:
        serve(answers, arguments.host, arguments.port, _say_where)
    except KeyboardInterrupt:
        print()
    return 0


def _open_indexes(capture: Any, again: bool) -> Dict[str, Any]:
    """The index of each side, by its name; written first if it is missing or is to be written again."""
    from ..folder.index import build_index, open_index

    indexes = {}
    for name, side in capture.sides.items():
        size = 2 * side.steps * side.units / 1e6
        progress = _progress(f"writing the index of {name}, {size:,.1f} MB")
        if again:
            build_index(side.folder, progress)
        indexes[name] = open_index(side, progress)
    return indexes


def _own_answers(arguments: argparse.Namespace, capture: Any) -> Tuple[Any, Any]:
    """Loads the model. Returns the capture, opened again if --index adds output words, and the answers of the model."""
    import torch

    from ...logs import show_logs
    from ...user_dirs import import_user_dir
    from ..folder.output_words import add_output_words
    from ..folder.reader import open_capture
    from ..live.session import open_session
    from .own_answers import OwnAnswers

    torch.set_num_threads(1)  # requests run in parallel and keep the processors busy
    show_logs()
    import_user_dir(arguments)
    session = open_session(arguments.model, arguments.data, capture, arguments.cpu)
    if arguments.index and "decoder" in capture.sides:
        add_output_words(capture.sides["decoder"].folder / "train.hdf5", session.output_words())
        capture = open_capture(Path(arguments.folder))
    return capture, OwnAnswers(capture, session)


def _say_where(address: str) -> None:
    print(f"The page is at {address} (Ctrl-C ends it)", flush=True)


def _progress(what: str) -> Callable[[int, int], None]:
    """Reports progress: one line that is overwritten on a terminal, else one line every ten seconds."""
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
