"""Runs models that `fairseq-bso export` wrote, with numpy alone: neither fairseq nor torch is imported here.

cli           the `fairseq-bso` command: `translate` from here, everything else from fairseq_bso
endings       how a program ends: at Ctrl-C, and where its output is not read
translate     `fairseq-bso translate`
translator    the Python interface, `Translator(path).translate(lines)`
model_file    the compact file: its parts, its checksum and its number formats
files         atomic writes
config        the kind of a model
weights       the parameters of a model, by their names in a checkpoint
network       the model of fairseq_bso/models/bso_lstm.py, a batch of sentences at a time
onnx_network  the same from a pair of ONNX graphs, by ONNX Runtime
beam_search   greedy and beam search, with the rules of decoding
live          the hypotheses of a search, step by step
ranking       the best extensions of hypotheses
shortlist     the few words that may come out for a sentence
constraints   which words may follow a prefix
vocabulary    lines of text to word ids and back
matmul        matrix products with few rows
"""

from .model_file import ModelFileError
from .translator import Translator

__all__ = ["ModelFileError", "Translator"]
