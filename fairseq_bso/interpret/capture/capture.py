"""States of a trained model over a corpus, written to a capture folder.

DIR/capture.json              what was captured of what; written last
DIR/encoder, DIR/decoder      each a project that LSTMVis opens too:
    lstm.yml, words.dict      what is where, and the words
    states.hdf5               hidden1, cell1, hidden2, ...: (rows, units) each
    train.hdf5                word_ids, sentence_offsets, sentence_ids; of a decoder loss (or score) and predictions;
                              the user's tracks in meta/
DIR/decoder/attention.hdf5    of each sentence its decoder rows x encoder rows, one after the other
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from ...errors import BadInput
from ...files import sha256
from ..folder.lstmvis import WordTrack
from .hdf5_files import CaptureFolder, import_h5py, write_json
from .loading import Loaded, load
from .own_output import own_output
from .sentences import BREAK_MODES, Sentences, from_data_set, from_text
from .track_files import read_tracks
from .writer import Corpus, Way, write_sides

VERSION = 1
SIDES = ("encoder", "decoder")


@dataclass(frozen=True)
class Options:
    """What is captured, and how."""

    subset: str = "test"
    """of the data folder"""
    text: Optional[str] = None
    """a file with one sentence a line, in place of a subset"""
    target_text: Optional[str] = None
    """the other side of `text`"""
    break_mode: Optional[str] = None
    """how a language model's text is cut into samples; None: as in its training"""
    along: str = "reference"
    """what the decoder is led along: `reference`, or `output` for the best of its own beam"""
    beam: int = 5
    """of the search for `output`"""
    sides: Optional[Tuple[str, ...]] = None
    """`encoder`, `decoder`; None: all that the model has"""
    gates: bool = False
    """also what the gates let through"""
    top_k: int = 5
    """predictions kept for each decoder row"""
    tracks: Tuple[str, ...] = ()
    """NAME=FILE, for source words, or for the words of a language model"""
    decoder_tracks: Tuple[str, ...] = ()
    """NAME=FILE, for target words"""
    float16: bool = False
    """states and attention in half the space"""
    max_tokens: int = 8000
    """words in a batch, padding included"""
    batch_size: Optional[int] = None
    """sentences in a batch at most"""
    cpu: bool = False
    """use no GPU"""
    index: bool = True
    """also write the index that `fairseq-bso view` searches in"""
    overwrite: bool = False
    """replace a capture of this name"""
    description: str = ""
    """shown beside the name"""


def capture(checkpoint: str, data: Optional[str], out: str, options: Options) -> Dict[str, Any]:
    """Captures states.

    Args:
        checkpoint: of fairseq-train.
        data: the binarised data folder; None: the dictionaries of the folder where it was trained.
        out: the folder to write.
        options: what is captured.

    Returns:
        What capture.json says.

    Raises:
        BadInput: options, files or sentences that do not fit together, or a disk without room.
    """
    _check(options)
    import_h5py()
    folder = CaptureFolder(out, options.overwrite)
    loaded = load(checkpoint, data, options.gates, options.cpu)
    sides = _sides(loaded, options)
    if options.text:
        sentences = from_text(loaded.task, options.text, options.target_text, options.break_mode)
    else:
        sentences = from_data_set(loaded.task, options.subset, options.break_mode)
    if "decoder" in sides:
        sentences = _with_targets(loaded, sentences, options)
    corpus = Corpus(loaded, sentences, sides, _read_tracks(sentences, sides, options))
    summary = _summary(corpus, checkpoint, options)
    way = Way(options.top_k, options.float16, options.max_tokens, options.batch_size, options.index)
    with folder as part:
        write_sides(part, corpus, way, folder.path.name, summary["description"])
        if options.index:
            _write_indices(part, sides)
        write_json(part / "capture.json", summary)
    return summary


def _write_indices(part: Path, sides: Tuple[str, ...]) -> None:
    from ..folder.index import build_index

    for side in sides:
        build_index(part / side)


