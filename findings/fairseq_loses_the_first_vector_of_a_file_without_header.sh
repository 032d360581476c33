#!/usr/bin/env bash
# fairseq-fixed 0.12.3.1: `--encoder-embed-path` and `--decoder-embed-path` lose the first word of a file of GloVe. That
# is its most frequent word, which keeps a random vector.
#
# The docstring of `parse_embedding` in fairseq/utils.py says that the first line "can have" the number of words and
# their size. word2vec and fastText write that line, GloVe does not. The code drops the first line whatever it is
# (`next(f_embed)`). The log counts the words that were found, and does not say which. A word that the file lacks looks
# the same, for it keeps its random vector too.
#
# Seen: an LSTM is built with four vectors, with that line before them and without it. Without it all words but the
# first have their vectors. With `--encoder-freeze-embed` the first one stays random to the end of training.
#
# Exits with 0 while this is so, and with 1 once it has changed. fairseq_bso/models/word_vectors.py reads the files for
# `bso_lstm`, with that line or without it, and logs how many words it found. tests/plugin/test_word_vectors.py holds
# it. For models of fairseq put a line such as `400000 300` before the vectors.
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
from fairseq.models.lstm import LSTMModel, base_architecture
from fairseq.tasks.translation import TranslationConfig, TranslationTask

WORDS = ["the", "of", "house", "tree"]
VECTORS = torch.arange(16.0).view(4, 4) / 16

words = Dictionary()
for word in WORDS:
    words.add_symbol(word)
lines = [f"{word} {' '.join(map(str, vector.tolist()))}\n" for word, vector in zip(WORDS, VECTORS)]


def found(header):
    """The words that have the vectors of the file in an LSTM that was built with it."""
    with open("vectors", "w") as file:
        file.writelines([*(["4 4\n"] if header else []), *lines])
    options = Namespace(encoder_embed_path="vectors", encoder_embed_dim=4, criterion="cross_entropy")
    options.encoder_freeze_embed = True
    base_architecture(options)
    torch.manual_seed(1)
    model = LSTMModel.build_model(options, TranslationTask(TranslationConfig(), words, words))
    embedded = model.encoder.embed_tokens(torch.tensor([words.index(word) for word in WORDS]))
    return [word for word, one, other in zip(WORDS, embedded, VECTORS) if torch.equal(one, other)]


seen = [found(header=True), found(header=False)]
print(f"with a first line of two numbers: {', '.join(seen[0])}")
print(f"without it: {', '.join(seen[1])}")
known = [WORDS, WORDS[1:]]
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
