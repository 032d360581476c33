"""`fairseq-bso states`: writes the hidden states of a trained model over a corpus to files."""

import argparse
from typing import Any

from ...errors import counted
from ...logs import show_logs
from ...old_names import OldName
from ...user_dirs import import_user_dir
from .options import BREAK_MODES, DECODE_ON, CaptureOptions

ROWS = """
Rows: each row of a file is the state after one word. Encoder rows are the source words and </s>. Decoder rows are the
input words: </s> first, then all words but the last. The loss and the predictions of a row are about the next word. A
language model has decoder rows only. Its text is cut into samples as in training, unless --sample-break-mode says
otherwise. Each sample starts from zero states.

Tracks: a text file with one line for each sentence, and one label or number for each word; </s> has no value. A track
holds numbers if all of its values are numbers. Otherwise it holds labels.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, its input, and the content and name of the folder."""
    parser.epilog, parser.formatter_class = ROWS, argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", help="a checkpoint of fairseq-train: bso_lstm, lstm or lstm_lm")
    parser.add_argument("data", nargs="?", help="folder of fairseq-preprocess (default: the folder of its training)")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a capture of this name")
    parser.add_argument("--description", default="", help="a line that is shown with the states")
    parser.add_argument("--user-dir", help="folder with your own plugins that the checkpoint needs")
    parser.add_argument("--cpu", action="store_true", help="use no GPU")
    _add_input(parser.add_argument_group("input"))
    _add_content(parser.add_argument_group("output"))


def _add_input(group: Any) -> None:
    group.add_argument(
        "--gen-subset", default="test", metavar="NAME", help="a subset of the data folder (default: test)"
    )
    group.add_argument(
        "--text", metavar="FILE", help="in place of a subset: one sentence a line, with words as in the training data"
    )
    group.add_argument("--target-text", metavar="FILE", help="the references of --text")
    group.add_argument(
        "--decode-on",
        choices=DECODE_ON,
        default="reference",
        help="the decoder's input: the references (teacher forcing, the default) or the best output of beam search",
    )
    group.add_argument("--along", action=OldName, dest="decode_on", choices=DECODE_ON, help=argparse.SUPPRESS)
    group.add_argument("--beam", type=int, default=5, metavar="K", help="beam size for --decode-on output (default: 5)")
    group.add_argument(
        "--sample-break-mode",
        choices=BREAK_MODES,
        help="how the text of a language model is cut into samples; eos: one sentence each (default: as in training)",
    )
    group.add_argument(
        "--max-tokens", type=int, default=8000, metavar="N", help="words in a batch, padding included (default: 8000)"
    )
    group.add_argument("--batch-size", type=int, metavar="N", help="the largest number of sentences in a batch")


def _add_content(group: Any) -> None:
    group.add_argument(
        "--sides",
        nargs="+",
        choices=["encoder", "decoder"],
        help="the sides to write (default: all sides of the model, with attention)",
    )
    group.add_argument("--gates", action="store_true", help="also write input, forget and output gates and candidates")
    group.add_argument(
        "--top-k", type=int, default=5, metavar="K", help="predictions for each decoder row (default: 5; 0: none)"
    )
    group.add_argument("--float16", action="store_true", help="write states and attention in 16 bits")
    group.add_argument(
        "--track",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="labels or numbers of the source words, or of the words of a language model; may be repeated",
    )
    group.add_argument(
        "--decoder-track", action="append", default=[], metavar="NAME=FILE", help="the same for target words"
    )
    group.add_argument(
        "--no-index",
        action="store_true",
        help="do not write the index for searching; fairseq-bso view then writes it when it starts",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the folder and prints a summary. Returns the exit status.

    Raises:
        UserError: the checkpoint, sentences or options do not fit together, or the folder is not writable.
    """
    from .capture import capture

    show_logs()
    import_user_dir(arguments)
    options = CaptureOptions(
        subset=arguments.gen_subset,
        text=arguments.text,
        target_text=arguments.target_text,
        break_mode=arguments.sample_break_mode,
        decode_on=arguments.decode_on,
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
    print(f"{arguments.out}: {counted(summary['sentences'], 'sentence')}, {summary['description']}")
    print(f"Look at it with: fairseq-bso view {arguments.out}")
    return 0
