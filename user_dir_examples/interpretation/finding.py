"""Which cell of captured states tells a track best, with a control and a picture.

    python user_dir_examples/interpretation/finding.py STATES --side decoder --track depth --picture depth.png

STATES is a folder that `fairseq-bso states` wrote, the track one that it was given. The ranking is that of the page of
`fairseq-bso view`: numbers by correlation, one `--label` of a track against the rest by the area under the ROC curve.
The control is the best that any cell reaches for the same track, shifted by chance along the corpus.
"""

import argparse
import logging
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fairseq_bso.interpret.folder.index import open_index  # noqa: E402
from fairseq_bso.interpret.folder.reader import open_capture  # noqa: E402
from fairseq_bso.interpret.units.ranking import predict_number, rank_cells, shuffled_control  # noqa: E402

BEST = 5
# fairseq lets every library say everything.
logging.getLogger().setLevel(logging.WARNING)


def add_options(parser):
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the best cell over some words (PNG, SVG)")
    parser.add_argument("--words", type=int, default=60, metavar="N", help="words in the picture (60)")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="ROW", help="where the picture begins (0)")


def report(folder, side_name, track_name, label, options):
    """Prints the best cells, the control and what the best cell alone predicts; draws it if asked to."""
    side = open_capture(Path(folder)).sides[side_name]
    index = open_index(side)
    cells = torch.from_numpy(index.cells)  # (C, T)
    track = side.tracks[track_name]
    values = torch.as_tensor(track.values[:])  # (T,)
    if values.is_floating_point():
        number, criterion = None, "correlation"
    elif label is None:
        number, criterion = None, "correlation_ratio"
    else:
        number, criterion = track.labels.index(label), "area_under_curve"
    ranking = rank_cells(cells, values, criterion, number, BEST)
    control = shuffled_control(cells, values, criterion, number)
    print(f"{track_name}{'' if label is None else '=' + label}: best of {len(cells)} cells by {criterion}")
    for cell, score, value in zip(*(part.tolist() for part in ranking)):
        lower = value < 0 or (criterion == "area_under_curve" and value < 0.5)
        print(f"  {name_of(side, cell):16} {score:.3f} {'(lower there)' if lower else ''}".rstrip())
    print(f"  best of any cell for {len(control.best)} shifted tracks: {control.best.max():.3f}")
    best = int(ranking.cells[0])
    if values.is_floating_point():
        told = predict_number(cells[best], values)
        print(
            f"  {name_of(side, best)} alone, second half of the corpus: mean error {told.error:.2f} "
            f"(without it {told.error_of_mean:.2f}), right {told.exact:.1%} (without it {told.exact_of_mean:.1%})"
        )
    if options.picture:
        draw(side, cells[best], name_of(side, best), values, number, track_name if label is None else label, options)


def name_of(side, cell):
    """`hidden1:17` of a column of the index."""
    states = next(one for one in side.states if one.first <= cell < one.first + one.units)
    return f"{states.name}:{cell - states.first}"


def draw(side, levels, name, values, number, title, options):
    """One cell over some words, above the track."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = slice(options.first, min(side.steps, options.first + options.words))
    words = side.text(rows.start, rows.stop)
    marked = values[rows].double() if number is None else (values[rows] == number).double()
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(11, 3.6), sharex=True, height_ratios=(2, 1))
    places = range(len(words))
    above.plot(places, levels[rows].double() / 100, color="#1f77b4", marker=".", linewidth=1)
    above.axhline(0, color="#bbbbbb", linewidth=0.8)
    above.set_ylabel(name)
    below.step(places, marked, where="mid", color="#d95f02")
    below.set_ylabel(title)
    below.set_xticks(list(places), words, fontsize=8, rotation=90 if max(map(len, words)) > 4 else 0)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    figure.tight_layout()
    figure.savefig(options.picture, dpi=110)
    pyplot.close(figure)
    print(f"  wrote {options.picture}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("states", type=Path, help="folder that fairseq-bso states wrote")
    parser.add_argument("--side", default="decoder", choices=["encoder", "decoder"])
    parser.add_argument("--track", required=True, metavar="NAME")
    parser.add_argument("--label", help="of a track of labels, the one to tell from the rest")
    add_options(parser)
    arguments = parser.parse_args(argv)
    sides = open_capture(arguments.states).sides
    if arguments.side not in sides:
        raise SystemExit(f"--side {arguments.side}: {arguments.states} has {', '.join(sides)}")
    tracks = sides[arguments.side].tracks
    if arguments.track not in tracks:
        raise SystemExit(f"--track {arguments.track}: {arguments.states} has {', '.join(tracks) or 'none'}")
    labels = tracks[arguments.track].labels
    if arguments.label is not None and arguments.label not in (labels or []):
        raise SystemExit(f"--label {arguments.label}: the track has {', '.join(labels or ['numbers'])}")
    report(arguments.states, arguments.side, arguments.track, arguments.label, arguments)


if __name__ == "__main__":
    main()
