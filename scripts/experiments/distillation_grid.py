"""Kim & Rush 2016 in one command: a teacher, its distilled sets, students of several sizes, a table and a picture.

    python scripts/experiments/distillation_grid.py m30k --reference m30k/text/test.en --lowercase \\
        --remove-bpe sentencepiece --out m30k/distillation

FOLDER holds `data-bin`, written by fairseq-preprocess (or user_dir_examples/translation/prepare.py) with a joined
dictionary. All students of one size have the same architecture, number of updates and learning rate. The learning rate
falls to zero, and the last checkpoint is used. The systems:

    teacher
    gold              a student on the references
    word              word-level distillation on the references
    seq               a student on the teacher's best hypotheses
    seq-inter         `seq`, then some updates on the hypotheses of the teacher's beam closest to the references
    word-seq          word-level distillation on the teacher's best hypotheses
    word-seq-inter    `word-seq`, then word-level distillation on the closest ones

A second run does only the stages that are not done yet, and an interrupted training resumes from its last checkpoint.
On several cores, run `--train-only --sizes 256` and `--train-only --sizes 128` at the same time; their common stages
run once. Measure last, with both sizes and no other program running.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from command_line import add_machine_options, check_paths, exit_after, make_parser, one_or_more
from installation import PLUGIN, ROOT, program
from stages import LAST, Stage, ends_with_one_message, run_all, training_stage

START = 3.4  # START / sqrt(size) is a student's initial range, 0.21 for 256; a range of 0.1 learns slowly
GOLD = ["--task", "bso_translation"]
WORD = ["--criterion", "word_distillation"]
SEQ = ["--task", "sequence_distillation"]
NLL = ["--criterion", "cross_entropy"]

TITLES = {
    "gold": "student on gold",
    "word": "Word-KD",
    "seq": "Seq-KD",
    "seq-inter": "Seq-KD + Seq-Inter",
    "word-seq": "Word-KD + Seq-KD",
    "word-seq-inter": "Word + Seq + Inter",
}


class Recipe(NamedTuple):
    """The size of a model and how it is trained."""

    units: int
    layers: int
    updates: int
    learning_rate: float
    dropout: float
    max_tokens: int


class Grid:
    """The stages for one teacher and several sizes of student, in order."""

    def __init__(self, arguments):
        self.arguments, self.out = arguments, arguments.out
        self.data = str(arguments.folder / "data-bin")
        self.teacher = self.train_teacher()
        self.teacher_options = ["--teacher-path", str(self.out / "teacher" / LAST)]
        self.teacher_options += ["--teacher-dtype", "bfloat16" if arguments.bf16 else "auto"]
        self.word = [*WORD]
        if arguments.teacher_top_k:
            self.word += ["--teacher-top-k", str(arguments.teacher_top_k)]
            self.word += ["--teacher-memory-folder", str(self.out / "teacher" / "likeliest")]
        self.caches = {mode: self.distill(mode) for mode in ("seq_kd", "seq_inter")}
        self.students = {}  # (size, system): stage
        for size in arguments.sizes:
            self.plan_students(size)
        self.stages = [self.teacher, *self.caches.values(), *self.students.values()]

    def train(self, name, title, recipe, options, after):
        """One training: one point of the grid."""
        given, folder = self.arguments, self.out / name
        command = [program("fairseq-train"), self.data, "--user-dir", str(PLUGIN), "--arch", "bso_lstm"]
        for side in ("encoder", "decoder"):
            command += [f"--{side}-embed-dim", str(recipe.units), f"--{side}-hidden-size", str(recipe.units)]
            command += [f"--{side}-layers", str(recipe.layers)]
        command += ["--encoder-bidirectional", "--share-all-embeddings", "--dropout", str(recipe.dropout), *options]
        command += ["--optimizer", "adam", "--lr", str(recipe.learning_rate), "--lr-scheduler", "polynomial_decay"]
        updates = str(recipe.updates)
        command += ["--total-num-update", updates, "--max-update", updates, "--clip-norm", "5"]
        command += ["--max-tokens", str(recipe.max_tokens), "--seed", str(given.seed), "--num-workers", "0"]
        command += ["--disable-validation", "--no-epoch-checkpoints", "--save-interval-updates", "200"]
        command += ["--keep-interval-updates", "1", "--save-dir", str(folder)]
        command += ["--log-format", "json", "--log-interval", "10", *(["--cpu"] if given.cpu else [])]
        command += ["--bf16"] if given.bf16 else []
        return training_stage(name, title, command, [], folder, recipe.updates, self.out, after)

    def train_teacher(self):
        given = self.arguments
        smoothed = [*GOLD, "--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1"]
        recipe = Recipe(
            units=given.teacher_size,
            layers=given.teacher_layers,
            updates=given.teacher_updates,
            learning_rate=given.teacher_lr,
            dropout=0.3,
            max_tokens=given.teacher_max_tokens,
        )
        return self.train("teacher", "Train the teacher", recipe, smoothed, [])

    def targets(self, mode):
        """Options of the cache of one mode."""
        options = ["--distill-mode", mode, "--distill-cache", str(self.out / mode)]
        if self.arguments.remove_bpe and mode == "seq_inter":
            options += ["--distill-remove-bpe", self.arguments.remove_bpe]
        return options

    def distill(self, mode):
        given = self.arguments
        command = [program("fairseq-bso"), "distill", self.data, *self.teacher_options]
        command += [*self.targets(mode), "--workers", str(given.workers), *(["--cpu"] if given.cpu else [])]
        title = "Let the teacher decode the training set" + (", closest to the references" * (mode == "seq_inter"))
        return Stage(mode, title, command, [], [self.out / mode], after=[self.teacher], resumes=True)

    def plan_students(self, size):
        """Plans the six systems of one size."""
        seq = [*SEQ, *self.targets("seq_kd"), *self.teacher_options]
        inter = [*SEQ, *self.targets("seq_inter"), *self.teacher_options]
        teacher, caches = [self.teacher], self.caches
        self.student(size, "gold", [*GOLD, *NLL], [])
        self.student(size, "word", ["--task", "word_distillation", *self.word, *self.teacher_options], teacher)
        self.student(size, "seq", [*seq, *NLL], [caches["seq_kd"]])
        self.student(size, "seq-inter", [*inter, *NLL], [caches["seq_inter"]], start="seq")
        self.student(size, "word-seq", [*seq, *self.word], [caches["seq_kd"]])
        self.student(size, "word-seq-inter", [*inter, *self.word], [caches["seq_inter"]], start="word-seq")

    def student(self, size, system, options, after, start=None):
        """One student. `start` is the system whose student of this size it is initialised from."""
        given = self.arguments
        recipe = Recipe(
            units=size,
            layers=1,
            updates=given.student_updates,
            learning_rate=given.student_lr,
            dropout=given.student_dropout,
            max_tokens=given.student_max_tokens,
        )
        if start:
            before = self.students[size, start]
            recipe = recipe._replace(updates=given.inter_updates, learning_rate=given.inter_lr)
            options = [*options, "--finetune-from-model", str(before.outputs[0] / LAST)]
            after = [*after, before]
        options = [*options, "--init-range", f"{START / size**0.5:.2g}"]
        title = f"Train {TITLES[system]}, size {size}"
        self.students[size, system] = self.train(f"{system}-{size}", title, recipe, options, after)

    def report(self):
        """The command that measures all systems."""
        given = self.arguments
        systems = {"teacher": self.teacher}
        systems.update({f"{TITLES[system]}, {size}": stage for (size, system), stage in self.students.items()})
        command = [sys.executable, str(ROOT / "scripts" / "experiments" / "distillation_report.py"), self.data]
        command += ["--reference", str(given.reference), "--subset", given.subset, "--out", str(self.out / "report")]
        command += [*(["--remove-bpe", given.remove_bpe] if given.remove_bpe else [])]
        command += [*(["--lowercase"] if given.lowercase else [])]
        for name, stage in systems.items():
            command += ["--system", f"{name}={stage.outputs[0] / LAST}"]
        return command


def parse_arguments(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder with data-bin")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--reference", type=Path, required=True, metavar="FILE", help="plain text of the subset")
    parser.add_argument("--subset", default="test", help="which subset is decoded (test)")
    parser.add_argument("--remove-bpe", metavar="KIND", help="how symbols are joined to words, as fairseq has it")
    parser.add_argument("--lowercase", action="store_true", help="sacrebleu's -lc")
    add_training_options(parser)
    add_machine_options(parser)
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16, where the CPU or GPU has it")
    parser.add_argument("--train-only", action="store_true", help="stop before the table")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.student_dropout < 1:
        parser.error("--student-dropout must be at least 0 and below 1")
    if arguments.teacher_top_k < 0:
        parser.error("--teacher-top-k must be 0 or more")
    check_paths(parser, arguments.folder / "data-bin", arguments.reference)
    arguments.out = arguments.out.resolve()
    return arguments


def add_training_options(parser):
    """The sizes of teacher and students, and how long and how they learn."""
    for name, value, text in (
        ("teacher-size", 512, "units of the teacher"),
        ("teacher-layers", 2, "layers of the teacher, on each side"),
        ("teacher-updates", 2800, "updates of the teacher"),
        ("teacher-max-tokens", 2000, "of a batch of the teacher's training"),
        ("student-updates", 4000, "updates of a student"),
        ("inter-updates", 600, "updates of Seq-Inter, from a student"),
        ("student-max-tokens", 1000, "of a batch of a student's training"),
        ("seed", 1, "of every training"),
        ("workers", 1, "processes that decode the training set"),
    ):
        parser.add_argument(f"--{name}", type=one_or_more, default=value, metavar="N", help=f"{text} ({value})")
    for name, value in (("teacher-lr", 1e-3), ("student-lr", 4e-3), ("inter-lr", 5e-4)):
        parser.add_argument(f"--{name}", type=float, default=value, metavar="RATE", help=f"learning rate ({value})")
    top_k = "learn from the teacher's K likeliest words, computed once (0: all words, computed in every epoch)"
    parser.add_argument("--teacher-top-k", type=int, default=0, metavar="K", help=top_k)
    parser.add_argument("--student-dropout", type=float, default=0.1, metavar="SHARE", help="of students (0.1)")
    parser.add_argument("--sizes", type=int, nargs="*", default=[256, 128], metavar="N", help="of students (256 128)")


def main(argv=None):
    arguments = parse_arguments(argv)
    with ends_with_one_message():
        grid = Grid(arguments)
        run_all(grid.stages, arguments.out, arguments.threads)
    if not arguments.train_only:
        raise SystemExit(subprocess.run(grid.report()).returncode)


if __name__ == "__main__":
    exit_after(main)
