"""The table, the files and the picture at the end of the demo."""

import json
import logging
import os
from dataclasses import asdict

from progress import clock
from training_log import read_curve

TITLES = {
    "nll": "cross entropy",
    "bso": "beam search optimization",
    "nll-con": "cross entropy, constrained",
    "bso-con": "constrained BSO",
}
COLOURS = {"nll": "#7f7f7f", "bso": "#1f77b4", "nll-con": "#c7c7c7", "bso-con": "#17becf"}


def write_report(out, budget, seed, scores, seconds):
    """Print and write the results.

    Arguments:
        out: the folder of the demo.
        budget: its dataclass of settings.
        seed: the seed of the run.
        scores: (system, beam) -> what `score.score_file` returns.
        seconds: system -> seconds that its training took.
    """
    table = make_table(scores, seconds)
    write_beside(out / "results.txt", table + "\n")
    results = {
        "seed": seed,
        "budget": asdict(budget),
        "train_seconds": {system: round(seconds[system], 1) for system in TITLES},
        "scores": [{"system": system, "beam": beam, **score} for (system, beam), score in scores.items()],
    }
    write_beside(out / "results.json", json.dumps(results, indent=1) + "\n")
    print("\n" + table + "\n")
    written = [out / "results.txt", out / "results.json"]
    if draw(out / "demo.png", out / "logs" / "bso.log", scores, budget):
        written.append(out / "demo.png")
    else:
        print("No picture: matplotlib is not installed.")
    print("Wrote " + ", ".join(os.path.relpath(path) for path in written))


def silent_pyplot():
    """matplotlib's, for pictures in files. It logs every font that it looks at, and fairseq, when it is imported, makes
    all that is logged shown. Raises ImportError without matplotlib."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def logarithmic_x(axes):
    """A logarithmic axis with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def save_figure(figure, path):
    """A picture of matplotlib, written beside, then renamed."""
    from matplotlib import pyplot

    partial = path.with_name(f"partial-{path.name}")
    figure.savefig(partial, dpi=120)
    pyplot.close(figure)
    os.replace(partial, path)


def write_beside(path, text):
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def make_table(scores, seconds):
    """BLEU and search seconds, a row per system and a column per beam."""
    beams = sorted({beam for _, beam in scores})
    signature = next(iter(scores.values()))
    lines = [f"Word ordering, {signature['sentences']} test sentences: BLEU (seconds of search)", ""]
    lines.append(f"{'trained with':28}{'training':>10}" + "".join(f"{f'beam {beam}':>16}" for beam in beams))
    for system, title in TITLES.items():
        cells = [f"{scores[system, beam]['bleu']:.1f} ({format_seconds(scores[system, beam])})" for beam in beams]
        lines.append(f"{title:28}{clock(seconds[system]):>10}" + "".join(f"{cell:>16}" for cell in cells))
    lines += ["", f"sacrebleu {signature['signature']}"]
    lines.append("The training of either kind of BSO comes on top of that with cross entropy.")
    lines.append("Constrained: every output has the words of its source; searched in batches of 64, the others of 16.")
    return "\n".join(lines)


def format_seconds(score):
    return "?" if score["seconds"] is None else f"{score['seconds']:.1f} s"


def draw(path, log, scores, budget):
    """BLEU by test beam, and how the BSO training went; False without matplotlib."""
    try:
        pyplot = silent_pyplot()
    except ImportError:
        return False
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    draw_scores(left, scores)
    draw_training(right, log, budget)
    save_figure(figure, path)
    return True


def draw_scores(axes, scores):
    beams = sorted({beam for _, beam in scores})
    width = 0.8 / len(TITLES)
    for index, (system, title) in enumerate(TITLES.items()):
        values = [scores[system, beam]["bleu"] for beam in beams]
        places = [place + (index - (len(TITLES) - 1) / 2) * width for place in range(len(beams))]
        bars = axes.bar(places, values, width, color=COLOURS[system], label=title)
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.set_xticks(range(len(beams)))
    axes.set_xticklabels([str(beam) for beam in beams])
    axes.margins(y=0.4)
    axes.set_xlabel("beam of the test search")
    axes.set_ylabel("BLEU")
    axes.set_title("Word ordering, test sentences")
    axes.legend(loc="upper left", frameon=False)


def draw_training(axes, log, budget):
    axes.set_title("Training with beam search optimization")
    axes.set_xlabel("update")
    curve = read_curve(log, "violations_per_token", "margin_loss")
    if not curve:
        axes.text(0.5, 0.5, "the training log holds no curve", ha="center", transform=axes.transAxes)
        return
    updates, violations, losses = zip(*curve)
    other = axes.twinx()
    lines = axes.plot(updates, violations, color=COLOURS["bso"], label="violations per token")
    lines += other.plot(updates, losses, color="#d62728", label="margin loss")
    axes.set_ylabel("violations per token")
    other.set_ylabel("margin loss")
    # From zero, with room for the legend above the curves.
    axes.set_ylim(0, 1.3 * max(violations) or 1)
    other.set_ylim(0, 1.3 * max(losses) or 1)
    for beam in range(budget.initial_beam, budget.train_beam + 1):
        grows = (beam - budget.initial_beam) * budget.updates_per_beam
        if grows < updates[-1]:
            axes.axvline(grows, color="#cccccc", linewidth=0.8, zorder=0)
            place = {"xycoords": ("data", "axes fraction"), "fontsize": 8, "color": "#666666"}
            text = f"{beam}" if beam < budget.train_beam else f"{beam}  (training beam)"
            axes.annotate(text, (grows, 0.02), **place)
    axes.legend(lines, [line.get_label() for line in lines], loc="upper right", frameon=False)
