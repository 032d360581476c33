"""What an experiment writes: texts and pictures. Each is written under a temporary name, then renamed."""

import logging
import os


def write_whole(path, text):
    """Writes a text."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def save_figure(figure, path):
    """Writes a picture of matplotlib."""
    from matplotlib import pyplot

    partial = path.with_name(f"partial-{path.name}")
    figure.savefig(partial, dpi=120)
    pyplot.close(figure)
    os.replace(partial, path)


def silent_pyplot():
    """matplotlib's pyplot, for pictures in files, without its log.

    matplotlib logs every font that it looks at, and importing fairseq makes all log messages visible. Raises
    ImportError without matplotlib."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def logarithmic_x(axes):
    """Makes the x axis logarithmic, with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
