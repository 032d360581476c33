"""`fairseq-bso ablate`: how the loss of a model rises without a unit."""

import argparse
from pathlib import Path

from ...errors import UserError
from ...logs import show_logs
from ...user_dirs import import_user_dir
from .options import AblationOptions

EXPLANATION = """
A hidden unit is set after each step: the next step, the layer above and the attention see the mean. A unit of a cell
state is set before the hidden state of that step is computed from it. Losses are those under teacher forcing on the
words of the capture.

The table has a row for each unit, the largest rise first. Its columns are the labels of a track; the loss of a word
counts under the label of that word. The track `word` is the predicted word itself. As a control, random units of the
same state are set in the same way. The file of --out has all tracks.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the capture, the units, and the form of the result."""
    parser.epilog, parser.formatter_class = EXPLANATION, argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", help="the checkpoint that was captured: bso_lstm, lstm or lstm_lm")
    parser.add_argument("folder", metavar="DIR", help="folder that `fairseq-bso states` wrote, with all sides")
    parser.add_argument("--data", metavar="FOLDER", help="folder with the dictionaries (default: that of its training)")
    parser.add_argument("--user-dir", help="folder with your own plugins that the checkpoint needs")
    parser.add_argument(
        "--units",
        nargs="+",
        metavar="UNIT",
        help="units such as hidden1:17, or states such as hidden1 for all of their units; all units if not given",
    )
    parser.add_argument("--side", choices=["encoder", "decoder"], default="decoder", help="the side of the units")
    parser.add_argument("--together", action="store_true", help="set all of these units in one run")
    parser.add_argument(
        "--control",
        type=int,
        default=20,
        metavar="N",
        help="random sets of other units of the same states (default: 20)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random sets (default: 1)")
    parser.add_argument(
        "--track", default="word", metavar="NAME", help="the track in the table: word or one of the capture (word)"
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="labels of the track in the table (default: the 8 with most words)",
    )
    parser.add_argument("--top", type=int, default=10, metavar="N", help="units in the table (default: 10)")
    parser.add_argument("--out", metavar="FILE", help="also write all results to this .json or .csv file")
    parser.add_argument(
        "--max-tokens", type=int, default=8000, metavar="N", help="words in a batch, padding included (default: 8000)"
    )
    parser.add_argument("--cpu", action="store_true", help="use no GPU")


def run(arguments: argparse.Namespace) -> int:
    """Prints the table, and writes the file. Returns the exit status.

    Raises:
        UserError: options, model and capture do not fit together, or the file cannot be written.
    """
    options = AblationOptions(
        units=tuple(arguments.units or ["all"]),
        side=arguments.side,
        together=arguments.together,
        control=arguments.control,
        seed=arguments.seed,
        track=arguments.track,
        columns=tuple(arguments.labels),
        top=arguments.top,
        out=arguments.out,
        max_tokens=arguments.max_tokens,
        cpu=arguments.cpu,
    )
    options.check()
    show_logs()
    import_user_dir(arguments)
    try:
        from .ablation import ablate
    except ImportError as error:
        raise UserError(
            f"fairseq-bso ablate needs the package {error.name}: pip install 'fairseq-bso[interpret]'"
        ) from None
    from .report import table, write_report

    report = ablate(arguments.checkpoint, arguments.data, arguments.folder, options)
    print(table(report, options), flush=True)  # first: the file may not be written
    if options.out:
        write_report(report, Path(options.out))
        print(f"All tracks stand in {options.out}")
    return 0
