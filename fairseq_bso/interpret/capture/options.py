"""The options of a capture: what is read, what is written, and how. One record for all files of this room."""

from dataclasses import dataclass
from typing import List, Optional, Tuple

from ...errors import UserError

__all__ = ["BREAK_MODES", "DECODE_ON", "CaptureOptions"]

BREAK_MODES = ("none", "complete", "complete_doc", "eos")
DECODE_ON = ("reference", "output")


@dataclass(frozen=True)
class CaptureOptions:
    """The options of a capture."""

    subset: str = "test"
    """a subset of the data folder"""
    text: Optional[str] = None
    """a file with one sentence a line, in place of a subset"""
    target_text: Optional[str] = None
    """the references of `text`"""
    break_mode: Optional[str] = None
    """how the text of a language model is cut into samples; None: as in training"""
    decode_on: str = "reference"
    """the decoder's input: `reference` (teacher forcing), or `output` for the best hypothesis of beam search"""
    beam: int = 5
    """beam size for `output`"""
    sides: Optional[Tuple[str, ...]] = None
    """`encoder`, `decoder`; None: all sides of the model"""
    gates: bool = False
    """also write the gates"""
    top_k: int = 5
    """predictions for each decoder row"""
    tracks: Tuple[str, ...] = ()
    """NAME=FILE, for source words, or for the words of a language model"""
    decoder_tracks: Tuple[str, ...] = ()
    """NAME=FILE, for target words"""
    float16: bool = False
    """write states and attention in 16 bits"""
    max_tokens: int = 8000
    """words in a batch, padding included"""
    batch_size: Optional[int] = None
    """the largest number of sentences in a batch; None for any number"""
    cpu: bool = False
    """use no GPU"""
    index: bool = True
    """also write the index that `fairseq-bso view` searches"""
    overwrite: bool = False
    """replace a capture of this name"""
    description: str = ""
    """a line that is shown with the states"""

    def check(self) -> None:
        """Raises UserError that names all impossible options at once."""
        problems: List[str] = []
        for name in ("beam", "max_tokens", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"--{name.replace('_', '-')} is {value}, but must be at least 1")
        if self.top_k < 0:
            problems.append(f"--top-k is {self.top_k}, but must be at least 0")
        if self.decode_on not in DECODE_ON:
            problems.append(f"--decode-on is {self.decode_on}, but must be {' or '.join(DECODE_ON)}")
        if self.break_mode not in (None, *BREAK_MODES):
            problems.append(f"--sample-break-mode is {self.break_mode}, but must be one of {', '.join(BREAK_MODES)}")
        if self.target_text and not self.text:
            problems.append("--target-text needs --text: give both sides as files, or neither")
        if self.target_text and self.decode_on == "output":
            problems.append("--target-text has no use with --decode-on output: leave out one of the two")
        if self.decoder_tracks and self.decode_on == "output":
            problems.append(
                "--decoder-track stands beside references, but --decode-on output has other words: leave it out"
            )
        if problems:
            raise UserError("; ".join(problems))
