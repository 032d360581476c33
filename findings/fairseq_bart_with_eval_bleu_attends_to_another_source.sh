#!/usr/bin/env bash
# fairseq-fixed 0.12.3.1: with --eval-bleu, BART trains four of five sentences on the source of another sentence.
#
# The help of --eval-bleu is "evaluation with BLEU scores". With it, `TranslationTask.build_model` in
# fairseq/tasks/translation.py makes a generator before training starts, with a beam of 5 by default. The generator
# passes its beam to `set_beam_size` of the model, which only `BARTModel` in fairseq/models/bart/model.py has. From then
# on, `MultiheadAttention.forward` takes the rows of a batch for the hypotheses of beams, in teacher forcing too: five
# consecutive sentences attend to the source of the first one. fairseq 0.12.2 has the same lines.
#
# Seen: the source of each of 10 sentences is replaced in turn. Without --eval-bleu this changes the scores of every
# such sentence, with it only those of sentences 0 and 5. A batch of 7 sentences raises an exception. A Transformer's
# scores change with the own source in both cases.
#
# Exits with 0 while this is so, and with 1 once it has changed: `without_beam` in
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
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.tasks.translation import TranslationConfig, TranslationTask

words = Dictionary()
for word in "abcdef":
    words.add_symbol(word)
small = {"encoder_embed_dim": 8, "encoder_layers": 1, "decoder_layers": 1, "max_target_positions": 9}
small.update(encoder_attention_heads=2, decoder_attention_heads=2, max_source_positions=9)


def build(arch, eval_bleu):
    """A model as fairseq-train makes it."""
    torch.manual_seed(1)
    options = Namespace(arch=arch, **small)
    ARCH_CONFIG_REGISTRY[arch](options)
    return TranslationTask(TranslationConfig(eval_bleu=eval_bleu), words, words).build_model(options).eval()


def scores(model, sources):
    """Teacher forcing of the same target words for every source."""
    return model(sources, torch.full((len(sources),), 6), torch.tensor([[2, 4, 5]] * len(sources)))[0]


def dependent(model):
    """The sentences of a batch of 10 whose scores change with their own source."""
    sources = torch.randint(4, 10, (10, 6))
    change = torch.eye(10, dtype=torch.long).unsqueeze(2) * (13 - 2 * sources)  # of the words of one sentence at a time
    before = scores(model, sources)
    return [row for row in range(10) if not torch.equal(scores(model, sources + change[row])[row], before[row])]


seen = {}
with torch.no_grad():
    for arch, bleu in ((arch, bleu) for arch in ("transformer", "bart_base") for bleu in (False, True)):
        seen[arch, bleu] = dependent(build(arch, bleu))
        print(f"{arch}, eval_bleu={bleu}: scores change with the own source for sentences {seen[arch, bleu]}")
    try:
        error = f"shape {list(scores(build('bart_base', True), torch.full((7, 6), 4)).shape)}"
    except RuntimeError as raised:
        error = f"RuntimeError: {raised}"
print(f"bart_base, eval_bleu=True, 7 sentences: {error}")
known = {**dict.fromkeys(seen, list(range(10))), ("bart_base", True): [0, 5]}
right = seen == known and "is invalid for input of size" in error
print("as described" if right else "the behaviour has changed")
sys.exit(not right)
PYTHON
