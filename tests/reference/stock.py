"""Tiny models of fairseq's own architectures, built by fairseq, with large random weights."""

from argparse import Namespace
from contextlib import contextmanager
from typing import Dict, List, Optional, Sequence

import torch
from fairseq import utils
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from torch.nn import functional

from fairseq_bso.compat import SEARCHABLE

from . import fakes

SIDES = ("encoder", "decoder")
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "relu_dropout": 0.0, "activation_dropout": 0.0}


def _both(**values):
    return {f"{side}_{name}": value for side in SIDES for name, value in values.items()}


SMALL_ATTENTION = _both(embed_dim=6, ffn_embed_dim=7, layers=1, attention_heads=2)
SMALL = {
    "transformer": SMALL_ATTENTION,
    "lightconv": {
        **SMALL_ATTENTION,
        **_both(kernel_size_list=[3], glu=True, conv_type="lightweight"),
        "weight_softmax": True,
        "input_dropout": 0.0,
        "weight_dropout": 0.0,
    },
    "lstm": {**_both(embed_dim=5, hidden_size=5), "decoder_out_embed_dim": 5, "criterion": "cross_entropy"},
    "fconv": {**_both(embed_dim=5, layers="[(6, 3)]"), "decoder_out_embed_dim": 4},
}

VARIANTS = {
    "transformer": ("transformer", {}),
    "transformer_two_layers": ("transformer", {**_both(layers=2), "share_decoder_input_output_embed": True}),
    "transformer_learned": ("transformer", {**_both(learned_pos=True), "share_all_embeddings": True}),
    "transformer_pre_norm": ("transformer", {**_both(normalize_before=True), "activation_fn": "gelu"}),
    "transformer_learned_pre_norm": (
        "transformer",
        {
            **_both(learned_pos=True, normalize_before=True, layers=2),
            "layernorm_embedding": True,
            "share_decoder_input_output_embed": True,
        },
    ),
    "transformer_other_sizes": (
        "transformer",
        {
            "encoder_embed_dim": 4,
            "decoder_output_dim": 5,
            "decoder_input_dim": 8,
            "no_token_positional_embeddings": True,
            "no_scale_embedding": True,
        },
    ),
    "transformer_cross_self": ("transformer", {"cross_self_attention": True}),
    "transformer_cross_self_alone": ("transformer", {"cross_self_attention": True, "no_cross_attention": True}),
    "transformer_no_cross": ("transformer", {"no_cross_attention": True, "decoder_layers": 2}),
    "transformer_checkpointed": ("transformer", {"checkpoint_activations": True, "decoder_layers": 2}),
    "lstm": ("lstm", {}),
    "lstm_two_layers": ("lstm", {**_both(layers=2), "encoder_bidirectional": True, "decoder_out_embed_dim": 4}),
    "lstm_tied": ("lstm", {"share_all_embeddings": True, "decoder_attention": "False"}),
    "lightconv": ("lightconv", {"share_decoder_input_output_embed": True}),
    "lightconv_two_layers": (
        "lightconv",
        {**_both(layers=2, kernel_size_list=[3, 5], glu=False, normalize_before=True, learned_pos=True)},
    ),
    "lightconv_dynamic": ("lightconv", _both(conv_type="dynamic")),
    "fconv": ("fconv", {}),
    "fconv_two_layers": (
        "fconv",
        {
            "decoder_layers": "[(6, 3), (4, 2)]",
            "decoder_attention": "[True, False]",
            "decoder_out_embed_dim": 5,
            "share_input_output_embed": True,
        },
    ),
}
"""name -> (the architecture, its options)"""
VARIANTS = {name: variant for name, variant in VARIANTS.items() if variant[0] in SEARCHABLE}


def of_these(*names):
    """Those of some variants that this release of fairseq has."""
    return [name for name in names if name in VARIANTS or name == "bso_lstm"]


NOISE = {"transformer": 1.2, "lightconv": 1.2, "lstm": 2.0, "fconv": 1.6}
"""the range of the random numbers that are added to matrices"""


