"""The tables of compare_training.py."""

from __future__ import annotations

import json

import numpy as np
from comparison_recipes import MORE, START
from comparison_scores import METRICS, ratio_of
from outputs import draw_with, write_whole
from progress import clock
from significance import mean_and_spread, paired_bootstrap, paired_bootstrap_over_seeds

ALL = "all sets together"


class Report:
    """Scores, gains over continued cross entropy and lengths.

    Args:
        recipe: the settings of the task.
        seeds: the seeds of every training.
        rows: the lines of the tables; each has its training, and whether it is decoded under the constraint.
        statistics: (row, subset, beam) -> an array for each seed.
        seconds: (seed, name of the training) -> the seconds of processor time of that training.
    """

    def __init__(self, recipe, seeds, rows, statistics, seconds):
        self.recipe, self.seeds, self.rows, self.statistics, self.seconds = recipe, seeds, rows, statistics, seconds
        self.subsets = [*recipe.subsets]
        if len(self.subsets) > 1:
            self.subsets.append(ALL)
            self.statistics = {**statistics, **self.together()}
        self.cells = [
            self.measure(row, subset, beam, metric)
            for subset in self.subsets
            for metric in recipe.metrics
            for row in rows
            for beam in recipe.beams
        ]

    def together(self):
        """The statistics of the sentences of all sets, for each row, beam and seed."""
        found = {}
        for row in self.rows:
            for beam in self.recipe.beams:
                of_seeds = zip(*(self.statistics[row, subset, beam] for subset in self.recipe.subsets))
                found[row, ALL, beam] = [np.concatenate(parts) for parts in of_seeds]
        return found

    def measure(self, row, subset, beam, metric):
        """All results of one row at one beam."""
        score, found = METRICS[metric], self.statistics[row, subset, beam]
        scores = [score(of_seed.sum(0)) for of_seed in found]
        mean, spread = mean_and_spread(scores)
        cell = {"training": row.training, "constrained": row.constrained, "subset": subset, "beam": beam}
        cell.update({"metric": metric, "scores": scores, "mean": mean, "spread": spread})
        ratio = ratio_of(self.recipe, sum(found).sum(0))
        cell.update({} if ratio is None else {"length_ratio": ratio})
        baseline = self.statistics.get((self.baseline(row), subset, beam))
        if baseline is not None and row.training not in (START, MORE):
            gains = [value - score(of_seed.sum(0)) for value, of_seed in zip(scores, baseline)]
            cell["gain"], cell["gain_spread"] = mean_and_spread(gains)
            cell["p"] = paired_bootstrap_over_seeds(baseline, found, score)
            cell["p_of_seeds"] = [paired_bootstrap(*pair, score) for pair in zip(baseline, found)]
        return cell

    def baseline(self, row):
        """Continued cross entropy, decoded in the same way."""
        return next(
            (other for other in self.rows if (other.training, other.constrained) == (MORE, row.constrained)), None
        )

    def text(self):
        """All tables, in Markdown."""
        seeds = ", ".join(map(str, self.seeds))
        parts = [f"{self.recipe.title}; seed{'s' * (len(self.seeds) > 1)} {seeds}; mean and standard deviation"]
        for subset in self.subsets:
            for metric in self.recipe.metrics:
                cells = [cell for cell in self.cells if (cell["subset"], cell["metric"]) == (subset, metric)]
                parts.append(self.table(f"{metric}, {subset}", cells, score_text))
                if any("gain" in cell for cell in cells):
                    gains = [cell for cell in cells if "gain" in cell]
                    title = f"{metric}, {subset}: gain over continued cross entropy, p of all seeds (of each)"
                    parts.append(self.table(title, gains, gain_text))
            one_metric = (subset, self.recipe.metrics[0])  # outputs are as long by every metric
            lengths = [
                cell for cell in self.cells if (cell["subset"], cell["metric"]) == one_metric and "length_ratio" in cell
            ]
            if lengths:
                title = f"{subset}: words of the output for each of the reference"
                parts.append(self.table(title, lengths, lambda cell: f"{cell['length_ratio']:.3f}"))
        return "\n\n".join(parts)

    def table(self, title, cells, say):
        """One table: a line for each row that has cells, a column for each beam."""
        lines = [
            f"| training | decoding | processor time | {' | '.join(f'beam {beam}' for beam in self.recipe.beams)} |"
        ]
        lines.append("|---" * (3 + len(self.recipe.beams)) + "|")
        for row in self.rows:
            mine = [
                cell for cell in cells if (cell["training"], cell["constrained"]) == (row.training, row.constrained)
            ]
            if mine:
                time = mean_and_spread([self.seconds[seed, row.training] for seed in self.seeds])[0]
                named = self.recipe.named[row.training].title
                lines.append(f"| {named} | {row.decoding} | {clock(time)} | {' | '.join(map(say, mine))} |")
        return "\n".join([f"{title}:", "", *lines])

    def write(self, out):
        """Writes results.txt, results.json and, with matplotlib, gains.png. Returns their paths."""
        write_whole(out / "results.txt", self.text() + "\n")
        trainings = {
            training.name: {
                "title": training.title,
                "options": training.options,
                "updates": training.updates,
                "constrained": training.constrained,
                "seconds": [round(self.seconds[seed, training.name], 1) for seed in self.seeds],
            }
            for training in self.recipe.trainings
        }
        found = {"task": self.recipe.title, "model": self.recipe.model, "seeds": self.seeds, "trainings": trainings}
        write_whole(out / "results.json", json.dumps({**found, "results": self.cells}, indent=1) + "\n")
        gained = any("gain" in cell for cell in self.cells)
        drawn = gained and draw_with(draw_gains, out / "gains.png", self)
        return [out / "results.txt", out / "results.json", *([out / "gains.png"] if drawn else [])]


