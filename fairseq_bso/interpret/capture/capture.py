"""Captures the states of a trained model over a corpus in a folder.

DIR/capture.json              what was captured; written last
DIR/encoder, DIR/decoder      each a project that LSTMVis opens too:
    lstm.yml, words.dict      the names of the files and datasets, and the words
    states.hdf5               hidden1, cell1, hidden2, ...: (rows, units) each
    train.hdf5                word_ids, sentence_offsets, sentence_ids; loss (or score) and predictions of a decoder;
                              the user's tracks in meta/; the words that a unit of the last decoder layer raises and
                              lowers most in output_words/
    index.*, cards.npz        what `fairseq-bso view` searches, and the card of each unit (see interpret/folder)
DIR/decoder/attention.hdf5    decoder rows x encoder rows of each sentence, one sentence after the other
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, cast

from ...errors import UserError
from ...files import AtomicFolder, sha256
from ..folder.lstmvis import WordTrack
from ..models.loading import load
from ..models.state_reader import LoadedModel
from .corpus import from_data_set, from_text, own_output
from .hdf5_files import check_out, import_h5py, write_json, writing_to
from .options import CaptureOptions
from .records import CaptureInput
from .sentences import SentencePairs, Sentences
from .track_files import read_tracks
from .writer import write_sides

VERSION = 1
SIDES = ("encoder", "decoder")


def capture(checkpoint: str, data: Optional[str], out: str, options: CaptureOptions) -> Dict[str, Any]:
    """Captures states.

    Args:
        checkpoint: a checkpoint of fairseq-train.
        data: the binarised data folder; None: the folder of its training.
        out: the folder to write.
        options: what is captured, and how.

    Returns:
        The content of capture.json.

    Raises:
        UserError: options, files or sentences do not fit together, or the disk has no room.
    """
    options.check()
    import_h5py()
    folder = AtomicFolder(Path(out), "--out")
    with folder.alone():
        check_out(folder, options.overwrite)
        return _write(checkpoint, data, folder, options)


def _write(checkpoint: str, data: Optional[str], folder: AtomicFolder, options: CaptureOptions) -> Dict[str, Any]:
    """Captures states into a folder that no other process writes. Returns the content of capture.json."""
    model = load(checkpoint, data, options.gates, options.cpu)
    sides = _sides(model, options)
    if options.text:
        sentences = from_text(model.task, options.text, options.target_text, options.break_mode)
    else:
        sentences = from_data_set(model.task, options.subset, options.break_mode)
    if "decoder" in sides:
        sentences = _with_targets(model, sentences, options)
    source = CaptureInput(model, sentences, sides, _read_tracks(sentences, sides, options))
    summary = _summary(source, checkpoint, options)
    with writing_to(folder, options.overwrite) as part:
        write_sides(part, source, options, folder.path.name, summary["description"])
        if options.index:
            _write_indices(part, sides)
        write_json(part / "capture.json", summary)
    return summary


def _write_indices(part: Path, sides: Tuple[str, ...]) -> None:
    from ..folder.index import build_index

    for side in sides:
        build_index(part / side)


def _sides(model: LoadedModel, options: CaptureOptions) -> Tuple[str, ...]:
    """The sides to capture, encoder first."""
    available = model.reader.sides
    wrong = [side for side in options.sides or () if side not in available]
    if wrong:
        raise UserError(f"--sides {' '.join(wrong)}: a {model.architecture} has {' and '.join(available)}")
    if available != ("decoder",) and options.break_mode:
        raise UserError(f"--sample-break-mode {options.break_mode} is for language models: leave it out")
    if available == ("decoder",) and options.decode_on == "output":
        raise UserError("--decode-on output is for translation models: a language model reads its text, leave it out")
    return tuple(side for side in SIDES if side in (options.sides or available))


def _with_targets(model: LoadedModel, sentences: Sentences, options: CaptureOptions) -> Sentences:
    """The sentences with the decoder's input. Raises UserError if there is none, or --top-k is too large."""
    largest = len(model.task.target_dictionary) - 1  # all words but padding
    if options.top_k > largest:
        raise UserError(f"--top-k is {options.top_k}, but the dictionary has {largest} words to predict")
    if options.decode_on == "output":
        return own_output(model, cast(SentencePairs, sentences), options)
    if sentences.target_lengths is None:
        raise UserError(
            "there are no references for teacher forcing: give --target-text, or --decode-on output, or --sides encoder"
        )
    return sentences


def _read_tracks(sentences: Sentences, sides: Tuple[str, ...], options: CaptureOptions) -> Dict[str, List[WordTrack]]:
    """The user's tracks of each side. A language model has one side, to which both options apply."""
    first = "decoder" if sentences.mode == "language_model" else "encoder"
    tracks: Dict[str, List[WordTrack]] = {side: [] for side in SIDES}
    for option, values, side in (
        ("--track", options.tracks, first),
        ("--decoder-track", options.decoder_tracks, "decoder"),
    ):
        if values and side not in sides:
            raise UserError(f"{option} {values[0]} is for the {side}, which --sides leaves out")
        added = read_tracks(values, option, sentences, side)
        twice = {track.name for track in added} & {track.name for track in tracks[side]}
        if twice:
            raise UserError(f"{option}: there is a track {twice.pop()} already, give it another name")
        tracks[side] += added
    return tracks


def _describe(source: CaptureInput, options: CaptureOptions) -> str:
    corpus = options.text or options.subset
    modes = {
        "reference": "teacher forcing on the references",
        "output": "on its own output",
        "language_model": "language model",
    }
    mode = modes[source.sentences.mode]
    return options.description or f"{source.model.architecture} on {Path(corpus).name}, {mode}"


def _summary(source: CaptureInput, checkpoint: str, options: CaptureOptions) -> Dict[str, Any]:
    """The content of capture.json."""
    return {
        "version": VERSION,
        "architecture": source.model.architecture,
        "checkpoint": Path(checkpoint).name,
        "checkpoint_sha256": sha256([Path(checkpoint)]),
        "mode": source.sentences.mode,
        "sides": list(source.sides),
        "sentences": len(source.sentences),
        "description": _describe(source, options),
    }
