"""``--arch bso_lstm``: the attentional LSTM of Wiseman & Rush 2016, and its named sizes."""

import math
import os
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import torch
from fairseq import utils
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models import FairseqEncoderDecoderModel, register_model, register_model_architecture
from omegaconf import II
from torch import Tensor, nn

from ..decoding.unnormalized import check_commands_options
from ..errors import BadInput
from ..search.decoder import GoldRun
from ..search.scorer import SCORERS, PrefixScore, Scorer
from ..search.search_and_score import SearchOptions, search_and_score
from .decoder import DecoderPass, LSTMDecoder
from .encoder import LSTMEncoder


@dataclass
class BsoLSTMConfig(FairseqDataclass):
    encoder_embed_dim: int = field(default=256, metadata={"help": "source embedding size"})
    encoder_hidden_size: int = field(default=256, metadata={"help": "encoder units (per direction)"})
    encoder_layers: int = field(default=1, metadata={"help": "encoder layers"})
    encoder_bidirectional: bool = field(default=False, metadata={"help": "read the source both ways"})
    encoder_embed_path: Optional[str] = field(
        default=None, metadata={"help": "pretrained source embeddings (text: a header line, then one word a line)"}
    )
    encoder_freeze_embed: bool = field(default=False, metadata={"help": "do not train the source embeddings"})
    decoder_embed_dim: int = field(default=256, metadata={"help": "target embedding size"})
    decoder_hidden_size: int = field(default=256, metadata={"help": "decoder units"})
    decoder_layers: int = field(default=1, metadata={"help": "decoder layers (as many as encoder layers)"})
    decoder_embed_path: Optional[str] = field(
        default=None, metadata={"help": "pretrained target embeddings (text: a header line, then one word a line)"}
    )
    decoder_freeze_embed: bool = field(default=False, metadata={"help": "do not train the target embeddings"})
    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "one matrix for target embeddings and scorer"}
    )
    share_all_embeddings: bool = field(
        default=False, metadata={"help": "one matrix for source embeddings, target embeddings and scorer"}
    )
    attention: ChoiceEnum(["general", "dot", "mlp"]) = field(  # type: ignore[valid-type]
        default="general", metadata={"help": "how a decoder state is compared with the encoder states"}
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
            "help": "parameters start uniform in [-R, R]: a number (the paper's is 0.1), or auto: 3.4 over the root of "
            "the decoder's units, never below 0.1"
        },
    )
    scorer: ChoiceEnum(list(SCORERS)) = field(  # type: ignore[valid-type]
        default="softmax",
        metadata={
            "help": "the score of a prefix: the sum of its words' log-probabilities (softmax), the sum of their raw "
            "scores (summed), or the raw score of its last word (unnormalized, as in the paper)"
        },
    )
    max_source_positions: int = II("task.max_source_positions")
    max_target_positions: int = II("task.max_target_positions")


# The first pattern that a parameter's name starts with says its class.
WEIGHT_CLASSES = (
    (r"encoder\.embedding", lambda _: "source_embedding"),
    (r"decoder\.embedding", lambda _: "target_embedding"),
    (r"encoder\.layers\.(\d+)", lambda found: f"encoder_layer_{int(found[1]) + 1}"),
    (r"decoder\.(input_projection|first_layer)", lambda _: "decoder_layer_1"),
    (r"decoder\.upper_layers\.(\d+)", lambda found: f"decoder_layer_{int(found[1]) + 2}"),
    (r"decoder\.initial_", lambda _: "initial_state"),
    (r"(encoder|decoder)\.attention", lambda _: "attention"),
    (r"decoder\.output", lambda _: "scorer"),
)