def score_text(cell):
    return f"{cell['mean']:.1f}" + (f" ± {cell['spread']:.1f}" if len(cell["scores"]) > 1 else "")


def gain_text(cell):
    """The gain, the p-value of all seeds, and the p-value of each seed if there are several."""
    each = " ".join(f"{value:.3f}" for value in cell["p_of_seeds"])
    return f"{cell['gain']:+.1f}, p {cell['p']:.3f}" + (f" ({each})" if len(cell["p_of_seeds"]) > 1 else "")


def draw_gains(pyplot, report):
    """The gains of the last set by beam, with a panel for each metric. An error bar is the deviation over the seeds."""
    gained = [cell for cell in report.cells if "gain" in cell and cell["subset"] == report.subsets[-1]]
    metrics, beams = report.recipe.metrics, report.recipe.beams
    figure, panels = pyplot.subplots(
        1, len(metrics), figsize=(5.6 * len(metrics), 4.2), layout="constrained", squeeze=False
    )
    for axes, metric in zip(panels[0], metrics):
        rows = [row for row in report.rows if row.training not in (START, MORE)]
        for number, row in enumerate(rows):
            cells = [cell for cell in gained if cell["metric"] == metric and cell["training"] == row.training]
            cells = [cell for cell in cells if cell["constrained"] == row.constrained]
            places = [place + 0.06 * (number - (len(rows) - 1) / 2) for place in range(len(cells))]
            gains, spreads = ([cell[name] for cell in cells] for name in ("gain", "gain_spread"))
            axes.errorbar(places, gains, spreads, marker="o", capsize=3, label=report.recipe.named[row.training].title)
        axes.axhline(0, color="#4d4d4d", linewidth=1)
        axes.set_xticks(range(len(beams)), [str(beam) for beam in beams])
        axes.set_xlabel("beam of the test search", loc="left")
        axes.set_ylabel(f"{metric}, gain over continued cross entropy")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False)
    seeds = f"{len(report.seeds)} seed{'s' * (len(report.seeds) > 1)}"
    figure.suptitle(f"{report.recipe.title}, {report.subsets[-1]}, {seeds}", x=0.01, ha="left", fontsize=10)
    return figure
