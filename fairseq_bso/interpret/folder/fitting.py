"""Whether a model is the one that a capture was made with."""

from pathlib import Path
from typing import Dict, Mapping, Sequence

from ...errors import UserError
from ...files import sha256
from .reader import CaptureReader

__all__ = ["check_dictionaries", "check_summary", "check_units"]


def check_summary(checkpoint: str, capture: CaptureReader) -> None:
    """Compares the file with capture.json, before the model is loaded.

    Raises:
        UserError: the capture was made from another file, or is no capture of `fairseq-bso states`.
    """
    if "states" in capture.sides:
        raise UserError(f"{capture.folder} has no capture.json, so its model is not known: run fairseq-bso states")
    wanted = capture.summary.get("checkpoint_sha256")
    if Path(checkpoint).is_file() and wanted not in (None, sha256([Path(checkpoint)])):
        raise UserError(
            f"{checkpoint} is not the model of {capture.folder}, which was captured from another content of "
            f"{capture.summary.get('checkpoint')}: give that file, or run fairseq-bso states with this one"
        )


def check_dictionaries(
    checkpoint: str, architecture: str, symbols: Mapping[str, Sequence[str]], capture: CaptureReader
) -> None:
    """Compares architecture and words.

    Args:
        checkpoint: its name.
        architecture: of the model.
        symbols: the dictionary of the words that each side of the model reads.
        capture: the capture.

    Raises:
        UserError: they differ.
    """
    wanted = capture.summary.get("architecture")
    if wanted != architecture:
        raise UserError(f"{checkpoint} is a {architecture}, but {capture.folder} holds states of {wanted}")
    for name, side in capture.sides.items():
        if list(side.words) != list(symbols.get(name, ())):
            raise UserError(
                f"{checkpoint} has another {name} dictionary ({len(symbols.get(name, ())):,} words) than "
                f"{capture.folder} ({len(side.words):,} words): give the model and the data folder of this capture"
            )


def check_units(checkpoint: str, states: Dict[str, Dict[str, int]], capture: CaptureReader) -> None:
    """Compares the sizes of all states in the capture.

    Args:
        checkpoint: its name.
        states: the units of each state of the model, by side.
        capture: the capture.

    Raises:
        UserError: the capture has a state that the model has not, or of another size.
    """
    for name, side in capture.sides.items():
        for captured in side.states:
            units = states.get(name, {}).get(captured.name)
            if units != captured.units:
                raise UserError(
                    f"{checkpoint} has {units or 'no'} units {captured.name} in its {name}, but {capture.folder} has "
                    f"{captured.units}: give the model of this capture"
                )
