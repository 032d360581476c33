"""`fairseq-bso states`: hidden states of a trained model over a corpus, in files to look at."""

import argparse

from ...logs import show_logs

NAME = "states"
HELP = "Write the hidden and cell states of a trained LSTM over a corpus, for fairseq-bso view and for LSTMVis."

ROWS = """
Rows: each row of a file is the state after one word. Encoder rows are the source words and </s>. Decoder rows are the
words that are fed in: </s> first, then all words but the last, so that a row's loss and predictions are about the next
word. A language model has decoder rows alone; how its text is cut into samples, each of which starts from zero states,
is as in its training unless --sample-break-mode says otherwise.

Tracks: a file beside the sentences, with one label or number for each word and one line for each sentence; </s> has no
value. If all values are numbers it is a track of numbers, else of labels.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, what it reads, what is kept, and where."""
    parser.epilog, parser.formatter_class = ROWS, argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", help="of fairseq-train: bso_lstm, lstm or lstm_lm")
    parser.add_argument("data", nargs="?", help="folder that fairseq-preprocess wrote; default: where it was trained")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a capture of this name")
    parser.add_argument("--description", default="", help="a line shown with the states")
    parser.add_argument("--user-dir", help="folder with plugins of your own that the checkpoint needs")
    parser.add_argument("--cpu", action="store_true", help="use no GPU")
    _add_input(parser.add_argument_group("what is read"))
    _add_content(parser.add_argument_group("what is written"))


def _add_input(group) -> None:
    group.add_argument("--gen-subset", default="test", metavar="NAME", help="of the data folder (default: test)")
    group.add_argument(
        "--text", metavar="FILE", help="one sentence a line, words as in the training data, in place of a subset"
    )
    group.add_argument("--target-text", metavar="FILE", help="the references of --text")
    group.add_argument(
        "--along",
        choices=["reference", "output"],
        default="reference",
        help="lead the decoder along the references (default) or along the model's own best output",
    )
    group.add_argument("--beam", type=int, default=5, metavar="K", help="of the search for its output (default: 5)")
    group.add_argument(
        "--sample-break-mode",
        choices=["none", "complete", "complete_doc", "eos"],
        help="how a language model's text is cut into samples: eos is one sentence each (default: as in training)",
    )
    group.add_argument(
        "--max-tokens", type=int, default=8000, metavar="N", help="words in a batch, padding included (default: 8000)"
    )
    group.add_argument("--batch-size", type=int, metavar="N", help="sentences in a batch at most")


def _add_content(group) -> None:
    group.add_argument(
        "--sides", nargs="+", choices=["encoder", "decoder"], help="default: all that the model has, with attention"
    )
    group.add_argument("--gates", action="store_true", help="input, forget and output gates and candidates as well")
    group.add_argument(
        "--top-k", type=int, default=5, metavar="K", help="best next words of each decoder row (default: 5; 0: none)"
    )
    group.add_argument("--float16", action="store_true", help="states and attention in half the space")
    group.add_argument(
        "--track",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="labels or numbers of the source words, or of the words of a language model; may be given several times",
    )
    group.add_argument(
        "--decoder-track", action="append", default=[], metavar="NAME=FILE", help="the same for target words"
    )
    group.add_argument(
        "--no-index",
        action="store_true",
        help="leave out what fairseq-bso view searches in; it makes it when it starts",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the folder and says what is in it. Returns the exit status.

    Raises:
        BadInput: for a checkpoint, sentences or options that do not fit together, and where nothing can be written.
    """
    from fairseq import utils

    from .capture import Options, capture

    show_logs()
    utils.import_user_module(arguments)
    options = Options(
        subset=arguments.gen_subset,
        text=arguments.text,
        target_text=arguments.target_text,
        break_mode=arguments.sample_break_mode,
        along=arguments.along,
        beam=arguments.beam,
        sides=tuple(arguments.sides) if arguments.sides else None,
        gates=arguments.gates,
        top_k=arguments.top_k,
        tracks=tuple(arguments.track),
        decoder_tracks=tuple(arguments.decoder_track),
        float16=arguments.float16,
        max_tokens=arguments.max_tokens,
        batch_size=arguments.batch_size,
        cpu=arguments.cpu,
        index=not arguments.no_index,
        overwrite=arguments.overwrite,
        description=arguments.description,
    )
    summary = capture(arguments.checkpoint, arguments.data, arguments.out, options)
    print(f"{arguments.out}: {summary['sentences']:,} sentences, {summary['description']}")
    print(f"Look at it with: fairseq-bso view {arguments.out}")
    return 0