@register_model("bso_lstm", dataclass=BsoLSTMConfig)
class BsoLSTMModel(FairseqEncoderDecoderModel):
    """Stacked LSTM encoder and decoder with Luong attention and input feeding (Luong et al. 2015)."""

    def __init__(self, encoder: LSTMEncoder, decoder: LSTMDecoder) -> None:
        super().__init__(encoder, decoder)
        self.num_updates = 0

    @classmethod
    def build_model(cls, cfg: BsoLSTMConfig, task) -> "BsoLSTMModel":
        """Builds the model; raises BadInput naming all options that do not fit together."""
        source, target = task.source_dictionary, task.target_dictionary
        _check(cfg, source, target)
        source_embedding = _embedding(source, cfg.encoder_embed_dim)
        shared = cfg.share_all_embeddings
        target_embedding = source_embedding if shared else _embedding(target, cfg.decoder_embed_dim)
        encoder = LSTMEncoder(
            source,
            source_embedding,
            hidden_size=cfg.encoder_hidden_size,
            layers=cfg.encoder_layers,
            bidirectional=cfg.encoder_bidirectional,
            attention=str(cfg.attention),
            decoder_hidden_size=cfg.decoder_hidden_size,
            dropout=cfg.dropout,
            embedding_dropout=cfg.embedding_dropout,
            residual=cfg.residual,
            max_source_positions=cfg.max_source_positions,
        )
        tied = shared or cfg.share_decoder_input_output_embed
        decoder = LSTMDecoder(
            target,
            target_embedding,
            target_embedding.weight if tied else None,
            hidden_size=cfg.decoder_hidden_size,
            layers=cfg.decoder_layers,
            encoder_size=encoder.output_size,
            attention=str(cfg.attention),
            input_feeding=not cfg.no_input_feeding,
            prefix_score=SCORERS[str(cfg.scorer)],
            dropout=cfg.dropout,
            embedding_dropout=cfg.embedding_dropout,
            residual=cfg.residual,
            max_target_positions=cfg.max_target_positions,
        )
        _initialise(encoder, decoder, _init_range(cfg))
        _load_pretrained(source_embedding, source, cfg.encoder_embed_path, cfg.encoder_freeze_embed)
        if not shared:
            _load_pretrained(target_embedding, target, cfg.decoder_embed_path, cfg.decoder_freeze_embed)
        return cls(encoder, decoder)

    @staticmethod
    def weight_class(name: str) -> Optional[str]:
        """The class of a parameter for pruning (See et al. 2016, section 3.1); None for one of no class of its own."""
        for pattern, kind in WEIGHT_CLASSES:
            found = re.match(pattern, name)
            if found:
                return kind(found)
        return None

    @property
    def prefix_score(self) -> PrefixScore:
        """How words and prefixes are scored."""
        return self.decoder.prefix_score

    @property
    def unnormalized(self) -> bool:
        """Whether scores are raw ``f``: no probabilities, and never divided by length."""
        return not self.prefix_score.normalized

    def set_num_updates(self, num_updates: int) -> None:
        """Kept for what depends on the progress of training (the beam curriculum)."""
        self.num_updates = num_updates
        super().set_num_updates(num_updates)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        target: Optional[Tensor] = None,
        search: Optional[SearchOptions] = None,
        word_loss: Optional[Callable[[Tensor, Scorer], Any]] = None,
        **unused,
    ):
        """Teacher forcing, or with ``search`` a search in training.

        Args:
            src_tokens: (B, S) int64.
            src_lengths: (B,) int64.
            prev_output_tokens: (B, T) int64.
            target: (B, T) int64, needed by ``search``.
            search: if given, run violation-reset search.
            word_loss: if given, what it makes of ``h~`` (B, T, H) and the scorer is returned, so that a loss that never
                holds all of ``f`` is still a part of this forward pass, which wrappers of data parallelism watch.

        Returns:
            ``(f (B, T, V), extra)``, or SearchScores.
        """
        # The hand-written gradients do not follow autocast (fairseq's --amp): such a model computes in its own type.
        with torch.autocast(src_tokens.device.type, enabled=False):
            return self._forward(src_tokens, src_lengths, prev_output_tokens, target, search, word_loss)

    def _forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        target: Optional[Tensor],
        search: Optional[SearchOptions],
        word_loss: Optional[Callable[[Tensor, Scorer], Any]],
    ):
        encoder_out = self.encoder(src_tokens, src_lengths)
        if search is None and word_loss is None:
            return self.decoder(prev_output_tokens, encoder_out)
        run = DecoderPass(self.decoder, encoder_out, prev_output_tokens.size(1))
        outputs, states, _ = run.along(prev_output_tokens)  # (T, B, H)
        if word_loss is not None:
            return word_loss(outputs.transpose(0, 1), self.decoder.scorer)
        padding, end = self.decoder.dictionary.pad(), self.decoder.dictionary.eos()
        gold = GoldRun(target, target.ne(padding).sum(1), outputs, states)
        return search_and_score(run, gold, self.decoder.scorer, self.prefix_score, padding, end, search)

    def prepare_for_inference_(self, cfg) -> None:
        """Called once by what decodes; raises BadInput if it would divide raw scores by length."""
        check_commands_options(self.prefix_score, cfg)
        super().prepare_for_inference_(cfg)

    def load_state_dict(self, state_dict, strict: bool = True, model_cfg=None, args=None):
        """Loads parameters; raises BadInput if the checkpoint was made with other dictionaries."""
        for name, side in (("encoder", self.encoder), ("decoder", self.decoder)):
            saved = state_dict.get(f"{name}.embedding.weight")
            if saved is not None and saved.size(0) != len(side.dictionary):
                raise BadInput(
                    f"the checkpoint's {name} dictionary has {saved.size(0)} symbols, but this data's has "
                    f"{len(side.dictionary)}: prepare the data with the checkpoint's dictionaries (fairseq-preprocess "
                    "--srcdict and --tgtdict)"
                )
        return super().load_state_dict(state_dict, strict, model_cfg, args)

    def get_normalized_probs(self, net_output, log_probs: bool, sample=None) -> Tensor:
        """(B, T, V) what each word adds to the score of a prefix: log-probabilities, raw ``f``, or of a model that
        scores the last word alone ``f_t - f_{t-1}``, which add up to the last ``f``.

        Raises:
            BadInput: if a model without probabilities is asked for some to train on or to average.
        """
        # fairseq's criterions, which train on probabilities, do not pass the sample; its scorer of references does.
        scores, extra = net_output
        if not self.unnormalized:
            return (utils.log_softmax if log_probs else utils.softmax)(scores, dim=-1)
        if not log_probs or (sample is None and not extra["incremental"]):
            raise BadInput(
                f"this model has --scorer {self.prefix_score.name} and no probabilities: train it with --criterion "
                "self_normalized_cross_entropy or beam_search_optimization, or give --scorer softmax"
            )
        return (
            scores.float() if self.prefix_score.cumulative else scores.float() - extra["previous_scores"].unsqueeze(-1)
        )


