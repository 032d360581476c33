"""The options of an ablation: what is set, and what is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

from ...errors import UserError

__all__ = ["ENDINGS", "AblationOptions"]

ENDINGS = (".json", ".csv")


@dataclass(frozen=True)
class AblationOptions:
    """The options of an ablation."""

    units: Tuple[str, ...] = ("all",)
    """hidden1:17, a state for all of its units, or all"""
    side: str = "decoder"
    """the side of the units"""
    together: bool = False
    """set all units in one run, in place of one run for each"""
    control: int = 20
    """random sets of units beside each set"""
    seed: int = 1
    """of the random sets"""
    track: str = "word"
    """the track whose labels the table shows"""
    columns: Tuple[str, ...] = ()
    """labels of the track in the table; none: those with most words"""
    top: int = 10
    """rows of the table"""
    out: Optional[str] = None
    """a JSON or CSV file"""
    max_tokens: int = 8000
    """words in a batch, padding included"""
    cpu: bool = False
    """use no GPU"""

    def check(self) -> None:
        """Raises UserError that names all impossible options at once."""
        problems: List[str] = []
        for name, least in (("control", 0), ("max_tokens", 1), ("top", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                problems.append(f"--{name.replace('_', '-')} is {value}, but must be at least {least}")
        if self.out is not None and Path(self.out).suffix not in ENDINGS:
            problems.append(f"--out {self.out} must end in {' or '.join(ENDINGS)}, which says what is written")
        elif self.out is not None and Path(self.out).is_dir():
            problems.append(f"--out {self.out} is a folder: give another name")
        if problems:
            raise UserError("; ".join(problems))
