"""The kind of a model, as `fairseq-bso export` writes it into a file and the runtime reads it."""

from dataclasses import asdict, dataclass
from typing import Any, Dict


@dataclass(frozen=True)
class ModelConfig:
    """The kind of a `bso_lstm`. Its sizes are those of its parameters."""

    layers: int
    """of the encoder, and of the decoder"""
    bidirectional: bool
    """whether the encoder reads both ways"""
    input_feeding: bool
    """whether the decoder's first layer reads the last attentional vector"""
    attention: str
    """`general`, `dot` or `mlp`"""
    residual: bool
    """whether a layer from the second on adds its input to its output"""
    scorer: str = "softmax"
    """a name in `beam_search.SCORERS`"""
    successors: str = "none"
    """the constraint of its training, a name in `constraints.KINDS` or `none`"""
    max_target_positions: int = 1024
    """the longest output, `</s>` included"""
    architecture: str = "bso_lstm"

    @classmethod
    def from_json(cls, content: Dict[str, Any]) -> "ModelConfig":
        """The config out of a file's JSON. Further entries are ignored.

        Raises:
            ValueError: an entry is missing.
        """
        required = ("layers", "bidirectional", "input_feeding", "attention", "residual", "max_target_positions")
        missing = [name for name in required if not isinstance(content, dict) or name not in content]
        if missing:
            raise ValueError(f"its config lacks {', '.join(missing)}")
        return cls(
            layers=int(content["layers"]),
            bidirectional=bool(content["bidirectional"]),
            input_feeding=bool(content["input_feeding"]),
            attention=str(content["attention"]),
            residual=bool(content["residual"]),
            scorer=str(content.get("scorer")),  # checked where it is used
            successors=str(content.get("successors", "none")),
            max_target_positions=int(content["max_target_positions"]),
            architecture=str(content.get("architecture", "bso_lstm")),
        )

    def to_json(self) -> Dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self)
