"""The options of ``bso_lstm``: its config, the checks of a config, and the named sizes."""

import math
from dataclasses import dataclass, field
from typing import Any, List, NamedTuple, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II

from ..errors import UserError
from ..search.scorer import SCORERS


@dataclass
class BsoLSTMConfig(FairseqDataclass):
    encoder_embed_dim: int = field(default=256, metadata={"help": "source embedding size"})
    encoder_hidden_size: int = field(default=256, metadata={"help": "encoder units per direction"})
    encoder_layers: int = field(default=1, metadata={"help": "encoder layers"})
    encoder_bidirectional: bool = field(default=False, metadata={"help": "read the source in both directions"})
    encoder_embed_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "pretrained source embeddings: a file of vectors in the text format of word2vec, fastText or "
            "GloVe, or in the binary format of word2vec"
        },
    )
    encoder_freeze_embed: bool = field(default=False, metadata={"help": "do not train the source embeddings"})
    decoder_embed_dim: int = field(default=256, metadata={"help": "target embedding size"})
    decoder_hidden_size: int = field(default=256, metadata={"help": "decoder units"})
    decoder_layers: int = field(default=1, metadata={"help": "decoder layers, as many as encoder layers"})
    decoder_embed_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "pretrained target embeddings: a file of vectors in the text format of word2vec, fastText or "
            "GloVe, or in the binary format of word2vec"
        },
    )
    decoder_freeze_embed: bool = field(default=False, metadata={"help": "do not train the target embeddings"})
    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "one matrix for target embeddings and output layer"}
    )
    share_all_embeddings: bool = field(
        default=False, metadata={"help": "one matrix for source embeddings, target embeddings and output layer"}
    )
    attention: ChoiceEnum(["general", "dot", "mlp"]) = field(  # type: ignore[valid-type]
        default="general", metadata={"help": "score of a decoder state and an encoder state in the attention"}
    )
    no_input_feeding: bool = field(
        default=False, metadata={"help": "do not feed the attentional vector into the next step"}
    )
    residual: bool = field(default=False, metadata={"help": "residual connections from the second layer on"})
    dropout: float = field(default=0.2, metadata={"help": "dropout between layers and on the attentional vector"})
    embedding_dropout: float = field(default=0.0, metadata={"help": "dropout on the embedded words"})
    init_range: str = field(
        default="auto",
        metadata={
            "help": "R: initial parameters are uniform in [-R, R]; a number (0.1 in the paper), or auto: "
            "3.4 / sqrt(decoder units), at least 0.1"
        },
    )
    scorer: ChoiceEnum(list(SCORERS)) = field(  # type: ignore[valid-type]
        default="softmax",
        metadata={
            "help": "score of a prefix: the sum of its words' log-probabilities (softmax), the sum of their raw scores "
            "(summed), or the raw score of its last word (unnormalized, as in the paper)"
        },
    )
    max_source_positions: int = II("task.max_source_positions")
    max_target_positions: int = II("task.max_target_positions")


def check_options(cfg: BsoLSTMConfig, source: Any, target: Any) -> None:
    """Raises UserError that names all options that do not fit together or to the dictionaries."""
    problems = [*_layer_problems(cfg), *_embedding_problems(cfg, source, target)]
    try:
        init_range(cfg)
    except ValueError:
        problems.append(f"--init-range is {cfg.init_range}, but must be a number above 0 or auto")
    for name in ("dropout", "embedding_dropout"):
        if not 0 <= getattr(cfg, name) < 1:
            problems.append(f"--{name.replace('_', '-')} is {getattr(cfg, name)}, but must be at least 0 and below 1")
    if problems:
        raise UserError("bso_lstm cannot be built: " + "; ".join(problems))


