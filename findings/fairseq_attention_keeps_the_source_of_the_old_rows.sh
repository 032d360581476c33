#!/usr/bin/env bash
# fairseq-fixed 0.12.3.1 reorders half of a Transformer's incremental state: hypotheses attend to the source of another
# sentence after a reordering across sentences that keeps the number of rows. There is no error and no warning.
#
# The docstring of `FairseqIncrementalDecoder.reorder_incremental_state` says that it is for a changed "order of the
# input", with beam search as "a typical use case". `MultiheadAttention.reorder_incremental_state` in
# fairseq/modules/multihead_attention.py returns early in the attention to the source if the number of rows stays the
# same. Cached keys and values of the source stay where they were, and those of the target move. fairseq's own beam
# search does not notice: it reorders within a sentence or removes sentences. fairseq 0.12.2 has the same lines, and
# fairseq2 has an open question about the same shortcut (its issue 307).
#
# Seen: rows swapped between two sentences score as with the swapped words and the sources of before. With one row more,
# everything moves.
#
# Exits with 0 while this is so, and with 1 once it has changed: the row that `AnyDecoder.extend` adds in
# fairseq_bso/models/any_decoder.py can then go.
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
from fairseq.models.transformer import TransformerModel, base_architecture

torch.manual_seed(1)
words = Dictionary()
for word in "abcdef":
    words.add_symbol(word)
sizes = {"encoder_embed_dim": 8, "encoder_layers": 1, "decoder_layers": 1, "decoder_attention_heads": 2}
options = Namespace(**sizes, max_source_positions=9, max_target_positions=9)
base_architecture(options)
model = TransformerModel.build_model(options, Namespace(source_dictionary=words, target_dictionary=words)).eval()
encoder, decoder = model.encoder, model.decoder
sources, lengths = torch.tensor([[4, 5, 6, 2], [7, 8, 9, 2]]), torch.tensor([4, 4])
targets = torch.tensor([[2, 4], [2, 7]])  # two words of each of two sentences


def whole(target_rows, source_rows):
    """Log-probabilities of the word after two target words, by teacher forcing."""
    memory = encoder(sources[source_rows], lengths[source_rows])
    return model.get_normalized_probs(decoder(targets[target_rows], encoder_out=memory), log_probs=True)[:, -1]


def stepwise(order):
    """The same by incremental decoding: one word for each sentence, then a reordering, then the second word."""
    memory, state = encoder(sources, lengths), {}
    decoder(targets[:, :1], encoder_out=memory, incremental_state=state)
    decoder.reorder_incremental_state_scripting(state, order)
    memory = encoder.reorder_encoder_out(memory, order)
    found = decoder(targets[order], encoder_out=memory, incremental_state=state)
    return model.get_normalized_probs(found, log_probs=True)[:, -1]


seen = {}
with torch.no_grad():
    for rows in ([0, 1], [1, 0], [1, 0, 0]):
        order = torch.tensor(rows)
        kept = torch.tensor([0, 1, 0])[: len(rows)]
        right, old = ((stepwise(order) - whole(order, source)).abs().max().item() for source in (order, kept))
        print(f"rows {rows}: {right:.3f} from the scores with their own sources, {old:.3f} with the sources of before")
        seen[tuple(rows)] = (right < 1e-4, old < 1e-4)
known = {(0, 1): (True, True), (1, 0): (False, True), (1, 0, 0): (True, False)}
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
