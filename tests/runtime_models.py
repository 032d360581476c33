"""Small models of all kinds, as bso_runtime reads them."""

from bso_runtime.network import Network
from fairseq_bso.export import command as export

VARIANTS = [
    {},
    {"encoder_layers": 3, "decoder_layers": 3, "residual": True, "share_all_embeddings": True},
    {"encoder_bidirectional": True, "no_input_feeding": True, "share_decoder_input_output_embed": True},
    {"encoder_layers": 2, "decoder_layers": 2, "attention": "dot"},
    {"attention": "mlp", "encoder_bidirectional": True, "encoder_layers": 2, "decoder_layers": 2, "residual": True},
    {"encoder_hidden_size": 3, "decoder_embed_dim": 2},
]


def facts_and_tensors(model, options):
    """What `export` writes of a model that was made with `options`."""
    tensors = model.float().state_dict()
    config = {"scorer": "unnormalized", "max_target_positions": 1024, **options}
    facts = export._facts({"cfg": {"model": config}}, tensors)
    return facts, {name: one.numpy() for name, one in tensors.items()}


def network_of(model, options):
    """The same in numpy."""
    return Network(*facts_and_tensors(model, options))
