"""A dictionary, a task and small models for tests, without files."""

from argparse import Namespace

import torch
from fairseq.data import Dictionary

from fairseq_bso.models.bso_lstm import BsoLSTMConfig, BsoLSTMModel

VARIANTS = [
    {},
    {"encoder_layers": 2, "decoder_layers": 2},
    {"encoder_layers": 3, "decoder_layers": 3, "residual": True, "share_all_embeddings": True},
    {"encoder_bidirectional": True, "no_input_feeding": True, "share_decoder_input_output_embed": True},
    {"attention": "dot", "encoder_layers": 2, "decoder_layers": 2},
    {"attention": "mlp", "encoder_bidirectional": True, "decoder_hidden_size": 4},
    {"encoder_hidden_size": 3, "decoder_embed_dim": 2, "dropout": 0.4, "embedding_dropout": 0.3},
    {"encoder_layers": 2, "decoder_layers": 2, "residual": True, "dropout": 0.4, "attention": "mlp"},
]
"""Options of ``bso_lstm``: layers, directions, kinds of attention, shared embeddings, sizes and dropout."""


def dictionary(words: int) -> Dictionary:
    """``words`` words after fairseq's four special symbols."""
    made = Dictionary()
    for index in range(words):
        made.add_symbol(f"word{index}")
    return made


class FakeTask:
    """The parts of a task that models and criterions use."""

    def __init__(self, words: int = 6) -> None:
        self.source_dictionary = self.target_dictionary = dictionary(words)
        self.cfg = Namespace(left_pad_source=True)


def model(seed: int = 0, task: FakeTask = None, **options) -> BsoLSTMModel:
    """A float64 model in eval mode with 5 units by default. Its random weights are large, so that scores differ."""
    sizes = {f"{side}_{name}": 5 for side in ("encoder", "decoder") for name in ("embed_dim", "hidden_size")}
    values = {"max_source_positions": 1024, "max_target_positions": 1024, "dropout": 0.0, "init_range": 0.8}
    config = BsoLSTMConfig(**{**sizes, **values, "scorer": "unnormalized", **options})
    torch.manual_seed(seed)
    return BsoLSTMModel.build_model(config, task or FakeTask()).double().eval()


def batch(model: BsoLSTMModel, sources, golds):
    """``net_input`` and target of sentences given as word ids; sources are padded on the left, as in fairseq."""
    padding, end = model.decoder.dictionary.pad(), model.decoder.dictionary.eos()
    src = torch.full((len(sources), max(map(len, sources))), padding)
    target = torch.full((len(golds), max(map(len, golds))), padding)
    previous = target.clone()
    for row, (source, gold) in enumerate(zip(sources, golds)):
        src[row, src.size(1) - len(source) :] = torch.tensor(source)
        target[row, : len(gold)] = torch.tensor(gold)
        previous[row, : len(gold)] = torch.tensor([end, *gold[:-1]])
    lengths = torch.tensor([len(source) for source in sources])
    return {"src_tokens": src, "src_lengths": lengths, "prev_output_tokens": previous}, target
