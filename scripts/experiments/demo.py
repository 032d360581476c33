"""Word ordering from start to end, on bundled text, in minutes: the gain of BSO over equally long cross entropy.

    python scripts/experiments/demo.py [--out demo-out] [--quick] [--fresh] [--threads N] [--seed N] [--cpu]

A shuffled sentence goes in, and the original sentence should come out. Each stage is a command that you could type
yourself (the first line of each file in `logs/`):

    prepare       shuffle the bundled sentences, count a vocabulary
    preprocess    fairseq-preprocess
    nll           fairseq-train with cross entropy
    more          cross entropy continued, from the end of `nll`, for about as long as each of the next three takes
    bso           beam search optimization, from the end of `nll`; the score is the sum of log-probabilities
    bso-con       the same with --successors word_order: the search knows that an output has the words of its source
    last-con      the same with the paper's score, that of the last word alone
    decode-...    fairseq-generate for several beams, with and without that constraint

Then it prints a table of BLEU and writes `results.txt`, `results.json` and `demo.png`. A second run does only the
stages that are not done yet; `--fresh` begins again.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from command_line import add_machine_options, exit_after, make_parser
from demo_report import SYSTEMS, TITLES, write_report
from installation import PLUGIN, ROOT, program, tool
from prepare_word_ordering import SOURCE, TARGET
from stages import LAST, Stage, ends_with_one_message, run_all, training_stage

score = tool("score")
DATA = ROOT / "user_dir_examples" / "word_ordering" / "data"
TEXTS = {"ewt": DATA, "tatoeba": DATA / "tatoeba"}
CONSTRAINT = ["--task", "bso_translation", "--successors", "word_order"]


@dataclass(frozen=True)
class Budget:
    """All settings that decide the demo's time and quality."""

    text: str  # which of TEXTS
    max_train: int  # sentences
    train_copies: int  # shuffles of each training sentence
    max_heldout: int  # sentences of valid, and of test
    max_len: int  # words of a sentence
    min_count: int  # rarer words are unknown
    width: int  # of embeddings and hidden states
    init_range: float  # initial range of parameters: about 3.4 / sqrt(width); a smaller one learns slowly
    dropout: float
    batch: int  # sentences of one update
    nll_updates: int
    nll_lr: float
    more_updates: int  # chosen to take as long as the BSO trainings
    more_lr: float
    bso_updates: int
    bso_con_updates: int
    bso_lr: float
    last_updates: int
    last_lr: float
    train_beam: int
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
    nll_updates=900,  # 920 updates show each sentence once
    nll_lr=4e-3,
    more_updates=400,
    more_lr=1e-3,
    bso_updates=300,
    bso_con_updates=300,
    bso_lr=1e-3,
    last_updates=300,
    last_lr=1e-3,
    train_beam=2,
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
    nll_updates=200,
    nll_lr=3e-3,
    more_updates=20,
    more_lr=1e-3,
    bso_updates=20,
    bso_con_updates=20,
    bso_lr=1e-3,
    last_updates=20,
    last_lr=1e-3,
    train_beam=2,
    test_beams=(1, 5),
    log_interval=5,
)


def model_options(budget):
    width = str(budget.width)
    options = ["--arch", "bso_lstm", "--dropout", str(budget.dropout), "--init-range", str(budget.init_range)]
    for side in ("encoder", "decoder"):
        options += [f"--{side}-embed-dim", width, f"--{side}-hidden-size", width, f"--{side}-layers", "1"]
    return [*options, "--encoder-bidirectional", "--share-all-embeddings"]


def nll_options(lr):
    return ["--criterion", "cross_entropy", "--lr", str(lr)]


def bso_options(budget, lr):
    return [
        *["--criterion", "beam_search_optimization", "--lr", str(lr), "--train-beam", str(budget.train_beam)],
        *["--loss", "margin", "--delta", "zero_one", "--margin", "1.0"],
    ]


def trainings(budget):
    """(name, title, options, updates) of each training; the first is the start of all others."""
    bso, last = bso_options(budget, budget.bso_lr), [*bso_options(budget, budget.last_lr), "--scorer", "unnormalized"]
    return [
        ("nll", "Train with cross entropy", nll_options(budget.nll_lr), budget.nll_updates),
        ("more", "Continue with cross entropy", nll_options(budget.more_lr), budget.more_updates),
        ("bso", "Train with beam search optimization", bso, budget.bso_updates),
        ("bso-con", "The same with the constraint", [*bso, *CONSTRAINT], budget.bso_con_updates),
        ("last-con", "The same with the score of the last word", [*last, *CONSTRAINT], budget.last_updates),
    ]


