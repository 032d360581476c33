"""Word ordering: BLEU for every training beam against every test beam, under the constraint, as a table and a picture.

    python scripts/experiments/beam_grid.py ordering --start ordering/nll/checkpoint_best.pt --out ordering/grid \\
        --train-beams 2 6 11 --test-beams 1 5 10 \\
        -- --arch bso_lstm_word_ordering --optimizer adam --lr 1e-3 --batch-size 64 --max-update 1000

FOLDER is the output of prepare_word_ordering.py, with fairseq-preprocess's `data-bin` inside. The checkpoint `--start`
was trained with cross entropy. From it, one model is trained for each training beam with beam search optimization and
`--successors word_order`. The words after ` -- ` go to fairseq-train as they are; `--scorer unnormalized` there makes
the paper's grid. All models, and the start, are decoded under the constraint. A second run does only the stages that
are not done yet.
"""

import json
import os
from pathlib import Path

from command_line import add_machine_options, check_paths, exit_after, make_parser, number_after, parse_with_rest
from installation import PLUGIN, program, tool
from outputs import draw_with, write_whole
from prepare_word_ordering import SOURCE, TARGET
from progress import clock
from stages import BEST, Stage, ends_with_one_message, run_all, training_stage

score = tool("score")
CONSTRAINT = ["--user-dir", str(PLUGIN), "--task", "bso_translation", "--successors", "word_order"]
START = "cross entropy"


def train_stage(arguments, beam):
    """Trains with one final beam; the beam grows from 2."""
    folder = arguments.out / f"beam{beam}"
    command = [program("fairseq-train"), str(arguments.folder / "data-bin"), *CONSTRAINT]
    command += ["--criterion", "beam_search_optimization", "--train-beam", str(beam), "--initial-beam", "2"]
    command += ["--updates-per-beam", str(arguments.updates_per_beam), "--seed", str(arguments.seed)]
    command += ["--finetune-from-model", str(arguments.start), "--save-dir", str(folder), "--no-epoch-checkpoints"]
    command += ["--log-format", "json", "--log-interval", "10", "--num-workers", "0"]
    command += [*(["--cpu"] if arguments.cpu else []), *arguments.rest]
    updates = number_after(arguments.rest, "--max-update")
    inputs, title = [PLUGIN, arguments.start], f"Train with beam {beam}"
    return training_stage(f"beam{beam}", title, command, inputs, folder, updates, arguments.out)


def decode_stage(arguments, name, checkpoint, beam, after):
    """Decodes with one beam."""
    folder = arguments.out / f"decode-{name}-{beam}"
    command = [program("fairseq-generate"), str(arguments.folder / "data-bin"), *CONSTRAINT, "--path", str(checkpoint)]
    command += ["--gen-subset", arguments.subset, "--beam", str(beam), "--batch-size", "64", "--no-progress-bar"]
    command += ["--required-batch-size-multiple", "1", "--results-path", str(folder)]
    command += ["--cpu"] if arguments.cpu else []
    title = f"Decode {name} with beam {beam}"
    return Stage(
        f"decode-{name}-{beam}", title, command, [PLUGIN, *([] if after else [checkpoint])], [folder], after=after
    )


def plan(arguments):
    """{training beam: training stage}, and {(training beam or START, test beam): decoding stage}."""
    trainings = {beam: train_stage(arguments, beam) for beam in arguments.train_beams}
    decodings = {}
    for test in arguments.test_beams:
        decodings[START, test] = decode_stage(arguments, "nll", arguments.start, test, [])
    for beam, training in trainings.items():
        for test in arguments.test_beams:
            checkpoint = training.outputs[0] / BEST
            decodings[beam, test] = decode_stage(arguments, f"beam{beam}", checkpoint, test, [training])
    return trainings, decodings


