"""Word ordering from start to end, on bundled text, in minutes: likelihood training, then beam search optimization.

    python scripts/demo.py [--out demo-out] [--quick] [--fresh] [--threads N] [--seed N] [--cpu]

A shuffled sentence goes in and the sentence should come out. The stages, each a command that you could type yourself
(the first line of each file in `logs/`):

    prepare       shuffle the bundled sentences, count a vocabulary
    preprocess    fairseq-preprocess
    nll           fairseq-train with cross entropy
    bso           fairseq-train with beam search optimization, from the best checkpoint of `nll`
    bso-con       the same with --successors word_order: the search knows that an output has the words of its source
    decode-...    fairseq-generate for several beams, with `nll` and `bso` as they are, with `nll` and `bso-con` under
                  that constraint

Then it prints a table of BLEU and writes `results.txt`, `results.json` and `demo.png`. A second run does only what is
not done yet; `--fresh` begins again.
"""

import argparse
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from demo_report import write_report
from prepare_word_ordering import SOURCE, TARGET
from score import read_lines, read_seconds, score_file
from stages import ROOT, Runner, Stage, add_machine_options, ends_with_one_message, program, threads_environment
from training_log import training_progress

PLUGIN = ROOT / "fairseq_bso"
DATA = ROOT / "user_dir_examples" / "word_ordering" / "data"
TEXTS = {"ewt": DATA, "tatoeba": DATA / "tatoeba"}
# Of the validation loss. That of BSO is comparable over time: validation searches with the final beam throughout.
BEST = "checkpoint_best.pt"


@dataclass(frozen=True)
class Budget:
    """Everything that decides how long the demo takes and how good it gets."""

    text: str  # which of TEXTS
    max_train: int  # sentences
    train_copies: int  # shuffles of each
    max_heldout: int  # valid, and test
    max_len: int  # words of a sentence
    min_count: int  # rarer words are unknown
    width: int  # of embeddings and hidden states
    init_range: float  # parameters start in it: about 3.4 over the root of the width, or they learn slowly
    dropout: float
    batch: int  # sentences of one update
    nll_updates: int
    nll_lr: float
    bso_updates: int
    bso_con_updates: int
    bso_lr: float
    nll_weight: float  # in BSO without the constraint; with it, cross entropy only costs BLEU
    initial_beam: int
    train_beam: int
    updates_per_beam: int
    test_beams: tuple
    log_interval: int  # updates


FULL = Budget(
    text="tatoeba",
    max_train=60000,
    train_copies=1,
    max_heldout=1000,
    max_len=15,
    min_count=3,
    width=256,
    init_range=0.21,
    dropout=0.2,
    batch=64,
    nll_updates=1600,  # 920 updates show each sentence once
    nll_lr=4e-3,
    bso_updates=1100,
    bso_con_updates=600,
    bso_lr=1e-3,
    nll_weight=0.25,
    initial_beam=4,
    train_beam=10,
    updates_per_beam=50,
    test_beams=(1, 5, 10),
    log_interval=10,
)

QUICK = Budget(
    text="ewt",
    max_train=1000,
    train_copies=2,
    max_heldout=50,
    max_len=10,
    min_count=2,
    width=64,
    init_range=0.42,
    dropout=0.1,
    batch=16,
    nll_updates=300,
    nll_lr=3e-3,
    bso_updates=50,
    bso_con_updates=50,
    bso_lr=1e-3,
    nll_weight=0.0,
    initial_beam=2,
    train_beam=3,
    updates_per_beam=25,
    test_beams=(1, 5),
    log_interval=5,
)


def model_options(budget, scorer):
    width = str(budget.width)
    options = ["--arch", "bso_lstm", "--scorer", scorer, "--dropout", str(budget.dropout)]
    options += ["--init-range", str(budget.init_range)]
    for side in ("encoder", "decoder"):
        options += [f"--{side}-embed-dim", width, f"--{side}-hidden-size", width, f"--{side}-layers", "1"]
    return [*options, "--encoder-bidirectional", "--share-all-embeddings"]