def _check(cfg: BsoLSTMConfig, source, target) -> None:
    """Collects everything that is wrong with the options, then raises once."""
    faults = []
    if cfg.encoder_layers != cfg.decoder_layers:
        faults.append(
            f"--encoder-layers {cfg.encoder_layers} and --decoder-layers {cfg.decoder_layers} differ: each decoder "
            "layer starts from the encoder layer beside it, give both the same number"
        )
    encoder_size = cfg.encoder_hidden_size * (2 if cfg.encoder_bidirectional else 1)
    if str(cfg.attention) == "dot" and encoder_size != cfg.decoder_hidden_size:
        faults.append(
            f"--attention dot compares encoder states of {encoder_size} with decoder states of "
            f"{cfg.decoder_hidden_size}: make them equal or take --attention general"
        )
    if cfg.share_all_embeddings:
        if source != target:
            faults.append(
                "--share-all-embeddings needs one dictionary: run fairseq-preprocess with --joined-dictionary"
            )
        if cfg.encoder_embed_dim != cfg.decoder_embed_dim:
            faults.append(
                f"--share-all-embeddings needs --encoder-embed-dim {cfg.encoder_embed_dim} equal to "
                f"--decoder-embed-dim {cfg.decoder_embed_dim}"
            )
        if cfg.decoder_embed_path:
            faults.append(
                "--decoder-embed-path has no use with --share-all-embeddings: give --encoder-embed-path alone"
            )
    if cfg.share_all_embeddings or cfg.share_decoder_input_output_embed:
        if cfg.decoder_embed_dim != cfg.decoder_hidden_size:
            faults.append(
                f"a shared scorer needs --decoder-embed-dim {cfg.decoder_embed_dim} equal to --decoder-hidden-size "
                f"{cfg.decoder_hidden_size}"
            )
        if cfg.decoder_freeze_embed:
            faults.append("--decoder-freeze-embed would freeze the shared scorer too: leave out one of the two options")
    try:
        _init_range(cfg)
    except ValueError:
        faults.append(f"--init-range is {cfg.init_range}, but must be a number above 0 or auto")
    for name in ("dropout", "embedding_dropout"):
        if not 0 <= getattr(cfg, name) < 1:
            faults.append(f"--{name.replace('_', '-')} is {getattr(cfg, name)}, but must be at least 0 and below 1")
    if faults:
        raise BadInput("bso_lstm cannot be built: " + "; ".join(faults))


