"""See et al. 2016 in one command: prune by every scheme to every amount, retrain, export and translate.

The scheme `units` prunes whole units (--prune-units), to the shares of --unit-amounts.

    python scripts/experiments/pruning_grid.py m30k --start m30k/student/checkpoint_best.pt \\
        --sentencepiece m30k/spm.model --text m30k/text/test.de --reference m30k/text/test.en --lowercase \\
        --out m30k/pruning \\
        -- --task bso_translation --criterion cross_entropy --arch bso_lstm ... --lr 5e-4 --max-update 1000

FOLDER holds `data-bin`. The words after ` -- ` go to fairseq-train as they are, with `--finetune-from-model START` and
the options of pruning; the last checkpoint is used. Every scheme and amount gives two models: one pruned without
retraining, and one retrained with its zeros. One more model is retrained without pruning: it shows the effect of more
updates alone. `fairseq-bso export` writes each model in float32, float16 and int8. `fairseq-bso translate` translates
--text with the float32 and the int8 export at beam 1 and 5. The table has BLEU and the bytes of the files. A second
run does only the stages that are not done yet.

The results are in OUT/results.json, OUT/results.md and OUT/results.png. `--teacher CHECKPOINT` adds ratios to a
teacher: its parameters, and their bytes in float32.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from command_line import add_machine_options, check_paths, exit_after, make_parser, number_after, parse_with_rest
from distillation_report import parameters, tensors
from installation import PLUGIN, program, tool
from outputs import draw_with, logarithmic_x, write_whole
from stages import LAST, Stage, ends_with_one_message, run_all, training_stage

score = tool("score")
NUMBERS = ("float32", "float16", "int8")
TRANSLATED = ("float32", "int8")
BEAMS = (1, 5)
UNITS = "units"


@dataclass
class System:
    """One model of the table."""

    scheme: str  # "" without pruning
    amount: float
    retrained: bool
    checkpoint: Path
    stage: Stage | None  # makes the checkpoint; None for the start
    exports: dict = field(default_factory=dict)  # {number format: the file}
    translations: dict = field(default_factory=dict)  # {(number format, beam): the stage; its output is the text}

    @property
    def name(self):
        pruned = f"{self.scheme}-{self.amount:g}" if self.scheme else "whole"
        return pruned + ("-retrained" if self.retrained else "")


class Grid:
    """All stages, in order."""

    def __init__(self, arguments):
        self.arguments, self.out, self.stages = arguments, arguments.out, []
        self.systems = [self.add(System("", 0.0, False, arguments.start, None))]
        self.systems.append(self.retrained("", 0.0))
        for scheme in arguments.schemes:
            for amount in arguments.unit_amounts if scheme == UNITS else arguments.amounts:
                self.systems += [self.pruned(scheme, amount), self.retrained(scheme, amount)]

    def pruned(self, scheme, amount):
        """The start, with its smallest weights pruned."""
        start, path = str(self.arguments.start), self.out / f"{scheme}-{amount:g}.pt"
        command = [program("fairseq-bso"), "prune", start, str(path)]
        command += ["--units", str(amount)] if scheme == UNITS else ["--amount", str(amount), "--scheme", scheme]
        stage = Stage(path.stem, f"Prune {amount:.0%}, {scheme}", command, [self.arguments.start], [path])
        return self.add(System(scheme, amount, False, path, stage))

    def retrained(self, scheme, amount):
        """The pruned model, retrained with its zeros."""
        given = self.arguments
        name = f"{scheme}-{amount:g}-retrained" if scheme else "whole-retrained"
        folder = self.out / name
        command = [program("fairseq-train"), str(given.folder / "data-bin"), "--user-dir", str(PLUGIN)]
        command += ["--finetune-from-model", str(given.start), "--save-dir", str(folder), "--no-epoch-checkpoints"]
        if scheme == UNITS:
            command += ["--prune-units", str(amount)]
        else:
            command += ["--prune-amount", str(amount), *(["--prune-scheme", scheme] if scheme else [])]
        command += ["--disable-validation", "--seed", str(given.seed), "--num-workers", "0", "--log-format", "json"]
        command += ["--log-interval", "10", *(["--cpu"] if given.cpu else []), *given.rest]
        title = f"Retrain with {amount:.0%} pruned, {scheme}" if scheme else "Retrain without pruning"
        updates = number_after(given.rest, "--max-update")
        stage = training_stage(name, title, command, [given.start], folder, updates, self.out)
        return self.add(System(scheme, amount, True, folder / LAST, stage))

    def add(self, system):
        """Adds the stages that make one system, export it and translate with it."""
        if system.stage:
            self.stages.append(system.stage)
        for numbers in NUMBERS:
            export = self.export(system, numbers)
            system.exports[numbers] = export.outputs[0]
            for beam in BEAMS if numbers in TRANSLATED else ():
                system.translations[numbers, beam] = self.translate(system, numbers, beam, export)
        return system

    def export(self, system, numbers):
        path = self.out / f"{system.name}.{numbers}.bso"
        command = [program("fairseq-bso"), "export", str(system.checkpoint), str(path), "--dtype", numbers]
        command += ["--data", str(self.arguments.folder / "data-bin")]
        command += ["--sentencepiece", str(self.arguments.sentencepiece)] if self.arguments.sentencepiece else []
        after = [system.stage] if system.stage else []
        inputs = [] if system.stage else [system.checkpoint]
        stage = Stage(f"export-{path.stem}", f"Export {path.stem}", command, inputs, [path], after=after)
        self.stages.append(stage)
        return stage

    def translate(self, system, numbers, beam, export):
        given, path = self.arguments, self.out / f"{system.name}.{numbers}.beam{beam}.txt"
        command = [program("fairseq-bso"), "translate", str(export.outputs[0]), "--input", str(given.text)]
        command += ["--output", str(path), "--beam", str(beam), "--batch-size", "32"]
        command += ["--max-len-a", "1.5", "--max-len-b", "10"]
        stage = Stage(f"translate-{path.stem}", f"Translate with {path.stem}", command, [], [path], after=[export])
        self.stages.append(stage)
        return stage


def kept(checkpoint):
    """(number of parameters that are not exactly zero, number of all parameters) of a model."""
    parts = tensors(checkpoint)
    return sum(int(part.count_nonzero()) for part in parts), sum(part.numel() for part in parts)


def measure(arguments, system):
    """One row of the table."""
    left, size = kept(system.checkpoint)
    row = {"scheme": system.scheme, "amount": system.amount, "retrained": system.retrained}
    row.update({"kept": left, "parameters": size})
    references = score.read_lines(arguments.reference)
    for numbers in NUMBERS:
        row[f"bytes {numbers}"] = system.exports[numbers].stat().st_size
    for numbers in TRANSLATED:
        for beam in BEAMS:
            texts = score.read_lines(system.translations[numbers, beam].outputs[0])
            scored = score.bleu(texts, references, lowercase=arguments.lowercase)
            row[f"bleu {numbers} {beam}"], row["signature"] = scored["bleu"], scored["signature"]
    return row


def table(rows, teacher):
    """The table in Markdown; `teacher` is the teacher's number of parameters, or None."""
    columns = "scheme | pruned | retrained | kept | MB float32 | float16 | int8"
    lines = [f"| {columns} | BLEU, beam 1 | beam 5 | int8, beam 1 | beam 5 |"]
    ratios = teacher is not None
    lines[0] += " teacher / this: parameters | bytes, int8 |" if ratios else ""
    lines.append("|---" * (lines[0].count("|") - 1) + "|")
    for row in rows:
        cells = [row["scheme"] or "none", f"{row['amount']:.0%}", "yes" if row["retrained"] else "no"]
        cells += [f"{row['kept'] / 1e6:.2f}M", *(f"{row[f'bytes {numbers}'] / 1e6:.2f}" for numbers in NUMBERS)]
        cells += [f"{row[f'bleu {numbers} {beam}']:.1f}" for numbers in TRANSLATED for beam in BEAMS]
        cells += [f"{teacher / row['kept']:.1f}", f"{4 * teacher / row['bytes int8']:.1f}"] if ratios else []
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"sacrebleu `{rows[0]['signature']}`", ""])