class Demo:
    """The stages of the demo, in order, for one budget and one folder."""

    def __init__(self, budget, out, seed, cpu):
        self.budget, self.out, self.seed = budget, out, seed
        self.common = ["--user-dir", str(PLUGIN), "--seed", str(seed), "--distributed-world-size", "1"]
        self.common += ["--num-workers", "0", *(["--cpu"] if cpu else [])]
        self.prepare = self.prepare_stage()
        self.preprocess = self.preprocess_stage()
        self.trained = {}
        for name, title, options, updates in trainings(budget):
            self.trained[name] = self.train_stage(name, title, options, updates)
        self.decodings = {system: self.decode_stage(system) for system in SYSTEMS}
        self.stages = [self.prepare, self.preprocess, *self.trained.values(), *self.decodings.values()]

    def prepare_stage(self):
        script = ROOT / "scripts" / "experiments" / "prepare_word_ordering.py"
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

    def train_stage(self, name, title, options, updates):
        folder, start = self.out / name, self.trained.get("nll")
        command = [program("fairseq-train"), str(self.out / "data-bin"), *self.common, *model_options(self.budget)]
        command += [*options, "--optimizer", "adam", "--clip-norm", "5.0", "--batch-size", str(self.budget.batch)]
        command += ["--finetune-from-model", str(self.out / "nll" / LAST)] if start else []
        command += ["--lr-scheduler", "polynomial_decay", "--total-num-update", str(updates)]
        # The learning rate falls to zero and the last checkpoint counts, so validation would only take time.
        command += ["--max-update", str(updates), "--disable-validation", "--no-epoch-checkpoints"]
        command += ["--save-dir", str(folder), "--log-format", "json", "--log-interval", str(self.budget.log_interval)]
        before = start or self.preprocess
        return training_stage(name, title, command, [PLUGIN], folder, updates, self.out, [before])

    def decode_stage(self, system):
        """Decodes with all beams."""
        name, (trained, constrained) = f"decode-{system}", SYSTEMS[system]
        script, beams = ROOT / "scripts" / "experiments" / "generate_beams.py", self.budget.test_beams
        command = [sys.executable, str(script), "--beams", *map(str, beams), "--results-path", str(self.out / name)]
        command += ["--", str(self.out / "data-bin"), *self.common, "--path", str(self.out / trained / LAST)]
        command += ["--gen-subset", "test", "--no-progress-bar", *(CONSTRAINT if constrained else [])]
        # An output has no more words than its source. The constraint ensures that. Without it, fairseq counts the
        # source's end mark too, hence -1. It takes the longest source of a batch, hence small batches of about equal
        # lengths.
        limit = ["--max-len-a", "1", "--max-len-b", "-1", "--batch-size", "16"]
        command += ["--batch-size", "64"] if constrained else limit
        title, after = f"Decode with {TITLES[system]}", [self.trained[trained]]
        stage = Stage(name, title, command, [PLUGIN, script], [self.out / name], "sentence", after=after)
        stage.measure = lambda: (self.count_decoded(system), self.count_test() * len(beams), "")
        return stage

    def count_decoded(self, system):
        return sum(count_hypotheses(self.generated(system, beam)) for beam in self.budget.test_beams)

    def generated(self, system, beam):
        return self.out / f"decode-{system}" / f"beam{beam}" / "generate-test.txt"

    def count_test(self):
        return (self.out / "text" / f"test.{TARGET}").read_bytes().count(b"\n")

    def score(self, system, beam):
        text = self.out / "text"
        references, sources = text / f"test.{TARGET}", text / f"test.{SOURCE}"
        return score.score_file(self.generated(system, beam), references, sources, text / "dict.txt", tokenize="none")


def count_hypotheses(path):
    """The number of sentences that fairseq-generate has finished so far."""
    return path.read_bytes().count(b"\nH-") if path.exists() else 0


def parse_arguments(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-out"), metavar="DIR", help="folder to write (demo-out)")
    parser.add_argument(
        "--quick", action="store_true", help="a few hundred sentences: shows that all works, not how well"
    )
    parser.add_argument("--fresh", action="store_true", help="do every stage again")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the shuffle and of the training (1)")
    add_machine_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse_arguments(argv)
    budget = QUICK if arguments.quick else FULL
    with ends_with_one_message():
        demo = Demo(budget, arguments.out.resolve(), arguments.seed, arguments.cpu)
        seconds = run_all(demo.stages, demo.out, arguments.threads, arguments.fresh)
    scores = {(system, beam): demo.score(system, beam) for system in SYSTEMS for beam in budget.test_beams}
    write_report(demo.out, budget, arguments.seed, scores, {name: seconds[name] for name in demo.trained})


if __name__ == "__main__":
    exit_after(main)
