#!/usr/bin/env bash
# fairseq-fixed 0.12.3.1: `--no-repeat-ngram-size N` has no effect without fairseq's CUDA extension, so on every CPU.
#
# The help says "ngram blocking such that this size ngram cannot be repeated in the generation". `_no_repeat_ngram` in
# fairseq/ngram_repeat_block.py compares the last N - 1 entries of `tokens` with what was written. The generator
# (fairseq/sequence_generator.py) passes its whole buffer, whose last entries are padding until the longest output. Two
# open issues of fairseq say so (4709, 5206). With N = 1 the method bans no word in any case: `[-0:]` is all of a list.
#
# Seen: after `5 6 5` the word 6 is banned for N = 2 if the buffer ends there, and allowed if padding follows.
#
# Exits with 0 while this is so, and with 1 once it has changed: fairseq_bso/decoding/repeated_ngrams.py can then go.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q fairseq-fixed==0.12.3.1 torch==2.13.0 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys

import torch
from fairseq.ngram_repeat_block import NGramRepeatBlock

PADDING, END = 1, 2
seen = []
for size, rest in ((2, 0), (2, 3), (1, 0)):
    buffer = torch.tensor([[END, 5, 6, 5] + [PADDING] * rest])
    scores = NGramRepeatBlock(size, use_extension=False)(buffer, torch.zeros(1, 10), 1, 1, 3)
    banned = scores[0].isinf().nonzero().flatten().tolist()
    print(f"N = {size}, {rest} padding after `5 6 5`: banned {banned}")
    seen.append(banned)
known = [[6], [], []]
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
