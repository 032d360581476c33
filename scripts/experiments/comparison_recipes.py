"""The settings of compare_training.py, one recipe for each task.

All trainings of a recipe but the first begin from the first one's checkpoint. They take about the same time: the number
of updates of continued cross entropy is chosen for that. If a task has a constraint, a row says whether it was decoded
under it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from prepare_word_ordering import SOURCE, TARGET
from stock_models import lstm, transformer

ORDERING, PARSING, TRANSLATION = (
    f"{{root}}/user_dir_examples/{name}" for name in ("word_ordering", "dependency_parsing", "translation")
)
START, MORE = "nll", "nll-more"
CROSS_ENTROPY = "--criterion cross_entropy"
BSO = "--criterion beam_search_optimization"
LAST_SCORE = f"{BSO} --scorer unnormalized"
LOG_BEAM = f"{BSO} --loss log_beam"
COST_MARGIN = f"{BSO} --loss cost_margin --delta hamming --train-beam 2"
PIECES = "--text-remove-bpe sentencepiece"
RISK = f"{BSO} --loss risk --train-beam 5 --nll-weight 0.3 {PIECES}"
SCHEDULED = "--criterion scheduled_sampling"
QUICK_MODEL = "--arch bso_lstm_tiny --batch-size 16"

QUICK_TRANSFORMER = f"{transformer(16, 16)} --batch-size 16"


@dataclass(frozen=True)
class Training:
    """One training. It is one row of the table, or two if it is decoded with and without the constraint."""

    name: str  # names its folder, and selects it with --only
    title: str
    options: str  # options of fairseq-train, in addition to those of the recipe
    updates: int
    constrained: bool = False  # whether the constraint holds in training


@dataclass(frozen=True)
class Recipe:
    """All settings of one task's comparison.

    Its texts have placeholders for folders: {out} for the prepared data, {data} for the user's own data, and {root} for
    the project. The placeholder {subset} is a set that is decoded.
    """

    title: str
    metrics: tuple[str, ...]  # BLEU and chrF, or UAS and LAS
    prepare: tuple[tuple[str, str], ...]  # (title, command), in order
    model: str  # options of fairseq-train that all trainings share
    trainings: tuple[Training, ...]  # the start first, continued cross entropy second
    generate: str  # options of fairseq-generate
    reference: str  # file with the right outputs: text, or trees for UAS and LAS
    successors: str = ""  # the constraint, if the task has one
    free: str | None = ""  # more options of decoding without the constraint; None: such an output is useless
    subsets: tuple[str, ...] = ("test",)
    source: str = ""  # word ordering: file with the words that <unk> replaces
    remove: str = ""  # the joining of the reference's symbols into words
    tokenize: str = "13a"
    lowercase: bool = False
    beams: tuple[int, ...] = (1, 5, 10)
    needs: tuple[str, ...] = ()  # files that the user's own folder must hold; `*` stands for any ending
    own: str = ""  # options of the first command of `prepare` if the user gives a folder
    quick_prepare: str = ""  # options of the same command with --quick
    quick_model: str = QUICK_MODEL  # in place of `model` with --quick

    @property
    def named(self):
        """{name: training}."""
        return {training.name: training for training in self.trainings}

    def decodings(self, training):
        """Whether a training is decoded under the constraint: one or two answers.

        BSO is decoded as it was trained. Cross entropy is decoded in each way in which some BSO is decoded."""
        if training.name not in (START, MORE):
            return [training.constrained]
        compared = {other.constrained for other in self.trainings if other.name not in (START, MORE)}
        possible = ([True] if self.successors else []) + ([False] if self.free is not None else [])
        return [mode for mode in possible if mode in compared or not compared]

    def quick(self):
        """The same recipe, reduced to seconds, as a smoke test."""
        trainings = tuple(
            replace(
                training,
                options=f"{training.options} --lr 0.01 --warmup-updates 0",
                updates=30 if training.name == START else 6,
            )
            for training in self.trainings
        )
        (title, command), *rest = self.prepare
        prepare = ((title, f"{command} {self.quick_prepare}"), *rest)
        return replace(self, prepare=prepare, model=self.quick_model, trainings=trainings, beams=(1, 3))


def cross_entropy(updates, lr, more_updates, more_lr):
    """The first two trainings."""
    start = Training(START, "cross entropy", f"{CROSS_ENTROPY} --lr {lr}", updates)
    return start, Training(MORE, "cross entropy continued", f"{CROSS_ENTROPY} --lr {more_lr}", more_updates)


def warming_up(*trainings):
    """The trainings with a learning rate that rises in a fifteenth of their updates, as a Transformer needs it."""
    return tuple(replace(each, options=f"{each.options} --warmup-updates {each.updates // 15}") for each in trainings)


def mixed(lr, final):
    """Options of BSO: the learning rate, and mixed training beams from 2 to `final`."""
    return f"--lr {lr} --initial-beam 2 --train-beam {final} --mixed-beams"


def ordering_commands(files, options):
    """The commands that shuffle and binarise; `files` are those of training, validation and test."""
    names = ("train", "valid", "test")
    given = " ".join(f"--{name} {file}" for name, file in zip(names, files))
    parts = " ".join(f"--{name}pref {{out}}/{name}" for name in names)
    languages = f"--source-lang {SOURCE} --target-lang {TARGET} --joined-dictionary --srcdict {{out}}/dict.txt"
    return (
        (
            "Shuffle the sentences",
            f"{{root}}/scripts/experiments/prepare_word_ordering.py --out {{out}} {given} {options}",
        ),
        ("Binarise them", f"fairseq-preprocess {languages} {parts} --destdir {{out}}/data-bin"),
    )


def ordering(**more):
    """A recipe of word ordering."""
    return Recipe(
        metrics=("BLEU",),
        generate="--batch-size 64",
        # fairseq counts the source's end mark too, hence -1. It takes the longest source of a batch, hence 16.
        free="--batch-size 16 --max-len-a 1 --max-len-b -1",
        reference=f"{{out}}/{{subset}}.{TARGET}",
        source=f"{{out}}/{{subset}}.{SOURCE}",
        successors="word_order",
        tokenize="none",
        quick_prepare="--max-train 300 --max-heldout 16 --max-len 6 --max-train-len 6",
        **more,
    )


def bundled(folder):
    """The three packed texts of a folder of examples."""
    return [f"{folder}/{name}.txt.xz" for name in ("train", "dev", "test")]


TATOEBA = ordering(
    title="Word ordering, short sentences of Tatoeba",
    prepare=ordering_commands(
        bundled(f"{ORDERING}/data/tatoeba"),
        "--lowercase --min-len 2 --max-len 15 --min-count 3 --max-train 60000 --max-heldout 1000",
    ),
    model="--arch bso_lstm_iwslt --encoder-bidirectional --share-all-embeddings --init-range 0.21 --dropout 0.2 "
    "--batch-size 64",
    trainings=(
        *cross_entropy(1600, 4e-3, 900, 1e-3),
        Training("bso", "BSO", f"{BSO} {mixed(1e-3, 10)}", 450),
        Training("bso-con", "constrained BSO", f"{BSO} {mixed(1e-3, 10)}", 450, constrained=True),
        Training("cost", "BSO, cost_margin", f"{COST_MARGIN} --lr 1e-3", 900),
        Training("cost-con", "constrained BSO, cost_margin", f"{COST_MARGIN} --lr 1e-3", 900, constrained=True),
        Training("last-con", "constrained BSO, last score", f"{LAST_SCORE} {mixed(1e-3, 10)}", 450, constrained=True),
    ),
)

PTB = ordering(
    title="Word ordering, Penn Treebank text",
    prepare=ordering_commands(
        [f"{{data}}/ptb.{name}.txt*" for name in ("train", "valid", "test")], "--min-len 2 --max-train-len 30"
    ),
    model="--arch bso_lstm_word_ordering --share-all-embeddings --init-range 0.21 --dropout 0.3 --batch-size 64",
    trainings=(
        *cross_entropy(3000, 4e-3, 1500, 1e-3),
        Training("cost-con", "constrained BSO, cost_margin", f"{COST_MARGIN} --lr 5e-4", 1500, constrained=True),
    ),
    needs=("ptb.train.txt*", "ptb.valid.txt*", "ptb.test.txt*"),
)

EWT = Recipe(
    title="Dependency parsing, UD English EWT",
    metrics=("UAS", "LAS"),
    prepare=(
        (
            "Turn trees into sequences",
            f"{PARSING}/prepare.py --out {{out}} --lowercase --digits --min-count 2 "
            + " ".join(
                f"--{name} {PARSING}/data/en_ewt-ud-{part}.conllu.xz"
                for name, part in (("train", "train"), ("valid", "dev"), ("test", "test"))
            ),
        ),
    ),
    model="--arch bso_lstm_parsing --init-range 0.2 --dropout 0.3 --batch-size 64",
    trainings=(
        *cross_entropy(1500, 4e-3, 700, 1e-3),
        Training("bso-con", "constrained BSO", f"{BSO} {mixed(1e-3, 6)}", 500, constrained=True),
        Training("cost-con", "constrained BSO, cost_margin", f"{COST_MARGIN} --lr 1e-3", 500, constrained=True),
    ),
    generate="--batch-size 64 --max-len-a 2 --max-len-b 0",
    free=None,
    reference=f"{PARSING}/data/en_ewt-ud-{{subset}}.conllu.xz",
    successors="arc_standard",
    quick_prepare="--max-len 5",
)

MULTI30K = Recipe(
    title="Translation, Multi30k German-English",
    metrics=("BLEU", "chrF"),
    prepare=(("Split into pieces", f"{TRANSLATION}/prepare.py --out {{out}} --vocab 4000"),),
    own="--from {data}",
    model="--arch bso_lstm_iwslt --encoder-bidirectional --share-all-embeddings --init-range 0.21 --dropout 0.3 "
    "--max-tokens 2000",
    trainings=(
        *cross_entropy(2400, 4e-3, 600, 1e-3),
        Training("bso", "BSO", f"{BSO} --lr 1e-3 --nll-weight 0.25", 400),
        Training("log-beam", "BSO, log_beam", f"{LOG_BEAM} --lr 1e-3 --nll-weight 0.25", 400),
        Training("oracle", "BSO, oracle", f"{BSO} --lr 1e-3 --nll-weight 0.25 --target oracle {PIECES}", 250),
        Training("risk", "risk over 5 hypotheses", f"{RISK} --lr 3e-4", 250),
        Training("scheduled", "scheduled sampling", f"{SCHEDULED} --sampling-slope 5e-4 --lr 1e-3", 430),
        Training("word-dropout", "word dropout", f"{SCHEDULED} --sampling-slope 0 --word-dropout 0.1 --lr 1e-3", 580),
    ),
    generate="--batch-size 64 --max-len-a 1.5 --max-len-b 5 --remove-bpe sentencepiece",
    reference="{out}/text/{subset}.en",
    subsets=("test", "test1"),
    lowercase=True,
    beams=(1, 4, 5, 10, 50),
)

IWSLT = Recipe(
    title="Translation, IWSLT14 German-English, as prepare-iwslt14.sh leaves it",
    metrics=("BLEU", "chrF"),
    prepare=(
        (
            "Binarise the text",
            "fairseq-preprocess --source-lang de --target-lang en --joined-dictionary --trainpref {data}/train "
            "--validpref {data}/valid --testpref {data}/test --destdir {out}/data-bin",
        ),
    ),
    model="--arch bso_lstm_iwslt --encoder-bidirectional --share-all-embeddings --init-range 0.21 --dropout 0.2 "
    "--max-tokens 4000",
    trainings=(
        *cross_entropy(12000, 4e-3, 3000, 5e-4),
        Training("bso", "BSO", f"{BSO} {mixed(3e-4, 6)} --nll-weight 0.25", 2000),
    ),
    generate="--batch-size 64 --max-len-a 1.5 --max-len-b 5 --remove-bpe",
    reference="{data}/{subset}.en",
    remove="@@ ",
    tokenize="none",
    needs=tuple(f"{name}.{language}" for name in ("train", "valid", "test") for language in ("de", "en")),
)

TATOEBA_TRANSFORMER = replace(
    TATOEBA,
    title=f"{TATOEBA.title}, fairseq's Transformer",
    model=f"{transformer(256, 512)} --dropout 0.1 --warmup-updates 100 --batch-size 64",
    trainings=(
        *cross_entropy(4000, 2e-3, 1700, 5e-4),
        Training("bso", "BSO", f"{BSO} {mixed(1e-3, 10)}", 550),
        Training("bso-con", "constrained BSO", f"{BSO} {mixed(1e-3, 10)}", 550, constrained=True),
        Training("cost", "BSO, cost_margin", f"{COST_MARGIN} --lr 1e-3", 950),
        Training("cost-con", "constrained BSO, cost_margin", f"{COST_MARGIN} --lr 1e-3", 950, constrained=True),
    ),
    quick_model=QUICK_TRANSFORMER,
)

TATOEBA_LSTM = replace(
    TATOEBA,
    title=f"{TATOEBA.title}, fairseq's LSTM",
    model=f"{lstm(256)} --encoder-bidirectional --dropout 0.2 --batch-size 64",
    trainings=tuple(TATOEBA.named[name] for name in (START, MORE, "cost", "cost-con")),
    quick_model=f"{lstm(16)} --batch-size 16",
)

MULTI30K_TRANSFORMER = replace(
    MULTI30K,
    title=f"{MULTI30K.title}, fairseq's Transformer",
    model=f"{transformer(256, 512)} --dropout 0.3 --max-tokens 2000",
    trainings=warming_up(
        *cross_entropy(3000, 2e-3, 600, 5e-4),
        Training("bso", "BSO", f"{BSO} --lr 5e-4 --nll-weight 1", 300),
        Training("risk", "risk over 5 hypotheses", f"{RISK} --lr 2e-4", 200),
    ),
    quick_model=QUICK_TRANSFORMER,
)

RECIPES = {
    "tatoeba": TATOEBA,
    "tatoeba-transformer": TATOEBA_TRANSFORMER,
    "tatoeba-lstm": TATOEBA_LSTM,
    "ptb": PTB,
    "parsing": EWT,
    "multi30k": MULTI30K,
    "multi30k-transformer": MULTI30K_TRANSFORMER,
    "iwslt14": IWSLT,
}