def draw(pyplot, rows):
    """BLEU at beam 5 against the bytes of the file: a line for each scheme, dotted before retraining."""
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    schemes = list(dict.fromkeys(row["scheme"] for row in rows if row["scheme"]))
    for number, scheme in enumerate(schemes):
        for retrained in (False, True):
            line = [row for row in rows if row["scheme"] in ("", scheme) and row["retrained"] == retrained]
            for numbers, marker in (("float32", "o"), ("int8", "^")):
                sizes = [row[f"bytes {numbers}"] / 1e6 for row in line]
                label = f"{scheme}, {numbers}" if retrained else None
                style = "-" if retrained else ":"
                values = [row[f"bleu {numbers} 5"] for row in line]
                axes.plot(sizes, values, style, marker=marker, color=f"C{number}", label=label, alpha=0.8)
    logarithmic_x(axes)
    axes.set_xlabel("megabytes of the exported file (dotted: not retrained)")
    axes.set_ylabel("BLEU, beam 5")
    axes.legend(fontsize=8)
    return figure


def parse_arguments(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder with data-bin")
    parser.add_argument("--start", type=Path, required=True, metavar="FILE", help="checkpoint to prune")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="plain text to translate")
    parser.add_argument("--reference", type=Path, required=True, metavar="FILE", help="its translation")
    parser.add_argument("--sentencepiece", type=Path, metavar="FILE", help="subword model of both sides")
    parser.add_argument("--teacher", type=Path, metavar="FILE", help="checkpoint to compare sizes with")
    parser.add_argument("--lowercase", action="store_true", help="sacrebleu's -lc")
    parser.add_argument("--amounts", type=float, nargs="+", default=[0.5, 0.8, 0.85, 0.9], metavar="SHARE")
    units = "shares of the units (0.3)"
    parser.add_argument("--unit-amounts", type=float, nargs="+", default=[0.3], metavar="SHARE", help=units)
    schemes = ["class_blind", "class_uniform", "class_distribution", UNITS]
    named = f"of --prune-scheme, or {UNITS}: {', '.join(schemes)} (all)"
    parser.add_argument("--schemes", nargs="+", default=schemes, choices=schemes, metavar="NAME", help=named)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the retraining (1)")
    add_machine_options(parser)
    arguments = parse_with_rest(parser, argv)
    for option in ("amounts", "unit_amounts"):
        for amount in getattr(arguments, option):
            if not 0 < amount < 1:
                parser.error(f"--{option.replace('_', '-')} {amount}: must be above 0 and below 1")
    optional = [path for path in (arguments.sentencepiece, arguments.teacher) if path]
    check_paths(parser, arguments.folder / "data-bin", arguments.start, arguments.text, arguments.reference, *optional)
    arguments.out = arguments.out.resolve()
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    with ends_with_one_message():
        grid = Grid(arguments)
        run_all(grid.stages, arguments.out, arguments.threads)
    rows = [measure(arguments, system) for system in grid.systems]
    text = table(rows, parameters(arguments.teacher) if arguments.teacher else None)
    write_whole(arguments.out / "results.json", json.dumps(rows, indent=1) + "\n")
    write_whole(arguments.out / "results.md", text)
    print("\n" + text)
    draw_with(draw, arguments.out / "results.png", rows)


if __name__ == "__main__":
    exit_after(main)
