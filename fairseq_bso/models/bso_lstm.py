"""``--arch bso_lstm``: the attentional LSTM of Wiseman & Rush 2016."""

import re
from typing import Any, Callable, ClassVar, List, Optional, Sequence

import torch
from fairseq import utils
from fairseq.models import FairseqEncoderDecoderModel, register_model, register_model_architecture
from torch import Tensor, nn

from ..errors import UserError
from ..search.decoder import Decoder, GoldRun
from ..search.scorer import SCORERS, PrefixScore, Scorer
from ..unit_sets import Named, UnitSet
from .decoder import DecoderPass, LSTMDecoder
from .encoder import LSTMEncoder
from .options import NAMED_SIZES, BsoLSTMConfig, check_options, init_range
from .unit_layout import unit_sets
from .word_vectors import load_vectors

__all__ = ["BsoLSTMConfig", "BsoLSTMModel"]


WEIGHT_CLASSES = (
    (r"encoder\.embedding", lambda _: "source_embedding"),
    (r"decoder\.embedding", lambda _: "target_embedding"),
    (r"encoder\.layers\.(\d+)", lambda match: f"encoder_layer_{int(match[1]) + 1}"),
    (r"decoder\.(input_projection|first_layer)", lambda _: "decoder_layer_1"),
    (r"decoder\.upper_layers\.(\d+)", lambda match: f"decoder_layer_{int(match[1]) + 2}"),
    (r"decoder\.initial_", lambda _: "initial_state"),
    (r"(encoder|decoder)\.attention", lambda _: "attention"),
    (r"decoder\.output", lambda _: "scorer"),
)
"""(pattern, class of a match): the first pattern that a parameter's name starts with gives its class for pruning"""


@register_model("bso_lstm", dataclass=BsoLSTMConfig)
class BsoLSTMModel(FairseqEncoderDecoderModel):
    """Stacked LSTM encoder and decoder with Luong attention and input feeding (Luong et al. 2015)."""

    decoding_checks: ClassVar[List[Callable[[PrefixScore, Any], None]]] = []
    """functions of the prefix score and fairseq's config, called before decoding; fairseq_bso/plugins.py fills it"""

    @classmethod
    def build_model(cls, cfg: BsoLSTMConfig, task) -> "BsoLSTMModel":
        """Builds the model. Raises UserError that names all options that do not fit."""
        source, target = task.source_dictionary, task.target_dictionary
        check_options(cfg, source, target)
        source_embedding = _embedding(source, cfg.encoder_embed_dim)
        shared = cfg.share_all_embeddings
        target_embedding = source_embedding if shared else _embedding(target, cfg.decoder_embed_dim)
        encoder = _encoder(cfg, source, source_embedding)
        decoder = _decoder(cfg, target, target_embedding, encoder.output_size)
        _initialise(encoder, decoder, init_range(cfg))
        _prepare_embedding(cfg, "encoder", source_embedding, source)
        if not shared:
            _prepare_embedding(cfg, "decoder", target_embedding, target)
        return cls(encoder, decoder)

    @staticmethod
    def weight_class(name: str) -> Optional[str]:
        """The class of a parameter for pruning (See et al. 2016, section 3.1); None if no pattern matches."""
        for pattern, kind in WEIGHT_CLASSES:
            match = re.match(pattern, name)
            if match:
                return kind(match)
        return None

    @staticmethod
    def unit_sets(parameters: Sequence[Named], residual: bool) -> List[UnitSet]:
        """The units for pruning, of a model with these parameters; see unit_layout.py."""
        return unit_sets(parameters, residual)

    @property
    def residual(self) -> bool:
        """Whether a layer from the second on adds its input to its output."""
        return self.decoder.residual

    @property
    def prefix_score(self) -> PrefixScore:
        """The score of words and prefixes."""
        return self.decoder.prefix_score

    @property
    def unnormalized(self) -> bool:
        """Whether scores are raw: no probabilities, and never divided by length."""
        return not self.prefix_score.normalized

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        target: Optional[Tensor] = None,
        search: Optional[Callable[[Decoder, GoldRun], Any]] = None,
        word_loss: Optional[Callable[[Tensor, Scorer], Any]] = None,
        **unused,
    ):
        """Teacher forcing, or the training search if ``search`` is given. ``f`` are the scores of the output layer.

        Args:
            src_tokens: (B, S) int64.
            src_lengths: (B,) int64.
            prev_output_tokens: (B, T) int64.
            target: (B, T) int64, needed by ``search``.
            search: a function of the decoder on this batch and its gold run, such as ``search_and_score``.
            word_loss: a function of the attentional vectors (B, T, H) and the output layer. A loss in blocks of words
                then runs inside this forward pass, as wrappers of data parallelism require.

        Returns:
            ``(f (B, T, V), extra)``, or the result of ``search`` or ``word_loss``.
        """
        # The hand-written gradients do not support autocast (fairseq's --amp), so the model computes in its own type.
        with torch.autocast(src_tokens.device.type, enabled=False):
            encoder_out = self.encoder(src_tokens, src_lengths)
            if search is None and word_loss is None:
                return self.decoder(prev_output_tokens, encoder_out)
            run = DecoderPass(self.decoder, encoder_out, prev_output_tokens.size(1))
            outputs, states, _ = run.along(prev_output_tokens)  # (T, B, H)
            if word_loss is not None:
                return word_loss(outputs.transpose(0, 1), self.decoder.scorer)
            run.gold_states = states
            return search(run, GoldRun(target, target.ne(run.padding).sum(1), outputs))

    def prepare_for_inference_(self, cfg) -> None:
        """Called once before decoding. Raises UserError if the options would divide raw scores by length."""
        for check in self.decoding_checks:
            check(self.prefix_score, cfg)
        super().prepare_for_inference_(cfg)

    def load_state_dict(self, state_dict, strict: bool = True, model_cfg=None, args=None):
        """Loads parameters. Raises UserError if the checkpoint belongs to other dictionaries."""
        for name, side in (("encoder", self.encoder), ("decoder", self.decoder)):
            saved = state_dict.get(f"{name}.embedding.weight")
            if saved is not None and saved.size(0) != len(side.dictionary):
                raise UserError(
                    f"the checkpoint's {name} dictionary has {saved.size(0)} symbols, but this data's has "
                    f"{len(side.dictionary)}: prepare the data with the checkpoint's dictionaries (fairseq-preprocess "
                    "--srcdict and --tgtdict)"
                )
        return super().load_state_dict(state_dict, strict, model_cfg, args)

    def get_normalized_probs(self, net_output, log_probs: bool, sample=None) -> Tensor:
        """(B, T, V) what each word adds to the score of a prefix. ``--scorer`` decides what that is.

        softmax        log-probabilities
        summed         raw scores ``f``
        unnormalized   differences ``f_t - f_{t-1}``, which sum to the last ``f``

        Raises:
            UserError: if a model without probabilities is asked for probabilities to train on or to average.
        """
        # fairseq's criterions train on probabilities and pass no sample; its scorer of references passes one.
        scores, extra = net_output
        if not self.unnormalized:
            return (utils.log_softmax if log_probs else utils.softmax)(scores, dim=-1)
        if not log_probs or (sample is None and not extra["incremental"]):
            raise UserError(
                f"this model has --scorer {self.prefix_score.name} and no probabilities: train it with --criterion "
                "self_normalized_cross_entropy or beam_search_optimization, or give --scorer softmax"
            )
        if self.prefix_score.cumulative:
            return scores.float()
        return scores.float() - extra["previous_scores"].unsqueeze(-1)


