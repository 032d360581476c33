#!/usr/bin/env bash
# torch 2.13.0: `torch.nn.utils.prune` prunes one of two layers that share a weight, and `prune.remove` then prunes
# the other. The scores of a model with tied embeddings change in the call that only makes the pruning permanent.
#
# The docstring of `prune.remove` says that it removes the reparameterization and that the pruned parameter "remains
# permanently pruned". `BasePruningMethod.apply` in torch/nn/utils/prune.py stores the masked weight in the module
# that it is given. The other module keeps the parameter itself, without the mask. `remove` writes the masked values
# into that parameter, so it changes what the other module computes. Until then gradients reach masked weights through
# the other module.
#
# Seen: the output layer of a tied model is pruned to a half. The embedding has no zero, and training moves masked
# weights. `remove` gives the embedding the same zeros, and the scores differ by more than 0.5. With both layers in
# one `global_unstructured`, both are pruned alike and `remove` changes nothing, but masks are stored and counted
# twice.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here uses it: fairseq_bso/prune holds one
# mask for a parameter under all its names. tests/plugin/test_pruning_callback.py holds that all its places have the
# same zeros.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: torch==2.13.0 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch import nn
from torch.nn.utils import prune

WORDS, UNITS = 10, 4
words = torch.arange(WORDS)


def model(tied):
    """An embedding and an output layer, with one weight or with two equal ones."""
    torch.manual_seed(1)
    embedding, output = nn.Embedding(WORDS, UNITS), nn.Linear(UNITS, WORDS, bias=False)
    output.weight = embedding.weight if tied else nn.Parameter(embedding.weight.detach().clone())
    return embedding, output


def zeros(layer):
    return int((layer.weight == 0).sum())


def observe(tied, both):
    embedding, output = model(tied)
    if both:
        prune.global_unstructured([(embedding, "weight"), (output, "weight")], prune.L1Unstructured, amount=0.5)
    else:
        prune.l1_unstructured(output, "weight", amount=0.5)
    first = zeros(embedding), zeros(output)
    masked = output.weight_mask == 0
    before = output.weight_orig.detach().clone()
    optimizer = torch.optim.SGD(nn.ModuleList([embedding, output]).parameters(), lr=0.1)
    nn.functional.cross_entropy(output(embedding(words)), words).backward()
    optimizer.step()
    moved = int((output.weight_orig != before)[masked].sum())
    scores = output(embedding(words)).detach()
    for layer in (embedding, output):
        if prune.is_pruned(layer):
            prune.remove(layer, "weight")
    change = (output(embedding(words)) - scores).abs().max().item()
    return first, moved, (zeros(embedding), zeros(output)), change


seen = {}
cases = {"two weights": (False, False), "one weight": (True, False), "one weight, both layers": (True, True)}
for name, (tied, both) in cases.items():
    first, moved, last, change = observe(tied, both)
    print(f"{name}: zeros of the embedding and the output layer {first}, {moved} masked weights are moved by training;")
    print(f"    after remove {last}, scores differ by {change:.2f}")
    seen[name] = (first, moved > 0, last, change > 0.5)
known = {
    "two weights": ((0, 20), False, (0, 20), False),
    "one weight": ((0, 20), True, (20, 20), True),
    "one weight, both layers": ((20, 20), False, (20, 20), False),
}
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
