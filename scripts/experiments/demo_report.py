"""The table, the files and the picture at the end of the demo."""

import json
import os
from dataclasses import asdict

from outputs import draw_with, write_whole
from training_log import read_curve

# The systems of the table: the stage that trains each, and whether it is decoded under the constraint.
SYSTEMS = {
    "nll": ("nll", False),
    "more": ("more", False),
    "bso": ("bso", False),
    "nll-con": ("nll", True),
    "more-con": ("more", True),
    "bso-con": ("bso-con", True),
    "last-con": ("last-con", True),
}
TITLES = {
    "nll": "cross entropy",
    "more": "cross entropy continued",
    "bso": "BSO",
    "nll-con": "cross entropy, constrained",
    "more-con": "cross entropy continued, constrained",
    "bso-con": "constrained BSO",
    "last-con": "constrained BSO, last score",
}
COLOURS = {"nll": "#9a9a9a", "more": "#4d4d4d", "bso": "#1f77b4", "bso-con": "#1f77b4", "last-con": "#d95f02"}
# The BSO trainings: how each is drawn over its updates.
TRAINED = {"bso": "--", "bso-con": "-", "last-con": "-"}


def write_report(out, budget, seed, scores, seconds):
    """Prints and writes the results.

    Args:
        out: the folder of the demo.
        budget: the dataclass of the demo's settings.
        seed: the seed of the run.
        scores: (system, beam) -> the result of `score.score_file`.
        seconds: training -> the seconds it took.
    """
    table = make_table(scores, seconds)
    write_whole(out / "results.txt", table + "\n")
    rows = [
        {"system": system, "training": SYSTEMS[system][0], "constrained": SYSTEMS[system][1], "beam": beam, **score}
        for (system, beam), score in scores.items()
    ]
    train_seconds = {training: round(value, 1) for training, value in seconds.items()}
    results = {"seed": seed, "budget": asdict(budget), "train_seconds": train_seconds, "scores": rows}
    write_whole(out / "results.json", json.dumps(results, indent=1) + "\n")
    print("\n" + table + "\n")
    written = [out / "results.txt", out / "results.json"]
    logs = {name: out / "logs" / f"{name}.log" for name in TRAINED}
    if draw_with(draw, out / "demo.png", logs, scores, budget):
        written.append(out / "demo.png")
    print("Wrote " + ", ".join(os.path.relpath(path) for path in written))


def make_table(scores, seconds):
    """Seconds of training and BLEU: a row for each system and a column for each beam."""
    beams = sorted({beam for _, beam in scores})
    first = next(iter(scores.values()))
    lines = [f"Word ordering, {first['sentences']} test sentences: BLEU", ""]
    lines.append(
        f"{'trained with':38}{'training':>10}{'constrained':>13}" + "".join(f"{f'beam {beam}':>10}" for beam in beams)
    )
    for system, (trained, constrained) in SYSTEMS.items():
        time = f"{seconds[trained]:.0f} s"
        cells = "".join(f"{scores[system, beam]['bleu']:>10.1f}" for beam in beams)
        name = TITLES[system].removesuffix(", constrained")
        lines.append(f"{name:38}{time:>10}{'yes' if constrained else 'no':>13}{cells}")
    lines += ["", f"sacrebleu {first['signature']}"]
    lines.append("All but the first training begin where the first ended: their time comes on top of it.")
    lines.append("Constrained: in decoding, and for BSO in training too, every output has the words of its source.")
    return "\n".join(lines)


def draw(pyplot, logs, scores, budget):
    """BLEU by test beam, and the curves of the BSO trainings."""
    figure, panels = pyplot.subplots(1, 3, figsize=(14, 4.6), layout="constrained", width_ratios=(1.9, 1, 1))
    draw_scores(panels[0], scores)
    draw_training(panels[1], logs, budget, "violations_per_token", "violations per word")
    draw_training(panels[2], logs, budget, "margin_loss", "margin loss per word")
    return figure


def draw_scores(axes, scores):
    """Draws a line for each system, with its name at the right end."""
    beams = sorted({beam for _, beam in scores})
    ends = {system: scores[system, beams[-1]]["bleu"] for system in SYSTEMS}
    values = [score["bleu"] for score in scores.values()]
    heights = spread(ends, 0.055 * max(max(values) - min(values), 0.1))
    for system, (trained, constrained) in SYSTEMS.items():
        line = [scores[system, beam]["bleu"] for beam in beams]
        bold = 2.4 if trained.startswith("bso") else 1.4
        axes.plot(line, "o-" if constrained else "o--", color=COLOURS[trained], linewidth=bold, markersize=4)
        place = (len(beams) - 1 + 0.06, heights[system])
        axes.annotate(f"{ends[system]:.1f}  {TITLES[system]}", place, color=COLOURS[trained], va="center", fontsize=9)
    axes.set_xticks(range(len(beams)), [str(beam) for beam in beams])
    axes.set_xlim(-0.15, len(beams) - 1 + 0.75 * len(beams))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("beam of the test search", loc="left")
    axes.set_ylabel("BLEU")
    axes.set_title("Word ordering, test sentences (dashed: unconstrained)", loc="left", fontsize=10)


def spread(ends, gap):
    """Heights for names that would overlap: ordered as their values, at least `gap` apart, as near as possible."""
    names = sorted(ends, key=ends.get)
    groups = []  # groups of adjacent names: [names, height of the lowest]
    for name in names:
        groups.append([[name], ends[name]])
        while len(groups) > 1 and groups[-2][1] + gap * len(groups[-2][0]) > groups[-1][1]:
            joined = groups[-2][0] + groups.pop()[0]
            middle = sum(ends[one] for one in joined) / len(joined)
            groups[-1] = [joined, middle - gap * (len(joined) - 1) / 2]
    return {name: low + gap * place for joined, low in groups for place, name in enumerate(joined)}


def draw_training(axes, logs, budget, value, title):
    """Draws one value over the updates of each BSO training."""
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(f"update of BSO (training beam {budget.train_beam})")
    axes.spines[["top", "right"]].set_visible(False)
    curves = {name: read_curve(log, value) for name, log in logs.items()}
    for name, curve in curves.items():
        if curve:
            updates, values = zip(*curve)
            axes.plot(updates, values, TRAINED[name], color=COLOURS[name], linewidth=1.4, label=TITLES[name])
    if not any(curves.values()):
        axes.text(0.5, 0.5, "the training logs hold no curve", ha="center", transform=axes.transAxes)
        return
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend above the curves
    axes.legend(loc="upper right", frameon=False, fontsize=8)
