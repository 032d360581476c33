"""Does BSO gain over cross entropy continued for the same time? One task, several seeds, one command.

    python scripts/experiments/compare_training.py tatoeba   # word ordering, bundled text
    python scripts/experiments/compare_training.py parsing   # dependency parsing, bundled trees
    python scripts/experiments/compare_training.py multi30k [--data DIR]   # translation; DIR: of the .gz files
    python scripts/experiments/compare_training.py ptb --data DIR   # word ordering; DIR holds ptb.train.txt and so on
    python scripts/experiments/compare_training.py iwslt14 --data DIR   # DIR: output of fairseq's prepare-iwslt14.sh

`tatoeba-transformer`, `tatoeba-lstm` and `multi30k-transformer` are the same tasks with fairseq's own models.

Each of `--seeds N` seeds trains with cross entropy. From that checkpoint, cross entropy is continued and each kind of
BSO is trained, for about the same time. All models are decoded with several beams and scored. The results are in
OUT/results.txt and OUT/results.json: means and standard deviations over the seeds, the gain over continued cross
entropy, and the length of the outputs. The gain has the p-value of a paired bootstrap test for each seed and for all
seeds together (significance.py). The settings are in comparison_recipes.py.

A second run does only the stages that are not done yet, and an interrupted training resumes from its last checkpoint.
`--only nll bso-con` leaves out the other trainings, `--seed 2` the other seeds. `--train-only` stops before decoding.
`--also "wide = bso-con --train-beam 16 --lr 3e-4"` adds a row for settings to try: `bso-con` with the options that
follow its name.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from command_line import add_machine_options, make_parser, number_after, one_or_more
from comparison_recipes import RECIPES, START, Training
from comparison_report import Report
from comparison_scores import statistics_of
from forked import processor_time
from stages import ROOT, Runner, Stage, ends_with_one_message, program, threads_environment, training_stage

PLUGIN = ROOT / "fairseq_bso"
BEST = "checkpoint_best.pt"  # the lowest validation loss, by the training's own criterion


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    training: str
    constrained: bool  # in decoding

    @property
    def decoding(self):
        return "constrained" if self.constrained else "free"


class Comparison:
    """The stages of one task for one folder, in order."""

    def __init__(self, recipe, out, seeds, data=None, cpu=False):
        self.recipe, self.out, self.seeds, self.cpu = recipe, out, seeds, cpu
        self.places = {"out": str(out / "data"), "data": str(data), "root": str(ROOT)}
        self.rows = [Row(one.name, mode) for one in recipe.trainings for mode in recipe.decodings(one)]
        self.prepared = self.prepare_stages(bool(data))
        self.trained = {}  # (seed, training): stage
        self.decoded = {}  # (seed, row, subset): stage
        for seed in seeds:
            for training in recipe.trainings:
                self.trained[seed, training.name] = self.train_stage(seed, training)
            for row in self.rows:
                for subset in recipe.subsets:
                    self.decoded[seed, row, subset] = self.decode_stage(seed, row, subset)

    def words(self, text, **more):
        """The words of a command, with folders and files filled in; a name with `*` is its first match."""
        words = [word.format(**self.places, **more) for word in text.split()]
        return [str(first_match(Path(word))) if "*" in word else word for word in words]

    def prepare_stages(self, own):
        """The first stage makes the data folder; later stages add to it."""
        stages, folder = [], Path(self.places["out"])
        for number, (title, command) in enumerate(self.recipe.prepare):
            first, *rest = self.words(command)
            rest += self.words(self.recipe.own) if own and not number else []
            command = [*([sys.executable, first] if first.endswith(".py") else [program(first)]), *rest]
            outputs = [folder / "data-bin"] if stages else [folder]
            stages.append(Stage(f"prepare{number}", title, command, [], outputs, after=stages[-1:]))
        return stages

    def common(self, seed, constrained):
        """The options that every fairseq command gets."""
        options = ["--user-dir", str(PLUGIN), "--task", "bso_translation", "--seed", str(seed), "--num-workers", "0"]
        options += ["--successors", self.recipe.successors] if constrained else []
        return [*options, *(["--cpu"] if self.cpu else [])]

    def checkpoint(self, seed, name):
        return self.out / f"seed{seed}" / name / BEST

    def train_stage(self, seed, training):
        updates = number_after(shlex.split(training.options), "--max-update") or training.updates
        name, folder = f"seed{seed}-{training.name}", self.checkpoint(seed, training.name).parent
        command = [program("fairseq-train"), f"{self.places['out']}/data-bin", *self.common(seed, training.constrained)]
        command += ["--optimizer", "adam", "--clip-norm", "5", "--lr-scheduler", "polynomial_decay"]
        command += ["--total-num-update", str(updates), "--max-update", str(updates), "--no-epoch-checkpoints"]
        command += ["--save-interval-updates", str(-(-updates // 5)), "--keep-interval-updates", "1"]
        command += ["--save-dir", str(folder), "--log-format", "json", "--log-interval", "10"]
        command += [*shlex.split(self.recipe.model), *shlex.split(training.options)]
        after = [self.prepared[-1]]
        if training.name != START:
            command += ["--finetune-from-model", str(self.checkpoint(seed, START))]
            after = [self.trained[seed, START]]
        title = f"Seed {seed}: train with {training.title}"
        return training_stage(name, title, command, [], folder, updates, self.out, after)

    def decode_stage(self, seed, row, subset):
        name = f"decode-{row.training}-{row.decoding}-{subset}"
        folder = self.out / f"seed{seed}" / name
        command = [
            sys.executable,
            str(ROOT / "scripts" / "experiments" / "generate_beams.py"),
            "--results-path",
            str(folder),
        ]
        command += ["--beams", *map(str, self.recipe.beams), "--", f"{self.places['out']}/data-bin"]
        command += [*self.common(seed, row.constrained), "--path", str(self.checkpoint(seed, row.training))]
        command += ["--gen-subset", subset, "--required-batch-size-multiple", "1", "--no-progress-bar"]
        command += self.words(self.recipe.generate)
        command += [] if row.constrained else self.words(self.recipe.free)
        title = f"Seed {seed}: decode {subset}, {self.recipe.named[row.training].title}, {row.decoding}"
        return Stage(f"seed{seed}-{name}", title, command, [], [folder], after=[self.trained[seed, row.training]])

    def run(self, runner, train_only):
        """Runs all stages, one seed after the other.

        Returns (seed, name) -> the seconds of processor time of that training. Other programs on the machine change
        these little."""
        seconds = {}
        for stage in self.prepared:
            runner.run(stage)
        for seed in self.seeds:
            for training in self.recipe.trainings:
                stage = self.trained[seed, training.name]
                wall = runner.run(stage)
                seconds[seed, training.name] = processor_time(runner.log(stage)) or wall
            for row in [] if train_only else self.rows:
                for subset in self.recipe.subsets:
                    runner.run(self.decoded[seed, row, subset])
        return seconds

    def statistics(self):
        """{(row, subset, beam): [statistics of each seed]}."""
        found = {}
        for (_, row, subset), stage in self.decoded.items():
            for beam in self.recipe.beams:
                generated = stage.outputs[0] / f"beam{beam}" / f"generate-{subset}.txt"
                places = {**self.places, "subset": subset}
                found.setdefault((row, subset, beam), []).append(statistics_of(self.recipe, generated, places))
        return found


def first_match(pattern):
    """The file that a name with `*` stands for. Raises SystemExit if there is none."""
    found = sorted(pattern.parent.glob(pattern.name))
    if not found:
        raise SystemExit(f"--data {pattern.parent}: holds no {pattern.name}; name the folder that does")
    return found[0]


def another(text, recipe):
    """The training that `--also` describes. Raises ValueError."""
    name, equals, rest = (part.strip() for part in text.partition("="))
    base, *options = rest.split(maxsplit=1) or [""]
    if not equals or not name or not name.replace("-", "").isalnum() or name in recipe.named:
        raise ValueError(f"--also {text}: must be NAME = TRAINING OPTIONS, with a NAME that is not taken")
    if base not in recipe.named or base == START:
        allowed = ", ".join(training for training in recipe.named if training != START)
        raise ValueError(f"--also {text}: {base or 'nothing'} is no training; begin with one of {allowed}")
    training = recipe.named[base]
    number_after(shlex.split(" ".join(options)), "--max-update")
    more = " ".join([training.options, *options])
    return replace(training, name=name, title=" ".join([training.title, *options]), options=more)


def choose(recipe, only):
    """The recipe with some of its trainings; the start is always included. Raises ValueError."""
    for name in only:
        if name not in recipe.named:
            raise ValueError(f"--only {name}: is no training of this task; there are {', '.join(recipe.named)}")
    kept: tuple[Training, ...] = tuple(one for one in recipe.trainings if one.name in (START, *only))
    return replace(recipe, trainings=kept)


def parse_arguments(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("task", choices=list(RECIPES), help="what to compare on")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (compare-TASK)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with your own copy of the data")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=one_or_more, default=3, metavar="N", help="seeds 1 to N (3)")
    seeds.add_argument("--seed", type=one_or_more, metavar="N", help="this seed alone")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these trainings, and the start")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=...", help="one more training, see above")
    parser.add_argument("--train-only", action="store_true", help="stop before decoding")
    parser.add_argument("--quick", action="store_true", help="in seconds: shows that all works, not how well")
    add_machine_options(parser)
    arguments = parser.parse_args(argv)
    try:
        recipe = RECIPES[arguments.task]
        for text in arguments.also:
            recipe = replace(recipe, trainings=(*recipe.trainings, another(text, recipe)))
        if arguments.only:
            recipe = choose(recipe, arguments.only)
        check_data(recipe, arguments.task, arguments.data)
    except ValueError as problem:
        parser.error(str(problem))
    arguments.recipe = recipe.quick() if arguments.quick else recipe
    arguments.out = (arguments.out or Path(f"compare-{arguments.task}")).resolve()
    arguments.data = arguments.data.resolve() if arguments.data else None
    arguments.seeds = [arguments.seed] if arguments.seed else list(range(1, arguments.seeds + 1))
    return arguments


def check_data(recipe, task, data):
    """Raises ValueError if --data is missing where a task needs it, or given where it has no meaning."""
    if data is None:
        if recipe.needs:
            raise ValueError(f"{task} needs --data DIR, a folder with {', '.join(recipe.needs)}")
        return
    if not recipe.needs and not recipe.own:
        raise ValueError(f"--data {data}: the data of {task} is bundled; leave --data out")
    missing = [name for name in recipe.needs if not list(data.glob(name))]
    if missing:
        raise ValueError(f"--data {data}: holds no {', '.join(missing)}; name the folder that does")


def main(argv=None):
    arguments = parse_arguments(argv)
    # A signal from outside acts as Ctrl-C: the running command is ended too, and the stamps are right.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ends_with_one_message():
        comparison = Comparison(arguments.recipe, arguments.out, arguments.seeds, arguments.data, arguments.cpu)
        total = len(comparison.prepared) + len(comparison.trained)
        total += 0 if arguments.train_only else len(comparison.decoded)
        runner = Runner(arguments.out, threads_environment(arguments.threads), total=total)
        seconds = comparison.run(runner, arguments.train_only)
    if arguments.train_only:
        return
    report = Report(arguments.recipe, arguments.seeds, comparison.rows, comparison.statistics(), seconds)
    report.write(arguments.out)
    print(f"\n{report.text()}\n\nWrote {os.path.relpath(arguments.out)}/results.txt, results.json")


if __name__ == "__main__":
    main()