def _check(options: Options) -> None:
    """Raises BadInput naming all options that cannot be."""
    faults = []
    for name in ("beam", "max_tokens", "batch_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            faults.append(f"--{name.replace('_', '-')} is {value}, but must be at least 1")
    if options.top_k < 0:
        faults.append(f"--top-k is {options.top_k}, but must be at least 0")
    if options.along not in ("reference", "output"):
        faults.append(f"--along is {options.along}, but must be reference or output")
    if options.break_mode not in (None, *BREAK_MODES):
        faults.append(f"--sample-break-mode is {options.break_mode}, but must be one of {', '.join(BREAK_MODES)}")
    if options.target_text and not options.text:
        faults.append("--target-text needs --text: give both sides as files, or neither")
    if options.target_text and options.along == "output":
        faults.append("--target-text has no use with --along output: leave out one of the two")
    if options.decoder_tracks and options.along == "output":
        faults.append("--decoder-track stands beside references, but --along output has other words: leave it out")
    if faults:
        raise BadInput("; ".join(faults))


def _sides(loaded: Loaded, options: Options) -> Tuple[str, ...]:
    there = loaded.reader.sides
    wrong = [side for side in options.sides or () if side not in there]
    if wrong:
        raise BadInput(f"--sides {' '.join(wrong)}: a {loaded.architecture} has {' and '.join(there)}")
    if there != ("decoder",) and options.break_mode:
        raise BadInput(f"--sample-break-mode {options.break_mode} is for language models: leave it out")
    if there == ("decoder",) and options.along == "output":
        raise BadInput("--along output is for models that translate: a language model reads its text, leave it out")
    return tuple(side for side in SIDES if side in (options.sides or there))


def _with_targets(loaded: Loaded, sentences: Sentences, options: Options) -> Sentences:
    """The sentences that the decoder is led along. Raises BadInput where there are none, or no such predictions."""
    largest = len(loaded.task.target_dictionary) - 1  # all but padding
    if options.top_k > largest:
        raise BadInput(f"--top-k is {options.top_k}, but the dictionary has {largest} words to predict")
    if options.along == "output":
        return own_output(loaded, sentences, options.beam, options.max_tokens, options.batch_size)
    if sentences.target_lengths is None:
        raise BadInput(
            "there are no references to lead the decoder along: give --target-text, or --along output, or --sides "
            "encoder"
        )
    return sentences


def _read_tracks(sentences: Sentences, sides: Tuple[str, ...], options: Options) -> Dict[str, List[WordTrack]]:
    """The user's tracks of each side; a language model has one side, and both options mean it."""
    first = "decoder" if sentences.mode == "language_model" else "encoder"
    tracks: Dict[str, List[WordTrack]] = {side: [] for side in SIDES}
    for option, given, side in (
        ("--track", options.tracks, first),
        ("--decoder-track", options.decoder_tracks, "decoder"),
    ):
        if given and side not in sides:
            raise BadInput(f"{option} {given[0]} is for the {side}, which --sides leaves out")
        found = read_tracks(given, option, sentences, side)
        twice = {track.name for track in found} & {track.name for track in tracks[side]}
        if twice:
            raise BadInput(f"{option}: there is a track {twice.pop()} already, give it another name")
        tracks[side] += found
    return tracks


def _describe(corpus: Corpus, options: Options) -> str:
    what = options.text or options.subset
    ways = {
        "reference": "forced on the references",
        "output": "along its own output",
        "language_model": "language model",
    }
    return options.description or f"{corpus.loaded.architecture} on {Path(what).name}, {ways[corpus.sentences.mode]}"


def _summary(corpus: Corpus, checkpoint: str, options: Options) -> Dict[str, Any]:
    return {
        "version": VERSION,
        "architecture": corpus.loaded.architecture,
        "checkpoint": Path(checkpoint).name,
        "checkpoint_sha256": sha256([Path(checkpoint)]),
        "mode": corpus.sentences.mode,
        "sides": list(corpus.sides),
        "sentences": len(corpus.sentences),
        "description": _describe(corpus, options),
    }
