"""Finds the unit of captured states that predicts a track best, with a control for chance and a picture.

    python user_dir_examples/interpretation/finding.py STATES --side decoder --track depth --picture depth.png

STATES is a folder that `fairseq-bso states` wrote with the track. The ranking is the same as on the page of
`fairseq-bso view`. Numbers are ranked by correlation, one `--label` against the rest by the area under the ROC curve,
and all labels by the correlation ratio. The control is the best score of any unit for the same track after a random
shift.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import bso_runtime.cli  # noqa: E402
from bso_runtime.endings import exit_after  # noqa: E402

bso_runtime.cli.without_fairseq = True  # captured states are read without it, and its import takes seconds

from fairseq_bso.interpret.folder.index import open_index  # noqa: E402
from fairseq_bso.interpret.folder.reader import open_capture  # noqa: E402
from fairseq_bso.interpret.units.prediction import predict_number  # noqa: E402
from fairseq_bso.interpret.units.ranking import rank_for_track  # noqa: E402

BEST = 5  # number of printed units
REPEATS = 20  # number of random shifts of the control


def add_options(parser):
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the best unit over some words (PNG, SVG)")
    parser.add_argument("--words", type=int, default=60, metavar="N", help="words in the picture (60)")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="ROW", help="first row of the picture (0)")


def report(folder, side_name, track_name, label, options):
    """Prints the best units, the control for chance and the prediction from the best unit; draws that unit if asked."""
    side = open_capture(Path(folder)).sides[side_name]
    units = open_index(side).units  # (C, T)
    track = side.tracks[track_name]
    values = track.values  # (T,)
    code = None if label is None else track.labels.index(label)
    found = rank_for_track(units, values, code, BEST, REPEATS)
    names = [side.unit_name(unit) for unit in found.ranking.units.tolist()]
    print(f"{track_name}{'' if label is None else '=' + label}: best of {len(units)} units by {found.criterion}")
    for name, score, value in zip(names, found.ranking.scores.tolist(), found.ranking.values.tolist()):
        print(f"  {name:16} {score:.3f} {'(lower there)' if value < found.chance else ''}".rstrip())
    print(f"  best of any unit for {REPEATS} shifted tracks: {found.control.best.max():.3f}")
    best = units[int(found.ranking.units[0])]  # (T,)
    if track.labels is None:
        predicted = predict_number(best, values)
        print(
            f"  {names[0]} alone, second half of the corpus: mean error {predicted.error:.2f} (without it "
            f"{predicted.error_of_mean:.2f}), right {predicted.exact:.1%} (without it {predicted.exact_of_mean:.1%})"
        )
    if options.picture:
        draw(side, best, names[0], values, code, track_name if label is None else label, options)


def draw(side, levels, name, values, number, title, options):
    """Draws one unit over some words, above the track."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = slice(options.first, min(side.steps, options.first + options.words))
    words = side.text(rows.start, rows.stop)
    marked = values[rows] if number is None else (values[rows] == number).astype(float)
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(11, 3.6), sharex=True, height_ratios=(2, 1))
    places = range(len(words))
    above.plot(places, levels[rows] / 100, color="#1f77b4", marker=".", linewidth=1)
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
    parser.add_argument("states", type=Path, help="folder of fairseq-bso states")
    parser.add_argument("--side", default="decoder", choices=["encoder", "decoder"])
    parser.add_argument("--track", required=True, metavar="NAME")
    parser.add_argument("--label", help="the label to compare with the rest; for a track of labels")
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
    exit_after(main)
