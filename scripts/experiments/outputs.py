"""Writes the folders, texts and pictures of an experiment. Each has a temporary name first, and is then renamed.

A lock beside the output keeps a second process from the temporary name.
"""

import logging
import os
import runpy
import shutil
from contextlib import contextmanager
from pathlib import Path

# Read by its path: an import of the package imports fairseq.
LOCKS = runpy.run_path(str(Path(__file__).resolve().parents[2] / "fairseq_bso" / "locks.py"))


@contextmanager
def whole_file(path):
    """Yields a temporary path, which is renamed at the end. A second process waits until the first has ended."""
    with LOCKS["alone"](path.with_name(path.name + ".lock"), waiting=lambda: None):
        partial = path.with_name(f"partial-{path.name}")  # matplotlib chooses the format by the ending
        try:
            yield partial
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def only_writer(out):
    """Keeps other processes from a folder. Raises SystemExit if another one writes it."""
    try:
        with LOCKS["alone"](out.with_name(out.name + ".lock")):
            yield
    except LOCKS["InUse"]:
        raise SystemExit(
            f"--out {out}: another process writes it now; wait until it has ended, or name another folder"
        ) from None


@contextmanager
def whole_folder(out):
    """Yields an empty temporary folder, which is renamed at the end, or removed after an exception.

    Raises SystemExit if the folder exists, or if another process writes it.
    """
    with only_writer(out):
        if out.exists():
            raise SystemExit(f"--out {out}: is there already; remove it or name another folder")
        partial = out.with_name(out.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a killed process
        partial.mkdir()
        try:
            yield partial
            os.replace(partial, out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def write_whole(path, text):
    """Writes a text."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def draw_with(draw, path, *data):
    """Writes the picture that `draw(pyplot, *data)` returns as a figure of matplotlib.

    Returns False, and prints a line, if matplotlib is not installed."""
    # matplotlib logs every font that it looks at, and importing fairseq makes all log messages visible.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    try:
        import matplotlib
    except ImportError:
        print("No picture: matplotlib is not installed.")
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = draw(pyplot, *data)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=120)
    pyplot.close(figure)
    return True


def logarithmic_x(axes):
    """Makes the x axis logarithmic, with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