def bleu(arguments, stage):
    """BLEU of one decoding."""
    text, generated = arguments.folder, stage.outputs[0] / f"generate-{arguments.subset}.txt"
    references, sources = text / f"{arguments.subset}.{TARGET}", text / f"{arguments.subset}.{SOURCE}"
    return score.score_file(generated, references, sources, text / "dict.txt", tokenize="none")


def make_table(scores, seconds):
    """Returns the table: a row for each training beam, a column for each test beam."""
    tests = sorted({test for _, test in scores})
    first = next(iter(scores.values()))
    lines = [f"Word ordering under the constraint, {first['sentences']} sentences: BLEU", ""]
    lines.append(f"{'trained with':20}{'training':>10}" + "".join(f"{f'beam {test}':>10}" for test in tests))
    for row in dict.fromkeys(trained for trained, _ in scores):
        title, time = (row, "") if row == START else (f"BSO-Con, beam {row}", clock(seconds[row]))
        lines.append(f"{title:20}{time:>10}" + "".join(f"{scores[row, test]['bleu']:>10.1f}" for test in tests))
    return "\n".join([*lines, "", f"sacrebleu {first['signature']}"])


def draw(pyplot, scores):
    """The table as colours."""
    rows, tests = list(dict.fromkeys(row for row, _ in scores)), sorted({test for _, test in scores})
    values = [[scores[row, test]["bleu"] for test in tests] for row in rows]
    figure, axes = pyplot.subplots(figsize=(1.5 + 1.2 * len(tests), 1.2 + 0.6 * len(rows)), layout="constrained")
    image = axes.imshow(values, cmap="Blues", aspect="auto")
    low, high = image.get_clim()
    for place, line in enumerate(values):
        for column, value in enumerate(line):
            dark = value > (low + high) / 2
            axes.text(column, place, f"{value:.1f}", ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(tests)), [str(test) for test in tests])
    axes.set_yticks(range(len(rows)), [str(row) for row in rows])
    axes.set_xlabel("beam of the test search")
    axes.set_ylabel("beam in training")
    axes.set_title("Constrained word ordering, BLEU")
    return figure


def parse_arguments(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what prepare_word_ordering.py wrote")
    parser.add_argument("--start", type=Path, required=True, metavar="FILE", help="checkpoint to train from")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--train-beams", type=int, nargs="+", default=[2, 6, 11], metavar="K", help="2 6 11")
    parser.add_argument("--test-beams", type=int, nargs="+", default=[1, 5, 10], metavar="K", help="1 5 10")
    parser.add_argument("--updates-per-beam", type=int, default=50, metavar="N", help="the beam grows every N (50)")
    parser.add_argument("--subset", default="test", help="valid or test (test)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the training (1)")
    add_machine_options(parser)
    arguments = parse_with_rest(parser, argv)
    if min(arguments.train_beams) < 2:
        parser.error(f"--train-beams {min(arguments.train_beams)}: must be 2 or more")
    check_paths(parser, arguments.start, arguments.folder / "dict.txt", arguments.folder / "data-bin")
    arguments.train_beams, arguments.test_beams = (
        sorted(set(beams)) for beams in (arguments.train_beams, arguments.test_beams)
    )
    arguments.out = arguments.out.resolve()
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    with ends_with_one_message():
        trainings, decodings = plan(arguments)
        seconds = run_all([*trainings.values(), *decodings.values()], arguments.out, arguments.threads)
    scores = {pair: bleu(arguments, stage) for pair, stage in decodings.items()}
    table = make_table(scores, {beam: seconds[stage.name] for beam, stage in trainings.items()})
    write_whole(arguments.out / "grid.txt", table + "\n")
    listed = [{"trained": str(row), "beam": test, **found} for (row, test), found in scores.items()]
    write_whole(arguments.out / "grid.json", json.dumps(listed, indent=1) + "\n")
    picture = ", grid.png" if draw_with(draw, arguments.out / "grid.png", scores) else ""
    print("\n" + table + f"\n\nWrote {os.path.relpath(arguments.out)}/grid.txt, grid.json{picture}")


if __name__ == "__main__":
    exit_after(main)