def build(arch: str, task=None, **options):
    """A model of a registered architecture, as fairseq builds it from a command line."""
    args = Namespace(**{"max_source_positions": 64, "max_target_positions": 64, **NO_DROPOUT, **options})
    ARCH_CONFIG_REGISTRY[arch](args)
    return ARCH_MODEL_REGISTRY[arch].build_model(args, task or fakes.FakeTask())


def model(variant: str, seed: int = 0, task=None, scale: Optional[float] = None, **options):
    """A float64 model in eval mode. Its random weights are large, so that scores differ."""
    arch, own = VARIANTS[variant]
    torch.manual_seed(seed)
    made = build(arch, task, **{**SMALL[arch], **own, **options}).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            noise = 0.3 if parameter.dim() == 1 else scale or NOISE[arch]
            parameter.add_(torch.empty_like(parameter).uniform_(-noise, noise))
    return made


def batch(task, sources: Sequence[Sequence[int]], golds: Sequence[Sequence[int]]) -> Dict:
    """The sample of sentences given as word ids, as fairseq collates it: sources padded on the left, longest first."""
    assert [len(source) for source in sources] == sorted(map(len, sources), reverse=True)
    end, padding = task.target_dictionary.eos(), task.target_dictionary.pad()
    src = _padded(sources, padding, left=True)
    target = _padded(golds, padding)
    previous = _padded([[end, *gold[:-1]] for gold in golds], padding)
    lengths = torch.tensor([len(source) for source in sources])
    return {
        "id": torch.arange(len(golds)),
        "nsentences": len(golds),
        "ntokens": sum(map(len, golds)),
        "net_input": {"src_tokens": src, "src_lengths": lengths, "prev_output_tokens": previous},
        "target": target,
    }


def _padded(rows: Sequence[Sequence[int]], padding: int, left: bool = False) -> torch.Tensor:
    longest = max(map(len, rows))
    filled: List[List[int]] = []
    for row in rows:
        fill = [padding] * (longest - len(row))
        filled.append([*fill, *row] if left else [*row, *fill])
    return torch.tensor(filled)


@contextmanager
def double_precision():
    """fairseq computes softmaxes, and scores of attention beside padding, in float32; in here they keep float64."""
    kept = utils.softmax, utils.log_softmax, torch.Tensor.float
    to_float = torch.Tensor.float
    utils.softmax = lambda x, dim, onnx_trace=False: functional.softmax(x, dim=dim)
    utils.log_softmax = lambda x, dim, onnx_trace=False: functional.log_softmax(x, dim=dim)
    torch.Tensor.float = lambda self: self if self.dtype == torch.float64 else to_float(self)
    try:
        yield
    finally:
        utils.softmax, utils.log_softmax, torch.Tensor.float = kept


def likely_gold(scores, longest: int, draw, vocabulary, sharpness: float = 3.0, allows=None) -> List[int]:
    """Words that the model itself likes, so that gold stays on the beam for several steps.

    Args:
        scores: prefix -> (V,) log-probabilities.
        longest: the maximum number of words, including ``</s>``.
        draw: returns a number in [0, 1).
        vocabulary: the target dictionary.
        sharpness: words are drawn from the model's probabilities to this power. ``</s>`` is drawn less often, so that
            hypotheses end before gold does.
        allows: prefix -> the words that a constraint allows; None allows any word.
    """
    gold: List[int] = []
    while vocabulary.eos() not in gold:
        with torch.no_grad():
            chances = (sharpness * scores(gold)).exp()
        chances[vocabulary.pad()] = 0
        if allows is not None:
            chances[[word for word in range(len(vocabulary)) if word not in allows(gold)]] = 0
        elif len(gold) == longest - 1:
            return [*gold, vocabulary.eos()]
        else:
            chances[vocabulary.eos()] *= 0.3 if gold else 0
        place = torch.searchsorted(chances.cumsum(0), draw() * float(chances.sum()), right=True)
        gold.append(min(int(place), int(chances.nonzero().max())))
    return gold
