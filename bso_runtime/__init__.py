"""Runs models that `fairseq-bso export` wrote, with numpy alone: neither fairseq nor torch is imported here.

container     the compact file: its parts, checksum and number formats
network       the model of fairseq_bso/models/bso_lstm.py, a batch of sentences at a time
products      its matrix products, made for few rows
onnx_network  the same from a pair of ONNX graphs, by ONNX Runtime
search        beam search as fairseq's generator does it
successors    which words may follow a prefix
text          lines to word numbers and back
command       the `fairseq-bso` command: `translate` from here, all else from fairseq_bso
"""
