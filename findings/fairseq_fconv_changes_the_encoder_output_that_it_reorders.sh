#!/usr/bin/env bash
# fairseq-fixed 0.12.3.1: the encoder of `--arch fconv` writes a reordering into the encoder output that it is given. A
# second reordering of the same output starts from the rows of the first one.
#
# The docstring of `FairseqEncoder.reorder_encoder_out` promises to return "`encoder_out` rearranged according to
# `new_order`". `reorder_encoder_out` of `FConvEncoder` in fairseq/models/fconv.py assigns the new rows to the dict that
# it received, and returns that dict. The encoders of transformer and lstm leave theirs as it is. fairseq's generator
# does not notice, because it goes on with what it got back. fairseq 0.12.2 has the same lines.
#
# Seen: two swaps of one output both give swapped rows for transformer and lstm; the second one of fconv gives the rows
# as they were. 2 sentences repeated for a beam of 3 give 3 rows of each; a second repetition in fconv gives 6 rows of
# the first sentence.
#
# Exits with 0 while this is so, and with 1 once it has changed: the copy in `reordered` in
# fairseq_bso/models/any_model.py can then go.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q fairseq-fixed==0.12.3.1 torch==2.13.0 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
from argparse import Namespace

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

words = Dictionary()
for word in "abcdef":
    words.add_symbol(word)
sources, lengths = torch.tensor([[4, 5, 6, 2], [7, 8, 9, 2]]), torch.tensor([4, 4])
small = {"encoder_embed_dim": 8, "decoder_embed_dim": 8, "max_source_positions": 9, "max_target_positions": 9}


def part(output):
    """The first tensor of an encoder's output."""
    return output[0] if isinstance(output, tuple) else output["encoder_out"][0]


def sentences(arch, order):
    """Which sentence is in each row of two reorderings of one encoder output."""
    options = Namespace(**small, criterion="cross_entropy")
    if arch == "fconv":
        options.encoder_layers = options.decoder_layers = "[(8, 3)]"
    ARCH_CONFIG_REGISTRY[arch](options)
    task = Namespace(source_dictionary=words, target_dictionary=words)
    encoder = ARCH_MODEL_REGISTRY[arch].build_model(options, task).encoder.eval()
    output, found = encoder(sources, lengths), []
    batch = 0 if arch == "fconv" else 1  # the dimension of the rows
    own = part(output).unbind(batch)
    for _ in range(2):
        rearranged = encoder.reorder_encoder_out(output, torch.tensor(order))
        found.append([int(torch.equal(row, own[1])) for row in part(rearranged).unbind(batch)])
    return found


swap, repeat = [1, 0], [0, 0, 0, 1, 1, 1]
known = {arch: [[swap, swap], [repeat, repeat]] for arch in ("transformer", "lstm")}
known["fconv"] = [[swap, [0, 1]], [repeat, [0, 0, 0, 0, 0, 0]]]
with torch.no_grad():
    seen = {arch: [sentences(arch, order) for order in (swap, repeat)] for arch in known}
for arch, found in seen.items():
    for order, (one, two) in zip((swap, repeat), found):
        print(f"{arch}, order {order}: sentences {one}, and the second time {two}")
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