def _embedding(dictionary, size: int) -> nn.Embedding:
    """An embedding for each symbol of a dictionary."""
    return nn.Embedding(len(dictionary), size, dictionary.pad())


def _encoder(cfg: BsoLSTMConfig, dictionary, embedding: nn.Embedding) -> LSTMEncoder:
    """The encoder that the options describe."""
    return LSTMEncoder(
        dictionary,
        embedding,
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


def _decoder(cfg: BsoLSTMConfig, dictionary, embedding: nn.Embedding, encoder_size: int) -> LSTMDecoder:
    """The decoder that the options describe, over encoder states of ``encoder_size``."""
    tied = cfg.share_all_embeddings or cfg.share_decoder_input_output_embed
    return LSTMDecoder(
        dictionary,
        embedding,
        embedding.weight if tied else None,
        hidden_size=cfg.decoder_hidden_size,
        layers=cfg.decoder_layers,
        encoder_size=encoder_size,
        attention=str(cfg.attention),
        input_feeding=not cfg.no_input_feeding,
        prefix_score=SCORERS[str(cfg.scorer)],
        dropout=cfg.dropout,
        embedding_dropout=cfg.embedding_dropout,
        residual=cfg.residual,
        max_target_positions=cfg.max_target_positions,
    )


def _initialise(encoder: LSTMEncoder, decoder: LSTMDecoder, bound: float) -> None:
    """Draws parameters uniformly from [-bound, bound] (section 5.1 of the paper). Padding embeddings are zero."""
    for module in (encoder, decoder):
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -bound, bound)
        with torch.no_grad():
            module.embedding.weight[module.embedding.padding_idx].zero_()


def _prepare_embedding(cfg: BsoLSTMConfig, side: str, embedding: nn.Embedding, dictionary) -> None:
    """Loads pretrained embeddings of one side, and freezes them, if the options ask for it.

    Raises:
        UserError: the file cannot be read, or holds vectors of another size.
    """
    path = getattr(cfg, f"{side}_embed_path")
    if path:
        load_vectors(path, f"--{side}-embed-path", embedding, dictionary)
    embedding.weight.requires_grad = not getattr(cfg, f"{side}_freeze_embed")


for _name, _size in NAMED_SIZES.items():
    register_model_architecture("bso_lstm", _name)(_size.fill)
