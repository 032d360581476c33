"""The kind of a model, as `fairseq-bso export` writes it into a file and the runtime reads it."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Dict

ATTENTIONS = ("general", "dot", "mlp")


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
            ValueError: an entry is missing, or is none of the values that it may have.
        """
        required = ("layers", "bidirectional", "input_feeding", "attention", "residual", "max_target_positions")
        missing = [name for name in required if not isinstance(content, dict) or name not in content]
        if missing:
            raise ValueError(f"its config lacks {', '.join(missing)}")
        given = {field.name: content[field.name] for field in fields(cls) if field.name in content}
        given["scorer"] = str(content.get("scorer"))  # checked where it is used
        for field in fields(cls):
            value = given.get(field.name, field.default)
            if type(value) is not field.type:
                raise ValueError(
                    f"its {field.name} is {value!r}, but must be of type {getattr(field.type, '__name__', field.type)}"
                )
        if given["attention"] not in ATTENTIONS:
            raise ValueError(f"its attention is {given['attention']!r}, but must be one of {', '.join(ATTENTIONS)}")
        for name, least in (("layers", 1), ("max_target_positions", 1)):
            if given[name] < least:
                raise ValueError(f"its {name} is {given[name]}, but must be at least {least}")
        return cls(**given)

    def to_json(self) -> Dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self)
