"""Runs models that `fairseq-bso export` wrote, with numpy alone: neither fairseq nor torch is imported here.

cli           the `fairseq-bso` command: `translate` from here, all else from fairseq_bso
translate     `fairseq-bso translate`
model_file    the compact file: its parts, checksum and number formats
network       the model of fairseq_bso/models/bso_lstm.py, a batch of sentences at a time
onnx_network  the same from a pair of ONNX graphs, by ONNX Runtime
beam_search   beam search as fairseq's generator does it
constraints   which words may follow a prefix
vocabulary    lines to word numbers and back
matmul        matrix products, made for few rows
"""