def nll_options(budget):
    return [*model_options(budget, "softmax"), "--criterion", "cross_entropy", "--lr", str(budget.nll_lr)]


def bso_options(budget, start, nll_weight):
    return [
        *model_options(budget, "unnormalized"),
        *["--criterion", "beam_search_optimization", "--lr", str(budget.bso_lr)],
        *["--finetune-from-model", str(start), "--delta", "zero_one", "--margin", "1.0", "--search-dtype", "float32"],
        *["--initial-beam", str(budget.initial_beam), "--train-beam", str(budget.train_beam)],
        *["--updates-per-beam", str(budget.updates_per_beam), "--nll-weight", str(nll_weight)],
    ]


# What the table compares: the stage that trains it, and whether it is decoded under the constraint.
SYSTEMS = {"nll": ("nll", False), "bso": ("bso", False), "nll-con": ("nll", True), "bso-con": ("bso-con", True)}


def task_options(constrained):
    if constrained:
        return ["--task", "bso_translation", "--successors", "word_order"]
    return ["--task", "translation"]


class Demo:
    """The stages of the demo, in order, for one budget and one folder."""

    def __init__(self, budget, out, seed, cpu):
        self.budget, self.out, self.seed = budget, out, seed
        self.common = ["--user-dir", str(PLUGIN), "--seed", str(seed), "--distributed-world-size", "1"]
        self.common += ["--num-workers", "0", *(["--cpu"] if cpu else [])]
        self.prepare = self.prepare_stage()
        self.preprocess = self.preprocess_stage()
        best = out / "nll" / BEST
        self.nll = self.train_stage(
            "nll", "Train with cross entropy", nll_options(budget), budget.nll_updates, self.preprocess
        )
        self.bso = self.train_stage(
            "bso",
            "Train with beam search optimization",
            bso_options(budget, best, budget.nll_weight),
            budget.bso_updates,
            self.nll,
        )
        title = "Train with constrained beam search optimization"
        options = [*bso_options(budget, best, 0.0), *task_options(constrained=True)]
        self.bso_con = self.train_stage("bso-con", title, options, budget.bso_con_updates, self.nll)
        self.trained = {stage.name: stage for stage in (self.nll, self.bso, self.bso_con)}
        self.decodings = {
            (system, beam): self.decode_stage(system, beam) for system in SYSTEMS for beam in budget.test_beams
        }
        self.stages = [self.prepare, self.preprocess, *self.trained.values(), *self.decodings.values()]

    def prepare_stage(self):
        script = ROOT / "scripts" / "prepare_word_ordering.py"
        folder = TEXTS[self.budget.text]
        files = {"train": folder / "train.txt.xz", "valid": folder / "dev.txt.xz", "test": folder / "test.txt.xz"}
        command = [sys.executable, str(script), "--out", str(self.out / "text"), "--lowercase", "--min-len", "2"]
        for name, path in files.items():
            command += [f"--{name}", str(path)]
        for name in ("max_len", "min_count", "max_train", "max_heldout", "train_copies"):
            command += ["--" + name.replace("_", "-"), str(getattr(self.budget, name))]
        command += ["--seed", str(self.seed)]
        return Stage("prepare", "Shuffle the sentences", command, [script, *files.values()], [self.out / "text"])

    def preprocess_stage(self):
        text, data_bin = self.out / "text", self.out / "data-bin"
        command = [program("fairseq-preprocess"), "--source-lang", SOURCE, "--target-lang", TARGET]
        command += ["--joined-dictionary", "--srcdict", str(text / "dict.txt"), "--destdir", str(data_bin)]
        for option, name in (("--trainpref", "train"), ("--validpref", "valid"), ("--testpref", "test")):
            command += [option, str(text / name)]
        return Stage("preprocess", "Binarise them", command, [], [data_bin], after=[self.prepare])

    def train_stage(self, name, title, options, updates, before):
        folder = self.out / name
        command = [program("fairseq-train"), str(self.out / "data-bin"), *self.common, *options]
        command += ["--optimizer", "adam", "--clip-norm", "5.0", "--batch-size", str(self.budget.batch)]
        command += ["--lr-scheduler", "polynomial_decay", "--total-num-update", str(updates)]
        command += [
            "--validate-interval-updates",
            str(max(1, updates // 5)),
            "--max-update",
            str(updates),
            "--save-dir",
            str(folder),
            "--no-epoch-checkpoints",
        ]
        command += ["--log-format", "json", "--log-interval", str(self.budget.log_interval)]
        log = self.out / "logs" / f"{name}.log"
        stage = Stage(name, title, command, [PLUGIN], [folder], "update", after=[before], resumes=True)
        stage.measure = lambda: training_progress(log, updates)
        return stage

    def decode_stage(self, system, beam):
        name, (trained, constrained) = f"decode-{system}-beam{beam}", SYSTEMS[system]
        generated = self.out / name / "generate-test.txt"
        command = [program("fairseq-generate"), str(self.out / "data-bin"), *self.common, *task_options(constrained)]
        command += ["--path", str(self.out / trained / BEST), "--gen-subset", "test", "--beam", str(beam)]
        # No more words than the source has. The constraint sees to that; without it, fairseq counts the source's end
        # mark too, hence -1, and takes the longest source of a batch, hence small batches of about equal lengths.
        limit = (
            ["--batch-size", "64"] if constrained else ["--max-len-a", "1", "--max-len-b", "-1", "--batch-size", "16"]
        )
        command += [*limit, "--results-path", str(generated.parent), "--no-progress-bar"]
        if trained != "nll":
            command.append("--unnormalized")
        title = f"Decode with {system.upper()}, beam {beam}"
        after = [self.trained[trained]]
        stage = Stage(name, title, command, [PLUGIN], [generated.parent], "sentence", after=after)
        stage.measure = lambda: (count_hypotheses(generated), self.count_test(), "")
        return stage

    def count_test(self):
        return (self.out / "text" / f"test.{TARGET}").read_bytes().count(b"\n")

    def score(self, system, beam):
        stage, text = self.decodings[system, beam], self.out / "text"
        generated = stage.outputs[0] / "generate-test.txt"
        references, sources = text / f"test.{TARGET}", text / f"test.{SOURCE}"
        result = score_file(generated, references, sources, text / "dict.txt", tokenize="none")
        # With --results-path only the hypotheses go there; the time is in what the command printed.
        return {**result, "seconds": read_seconds(read_lines(self.out / "logs" / f"{stage.name}.log"))}


def count_hypotheses(path):
    """Sentences that fairseq-generate has finished so far."""
    return path.read_bytes().count(b"\nH-") if path.exists() else 0


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, default=Path("demo-out"), metavar="DIR", help="folder to write (demo-out)")
    parser.add_argument(
        "--quick", action="store_true", help="a few hundred sentences: shows that all works, not how well"
    )
    parser.add_argument("--fresh", action="store_true", help="do every stage again")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the shuffle and of the training (1)")
    add_machine_options(parser)
    arguments = parser.parse_args(argv)
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    budget = QUICK if arguments.quick else FULL
    # Ended from outside, as by Ctrl-C: the running command is ended too, and the stamps are right.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ends_with_one_message():
        demo = Demo(budget, arguments.out.resolve(), arguments.seed, arguments.cpu)
        runner = Runner(demo.out, threads_environment(arguments.threads), arguments.fresh, len(demo.stages))
        seconds = {stage.name: runner.run(stage) for stage in demo.stages}
    scores = {pair: demo.score(*pair) for pair in demo.decodings}
    training = {system: seconds[trained] for system, (trained, _) in SYSTEMS.items()}
    write_report(demo.out, budget, arguments.seed, scores, training)


if __name__ == "__main__":
    main()