def _layer_problems(cfg: BsoLSTMConfig) -> List[str]:
    """Sizes below 1, and options of layers and attention that do not fit."""
    sizes = [f"{side}_{name}" for side in ("encoder", "decoder") for name in ("embed_dim", "hidden_size", "layers")]
    problems = [
        f"--{size.replace('_', '-')} is {getattr(cfg, size)}, but must be at least 1"
        for size in sizes
        if getattr(cfg, size) < 1
    ]
    if cfg.encoder_layers != cfg.decoder_layers:
        problems.append(
            f"--encoder-layers {cfg.encoder_layers} and --decoder-layers {cfg.decoder_layers} differ: each decoder "
            "layer starts from the state of its encoder layer, give both the same number"
        )
    encoder_size = cfg.encoder_hidden_size * (2 if cfg.encoder_bidirectional else 1)
    if str(cfg.attention) == "dot" and encoder_size != cfg.decoder_hidden_size:
        problems.append(
            f"--attention dot compares encoder states of {encoder_size} with decoder states of "
            f"{cfg.decoder_hidden_size}: make them equal or take --attention general"
        )
    return problems


def _embedding_problems(cfg: BsoLSTMConfig, source: Any, target: Any) -> List[str]:
    """Options of shared and frozen embeddings that do not fit."""
    problems = []
    if cfg.share_all_embeddings:
        if source != target:
            problems.append(
                "--share-all-embeddings needs one dictionary: run fairseq-preprocess with --joined-dictionary"
            )
        if cfg.encoder_embed_dim != cfg.decoder_embed_dim:
            problems.append(
                f"--share-all-embeddings needs --encoder-embed-dim {cfg.encoder_embed_dim} equal to "
                f"--decoder-embed-dim {cfg.decoder_embed_dim}"
            )
        if cfg.decoder_embed_path:
            problems.append(
                "--decoder-embed-path has no effect with --share-all-embeddings: give --encoder-embed-path alone"
            )
    if cfg.share_all_embeddings or cfg.share_decoder_input_output_embed:
        if cfg.decoder_embed_dim != cfg.decoder_hidden_size:
            problems.append(
                f"a shared scorer needs --decoder-embed-dim {cfg.decoder_embed_dim} equal to --decoder-hidden-size "
                f"{cfg.decoder_hidden_size}"
            )
        if cfg.decoder_freeze_embed:
            problems.append("--decoder-freeze-embed would freeze the shared scorer too: leave out one of them")
    return problems


def init_range(cfg: BsoLSTMConfig) -> float:
    """R of ``--init-range``. Raises ValueError for a value that is neither a number above 0 nor ``auto``."""
    if str(cfg.init_range) == "auto":
        return max(0.1, 3.4 / math.sqrt(max(1, cfg.decoder_hidden_size)))
    number = float(cfg.init_range)
    if not 0 < number < math.inf:
        raise ValueError(cfg.init_range)
    return number


class Size(NamedTuple):
    """A named size: as many encoder as decoder layers, and embeddings as wide as the layers."""

    layers: int
    units: int
    dropout: float

    def fill(self, args: Any) -> None:
        """Sets the options that the user has not given."""
        for side in ("encoder", "decoder"):
            for option, value in (("embed_dim", self.units), ("hidden_size", self.units), ("layers", self.layers)):
                setattr(args, f"{side}_{option}", getattr(args, f"{side}_{option}", value))
        args.dropout = getattr(args, "dropout", self.dropout)


NAMED_SIZES = {
    "bso_lstm_word_ordering": Size(layers=2, units=256, dropout=0.2),
    "bso_lstm_parsing": Size(layers=2, units=300, dropout=0.3),
    "bso_lstm_iwslt": Size(layers=1, units=256, dropout=0.2),
    "bso_lstm_4x1000": Size(layers=4, units=1000, dropout=0.2),
    "bso_lstm_2x500": Size(layers=2, units=500, dropout=0.2),
    "bso_lstm_2x300": Size(layers=2, units=300, dropout=0.2),
    "bso_lstm_tiny": Size(layers=1, units=32, dropout=0.0),
}
"""``--arch NAME``; from Wiseman & Rush 2016, section 5 and its released settings, and Kim & Rush 2016, section 4"""
