"""The stages of compare_training.py: which commands a comparison of trainings consists of, and in which order."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from command_line import number_after
from comparison_recipes import START
from comparison_scores import statistics_of
from forked import processor_time
from installation import PLUGIN, ROOT, program
from stages import BEST, Stage, training_stage

TRIAL = 40  # updates


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
        self.rows = [Row(training.name, mode) for training in recipe.trainings for mode in recipe.decodings(training)]
        self.prepared = self.prepare_stages(bool(data))
        self.trained = {}  # (seed, training): stage
        self.decoded = {}  # (seed, row, subset, beam): stage
        for seed in seeds:
            for training in recipe.trainings:
                self.trained[seed, training.name] = self.train_stage(seed, training)
            for row in self.rows:
                for subset in recipe.subsets:
                    for beam in recipe.beams:
                        self.decoded[seed, row, subset, beam] = self.decode_stage(seed, row, subset, beam)

    def arguments(self, text):
        """The arguments of a command, with folders and files filled in; a name with `*` is its first match."""
        arguments = [argument.format(**self.places) for argument in text.split()]
        return [str(first_match(Path(argument))) if "*" in argument else argument for argument in arguments]

    def prepare_stages(self, own):
        """The first stage makes the data folder; later stages add to it."""
        stages, folder = [], Path(self.places["out"])
        for number, (title, command) in enumerate(self.recipe.prepare):
            first, *rest = self.arguments(command)
            rest += self.arguments(self.recipe.own) if own and not number else []
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

    def training_command(self, seed, training, updates, folder):
        """fairseq-train for a training of so many updates."""
        command = [program("fairseq-train"), f"{self.places['out']}/data-bin", *self.common(seed, training.constrained)]
        command += ["--optimizer", "adam", "--clip-norm", "5", "--lr-scheduler", "polynomial_decay"]
        command += ["--total-num-update", str(updates), "--max-update", str(updates), "--no-epoch-checkpoints"]
        command += ["--save-interval-updates", str(-(-updates // 5)), "--keep-interval-updates", "1"]
        command += ["--save-dir", str(folder), "--log-format", "json", "--log-interval", "10"]
        command += [*shlex.split(self.recipe.model), *shlex.split(training.options)]
        if training.name != START:
            command += ["--finetune-from-model", str(self.checkpoint(seed, START))]
        return command

    def train_stage(self, seed, training):
        updates = own_updates(training) or training.updates
        name, folder = f"seed{seed}-{training.name}", self.checkpoint(seed, training.name).parent
        command = self.training_command(seed, training, updates, folder)
        check_warmup(training, command, updates)
        after = [self.prepared[-1]] if training.name == START else [self.trained[seed, START]]
        title = f"Seed {seed}: train with {training.title}"
        return training_stage(name, title, command, [], folder, updates, self.out, after)

    def trial_stage(self, training, seed):
        """The first updates of a training, without validation and checkpoints, to see how long they take.

        An interrupted trial begins again: its time counts, and it leaves nothing to resume from."""
        start = self.train_stage(seed, self.recipe.named[START])
        command = self.training_command(seed, training, TRIAL, self.out / "trial")
        command += ["--no-save", "--disable-validation"]
        title = f"The time of {TRIAL} updates of {training.title}"
        stage = training_stage(
            f"trial-{training.name}", title, command, [], self.out / "trial", TRIAL, self.out, [start]
        )
        return replace(stage, outputs=[], resumes=False)

    def trial_seed(self, runner):
        """The seed whose start is tried: that of earlier trials in this folder, or the first.

        All seeds of a folder then get the same updates, also if the command is called for one seed after the other."""
        for training in self.recipe.trainings:
            stamp = runner.stamp(self.trial_stage(training, self.seeds[0]))
            if "finished" in stamp:
                return number_after(stamp["command"], "--seed")
        return self.seeds[0]

    def within(self, minutes, runner):
        """The recipe with as many updates of each training as fit into so many minutes of processor time.

        The start keeps its updates, and so does a training whose options name them. One seed's start is trained here,
        and each training is tried from it."""
        seed, trainings = self.trial_seed(runner), []
        for stage in [*self.prepared, self.train_stage(seed, self.recipe.named[START])]:
            runner.run(stage)
        for training in self.recipe.trainings:
            if training.name != START and not own_updates(training):
                stage = self.trial_stage(training, seed)
                wall = runner.run(stage)
                seconds = processor_time(runner.log(stage)) or wall
                training = replace(training, updates=max(1, round(60 * minutes * TRIAL / seconds)))
            trainings.append(training)
        return replace(self.recipe, trainings=tuple(trainings))

    def decode_stage(self, seed, row, subset, beam):
        """One beam is one stage, so that a later run can add a beam."""
        name = f"decode-{row.training}-{row.decoding}-{subset}-beam{beam}"
        folder = self.out / f"seed{seed}" / name
        command = [program("fairseq-generate"), f"{self.places['out']}/data-bin", *self.common(seed, row.constrained)]
        command += ["--path", str(self.checkpoint(seed, row.training)), "--gen-subset", subset, "--beam", str(beam)]
        command += ["--required-batch-size-multiple", "1", "--no-progress-bar", "--results-path", str(folder)]
        command += self.arguments(self.recipe.generate)
        command += [] if row.constrained else self.arguments(self.recipe.free)
        title = f"Seed {seed}: decode {subset}, {self.recipe.named[row.training].title}, {row.decoding}, beam {beam}"
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
            for (of_seed, *_), stage in self.decoded.items():
                if of_seed == seed and not train_only:
                    runner.run(stage)
        return seconds

    def statistics(self):
        """{(row, subset, beam): [statistics of each seed]}."""
        found = {}
        for (_, row, subset, beam), stage in self.decoded.items():
            places = {**self.places, "subset": subset}
            counted = statistics_of(self.recipe, stage.outputs[0] / f"generate-{subset}.txt", places)
            found.setdefault((row, subset, beam), []).append(counted)
        return found


def own_updates(training):
    """The updates that the options of a training name, or 0."""
    return number_after(shlex.split(training.options), "--max-update")


def check_warmup(training, command, updates):
    """Raises SystemExit if the learning rate would rise up to the last update. `polynomial_decay` says nothing then."""
    warmup = number_after(command, "--warmup-updates")
    if warmup >= updates:
        problem = f"--warmup-updates {warmup} must be below its {updates} updates: the learning rate would never fall"
        raise SystemExit(f"{training.name}: {problem}; give fewer with --also or --model")


def first_match(pattern):
    """The file that a name with `*` stands for. Raises SystemExit if there is none."""
    found = sorted(pattern.parent.glob(pattern.name))
    if not found:
        raise SystemExit(f"--data {pattern.parent}: holds no {pattern.name}; name the folder that does")
    return found[0]
