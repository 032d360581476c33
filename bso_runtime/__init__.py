"""Runs models that `fairseq-bso export` wrote, with numpy alone: neither fairseq nor torch is imported here.

container  the file: its parts, checksum and number formats
network    the model of fairseq_bso/models/bso_lstm.py, one sentence at a time
search     beam search as fairseq's generator does it
text       lines to word numbers and back
command    the `fairseq-bso` command: `translate` from here, all else from fairseq_bso
"""