def _embedding(dictionary, size: int) -> nn.Embedding:
    return nn.Embedding(len(dictionary), size, dictionary.pad())


def _init_range(cfg: BsoLSTMConfig) -> float:
    """R of ``--init-range``; raises ValueError for what is neither a number above 0 nor ``auto``."""
    if str(cfg.init_range) == "auto":
        return max(0.1, 3.4 / math.sqrt(cfg.decoder_hidden_size))
    number = float(cfg.init_range)
    if not 0 < number < math.inf:
        raise ValueError(cfg.init_range)
    return number


def _initialise(encoder: LSTMEncoder, decoder: LSTMDecoder, init_range: float) -> None:
    """Uniform in [-R, R] (section 5.1 of the paper), padding embeddings zero."""
    for module in (encoder, decoder):
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -init_range, init_range)
        with torch.no_grad():
            module.embedding.weight[module.embedding.padding_idx].zero_()


def _load_pretrained(embedding: nn.Embedding, dictionary, path: Optional[str], freeze: bool) -> None:
    if path:
        if not os.path.isfile(path):
            raise BadInput(
                f"the embedding file {path} does not exist: correct --encoder-embed-path or --decoder-embed-path"
            )
        table = utils.parse_embedding(path)
        size = len(next(iter(table.values()))) if table else 0
        if size != embedding.embedding_dim:
            raise BadInput(
                f"{path} holds vectors of {size} numbers, but the model has embeddings of {embedding.embedding_dim}: "
                "give the same size"
            )
        utils.load_embedding(table, dictionary, embedding)
    embedding.weight.requires_grad = not freeze


def _register_size(name: str, layers: int, size: int, dropout: float) -> None:
    """A named size: as many encoder as decoder layers, embeddings as wide as the layers."""

    @register_model_architecture("bso_lstm", name)
    def architecture(args) -> None:
        for side in ("encoder", "decoder"):
            for option, value in (("embed_dim", size), ("hidden_size", size), ("layers", layers)):
                setattr(args, f"{side}_{option}", getattr(args, f"{side}_{option}", value))
        args.dropout = getattr(args, "dropout", dropout)


# Sizes and dropout: Wiseman & Rush 2016, section 5 and its released settings; Kim & Rush 2016, section 4.
_register_size("bso_lstm_word_ordering", layers=2, size=256, dropout=0.2)
_register_size("bso_lstm_parsing", layers=2, size=300, dropout=0.3)
_register_size("bso_lstm_iwslt", layers=1, size=256, dropout=0.2)
_register_size("bso_lstm_4x1000", layers=4, size=1000, dropout=0.2)
_register_size("bso_lstm_2x500", layers=2, size=500, dropout=0.2)
_register_size("bso_lstm_2x300", layers=2, size=300, dropout=0.2)
_register_size("bso_lstm_tiny", layers=1, size=32, dropout=0.0)
