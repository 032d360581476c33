"""Small models of all kinds in the form that bso_runtime reads."""

from bso_runtime import weights
from bso_runtime.config import ModelConfig
from bso_runtime.model_file import Model
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


def exported(model, options, **vocabularies):
    """The output of `export` for a model that was made with `options`."""
    tensors = model.float().state_dict()
    state = {"cfg": {"model": {"scorer": "unnormalized", "max_target_positions": 1024, **options}}}
    config = ModelConfig(**weights.structure_of(tensors), **export._options(state))
    return Model(config, {name: tensor.numpy() for name, tensor in tensors.items()}, vocabularies)


def network_of(model, options):
    """The exported model as a network in numpy."""
    content = exported(model, options)
    return Network(content.config, content.tensors)
