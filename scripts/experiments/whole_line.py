"""All parts of the project in one line: teacher, distilled students, BSO, pruning, export and hidden states.

    python scripts/experiments/whole_line.py [--out whole-line] [--quick] [--seed N] [--threads N] [--cpu]

The task is word ordering of short sentences, on bundled text. Training and decoding are under the constraint that an
output has the words of its source. Each stage is one command, the first line of its file in `logs/`:

    prepare...           shuffle and binarise the text
    teacher              fairseq's Transformer, cross entropy
    distill              fairseq-bso distill: the teacher decodes the training set
    lstm, transformer    two small students: word-level distillation on the teacher's outputs
    lstm-bso, ...        each student: constrained BSO on the references, and gradual pruning in the same run
    export-...           fairseq-bso export, of the LSTM
    states               fairseq-bso states, of the LSTM: `fairseq-bso view OUT/states` shows them
    decode-...           fairseq-generate, or fairseq-bso translate for the exported files

Then it prints a table of size, BLEU and speed after each stage, and writes `results.md` and `results.json`. A second
run does only the stages that are not done yet, and an interrupted training resumes from its last checkpoint.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from command_line import add_machine_options, exit_after, make_parser
from comparison_plan import Comparison
from comparison_recipes import COST_MARGIN, CROSS_ENTROPY, QUICK_TRANSFORMER, TATOEBA
from installation import PLUGIN, ROOT, program
from prepare_word_ordering import SOURCE
from stages import LAST, Stage, ends_with_one_message, run_all, training_stage
from stock_models import transformer
from whole_line_report import Decoding, Row, write_report

NUMBERS = ("float32", "int8")  # of the exported files
GOLD = ["--task", "bso_translation"]
CONSTRAINT = ["--successors", "word_order"]


@dataclass(frozen=True)
class Learner:
    """A model, and the options of its trainings."""

    title: str
    model: str  # with dropout and the size of a batch
    first: str  # the teacher's cross entropy, or a student's distillation
    bso: str = ""  # of a student


@dataclass(frozen=True)
class Budget:
    """All settings that decide time and quality."""

    teacher: Learner
    students: dict[str, Learner]
    teacher_updates: int
    distill_beam: int  # of the teacher's search
    student_updates: int
    bso_updates: int
    amount: float = 0.5  # share of the weights that is pruned
    beams: tuple[int, ...] = (1, 5)


def small_lstm(width):
    """Options of a `bso_lstm` of one bidirectional layer."""
    parts = [f"{side}-{part}" for side in ("encoder", "decoder") for part in ("embed-dim", "hidden-size")]
    sizes = " ".join(f"--{part} {width}" for part in parts)
    return f"--arch bso_lstm {sizes} --encoder-bidirectional --share-all-embeddings --init-range {3.4 / width**0.5:.2g}"


FULL = Budget(
    teacher=Learner(
        "teacher, Transformer of 2 + 2 layers of 256",
        f"{transformer(256, 512)} --dropout 0.1 --batch-size 64",
        "--lr 2e-3 --warmup-updates 100",
    ),
    students={
        "lstm": Learner(
            "LSTM of 1 layer of 128",
            f"{small_lstm(128)} --dropout 0.1 --batch-size 64",
            "--lr 4e-3",
            f"{COST_MARGIN} --lr 1e-3",
        ),
        "transformer": Learner(
            "Transformer of 2 + 2 layers of 128",
            f"{transformer(128, 256)} --dropout 0.1 --batch-size 64",
            "--lr 2e-3 --warmup-updates 100",
            f"{COST_MARGIN} --lr 1e-3",
        ),
    },
    teacher_updates=2500,
    distill_beam=5,
    student_updates=1600,
    bso_updates=600,
)

QUICK = Budget(
    teacher=Learner("teacher", QUICK_TRANSFORMER, "--lr 0.01"),
    students={
        "lstm": Learner("LSTM", f"{small_lstm(16)} --batch-size 16", "--lr 0.01", f"{COST_MARGIN} --lr 0.01"),
        "transformer": Learner("Transformer", QUICK_TRANSFORMER, "--lr 0.01", f"{COST_MARGIN} --lr 0.01"),
    },
    teacher_updates=20,
    distill_beam=2,
    student_updates=10,
    bso_updates=6,
    beams=(1, 3),
)


class WholeLine:
    """The stages in order, and the rows of the table."""

    def __init__(self, budget, out, seed, quick, cpu):
        self.budget, self.out, self.seed, self.machine = budget, out, seed, ["--cpu"] if cpu else []
        self.text, self.data = out / "data", str(out / "data" / "data-bin")
        self.stages = Comparison(TATOEBA.quick() if quick else TATOEBA, out, []).prepared
        self.decoded = {}  # (row, beam): Decoding
        teacher = budget.teacher
        title, options = f"Train the {teacher.title}", [*GOLD, *CROSS_ENTROPY.split()]
        self.teacher = self.train("teacher", title, options, teacher, teacher.first, budget.teacher_updates)
        self.decode(Row("teacher", teacher.title, "cross entropy", self.teacher.outputs[0] / LAST))
        self.teacher_options = ["--teacher-path", str(self.teacher.outputs[0] / LAST)]
        self.cache = ["--distill-mode", "seq_kd", "--distill-cache", str(out / "distilled")]
        self.cache += ["--distill-beam", str(budget.distill_beam)]
        self.distilled = self.distill()
        for name, learner in budget.students.items():
            self.student(name, learner)

    def add(self, stage):
        self.stages.append(stage)
        return stage

    def train(self, name, title, options, learner, more, updates, start=None):
        """One training of a model, from the checkpoint of the stage `start` if one is given."""
        folder, after = self.out / name, [start or self.stages[-1]]
        command = [program("fairseq-train"), self.data, "--user-dir", str(PLUGIN), *CONSTRAINT]
        command += [*options, *learner.model.split(), *more.split(), "--optimizer", "adam", "--clip-norm", "5"]
        command += ["--lr-scheduler", "polynomial_decay", "--total-num-update", str(updates)]
        command += ["--max-update", str(updates), "--disable-validation", "--no-epoch-checkpoints"]
        command += ["--save-interval-updates", str(-(-updates // 5)), "--keep-interval-updates", "1"]
        command += ["--finetune-from-model", str(start.outputs[0] / LAST)] if start else []
        command += ["--save-dir", str(folder), "--log-format", "json", "--log-interval", "10"]
        command += ["--seed", str(self.seed), "--num-workers", "0", *self.machine]
        return self.add(training_stage(name, title, command, [], folder, updates, self.out, after))

    def distill(self):
        """The teacher decodes the training set."""
        command = [program("fairseq-bso"), "distill", self.data, *self.teacher_options, *self.cache, *CONSTRAINT]
        command += self.machine
        title, outputs = "Let the teacher decode the training set", [self.out / "distilled"]
        return self.add(Stage("distill", title, command, [], outputs, after=[self.teacher], resumes=True))

    def student(self, name, learner):
        """One student, from its distillation to its last file."""
        likeliest = ["--teacher-top-k", "32", "--teacher-memory-folder", str(self.out / "likeliest")]
        distillation = ["--task", "sequence_distillation", *self.cache, *self.teacher_options]
        distillation += ["--criterion", "word_distillation", *likeliest]
        title, updates = f"Distil into the {learner.title}", self.budget.student_updates
        taught = self.train(name, title, distillation, learner, learner.first, updates)
        self.decode(Row(name, learner.title, "distillation", taught.outputs[0] / LAST))
        updates = self.budget.bso_updates
        options = [*GOLD, "--prune-amount", str(self.budget.amount), "--prune-schedule", "gradual"]
        options += ["--prune-end", str(updates // 2), "--prune-every", str(max(1, updates // 20))]
        title = f"Train the {learner.title} with BSO, and prune it"
        tuned = self.train(f"{name}-bso", title, options, learner, learner.bso, updates, taught)
        done = f"BSO, {self.budget.amount:.0%} pruned"
        self.decode(Row(f"{name}-bso", learner.title, done, tuned.outputs[0] / LAST))
        if "bso_lstm" in learner.model:
            for numbers in NUMBERS:
                self.export(name, learner, numbers, tuned)
            self.capture(tuned)

    def export(self, name, learner, numbers, tuned):
        """The LSTM as a file that runs without torch."""
        path = self.out / f"{name}.{numbers}.bso"
        command = [program("fairseq-bso"), "export", str(tuned.outputs[0] / LAST), str(path), "--dtype", numbers]
        title = f"Export the {learner.title} in {numbers}"
        self.add(Stage(f"export-{numbers}", title, [*command, "--data", self.data], [], [path], after=[tuned]))
        self.decode(Row(f"{name}-{numbers}", learner.title, f"exported, {numbers}", tuned.outputs[0] / LAST, path))

    def capture(self, tuned):
        """The hidden states of the LSTM over the test set."""
        folder = self.out / "states"
        command = [program("fairseq-bso"), "states", str(tuned.outputs[0] / LAST), self.data, "--out", str(folder)]
        title = "Capture the hidden states of the LSTM"
        self.add(Stage("states", title, [*command, *self.machine], [], [folder], after=[tuned]))

    def decode(self, row):
        """Decodes the test set with each beam. The files of the results have the seconds of the search."""
        if row.exported:
            return self.translate(row)
        name, script = f"decode-{row.name}", ROOT / "scripts" / "experiments" / "generate_beams.py"
        folder, after = self.out / name, self.stages[-1:]
        command = [sys.executable, str(script), "--beams", *map(str, self.budget.beams), "--results-path", str(folder)]
        command += ["--", self.data, "--user-dir", str(PLUGIN), *GOLD, *CONSTRAINT, "--path", str(row.checkpoint)]
        command += ["--batch-size", "64", "--required-batch-size-multiple", "1", "--num-workers", "0"]
        command += ["--no-progress-bar", *self.machine]
        stage = self.add(Stage(name, f"Decode with the {row.model}, {row.after}", command, [], [folder], after=after))
        for beam in self.budget.beams:
            self.decoded[row, beam] = Decoding(stage, folder / f"beam{beam}" / "generate-test.txt")

    def translate(self, row):
        """The same with an exported file."""
        after = self.stages[-1:]
        for beam in self.budget.beams:
            name = f"decode-{row.name}-beam{beam}"
            path = self.out / f"{name}.txt"
            command = [program("fairseq-bso"), "translate", str(row.exported), "--batch-size", "64"]
            command += ["--beam", str(beam)]
            command += ["--input", str(self.text / f"test.{SOURCE}"), "--output", str(path)]
            title = f"Decode with the {row.model}, {row.after}, beam {beam}"
            self.decoded[row, beam] = Decoding(self.add(Stage(name, title, command, [], [path], after=after)), path)


def parse_arguments(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("whole-line"), metavar="DIR", help="folder (whole-line)")
    parser.add_argument("--quick", action="store_true", help="in seconds: shows that all works, not how well")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of every training (1)")
    add_machine_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse_arguments(argv)
    budget, out = QUICK if arguments.quick else FULL, arguments.out.resolve()
    with ends_with_one_message():
        line = WholeLine(budget, out, arguments.seed, arguments.quick, arguments.cpu)
        seconds = run_all(line.stages, out, arguments.threads)
    write_report(out, line.text, line.decoded, seconds)


if __name__ == "__main__":
    exit_after(main)
