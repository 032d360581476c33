#!/usr/bin/env bash
# CTranslate2 4.8.5: `Translator.translate_batch` ranks outputs by other scores than the model's log-probabilities
# wherever an option forbids a word, and by default one is forbidden. It may then return the less probable of two
# outputs as the better.
#
# The documentation calls `min_decoding_length` the "Minimum prediction length". It is 1 by default: no output is
# empty. `BeamSearch::search` in src/decoding.cc removes forbidden words before the softmax, which gives their
# probability to the words that are left. fairseq takes the softmax first. `disable_unk`, `suppress_sequences` and
# `no_repeat_ngram_size` remove words in the same place. `score_batch` removes none, so its scores are others.
#
# Seen: a model gives "a x" the probability 0.06 and "b y" 0.36. With a minimum of 2 words CTranslate2 returns "a x"
# first, scored as 0.6, and then "b y", scored as 0.4. A model leaves a sentence empty with the probability 0.4 and
# writes "a" with 0.6. By default the score of "a" is then that of the probability 1. So it is where `<unk>` had the
# 0.4 and is disabled. With a minimum of 0 words and nothing disabled, scores are those of `score_batch`.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here needs a workaround:
# bso_runtime/beam_search.py takes the softmax before it forbids words, and tests/plugin/test_runtime.py compares its
# scores with fairseq's. Whoever compares scores of the two programs takes `score_batch` for those of CTranslate2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: ctranslate2==4.8.5 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import math
import os
import sys

import ctranslate2
import numpy
from ctranslate2.specs import TransformerSpec

WORDS = ["<unk>", "<s>", "</s>", "a", "b", "x", "y", "z"]
SIZE = len(WORDS)
NEXT = {
    "<s>": {"a": 0.6, "b": 0.4},
    "a": {"</s>": 0.9, "x": 0.1},
    "b": {"</s>": 0.1, "y": 0.9},
    "x": {"</s>": 1.0},
    "y": {"</s>": 1.0},
}


def translator(folder, following):
    """A Transformer that knows only the last word: it gives each next word the probability of `following`."""
    spec = TransformerSpec.from_config((1, 1), num_heads=1)
    for side in (spec.encoder, spec.decoder):
        (side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings).weight = numpy.eye(SIZE)
        side.position_encodings.encodings = numpy.zeros((16, SIZE))
        spread = math.sqrt(1 / SIZE - 1 / SIZE**2)  # the normalization subtracts the mean and divides by this
        side.layer_norm.gamma, side.layer_norm.beta = numpy.full(SIZE, spread), numpy.full(SIZE, 1 / SIZE)
        layer = side.layer[0]
        parts = [layer.self_attention, layer.ffn, *([layer.attention] if side is spec.decoder else [])]
        for part in parts:  # of attention and feed-forward layers: all zero
            part.layer_norm.gamma, part.layer_norm.beta = numpy.ones(SIZE), numpy.zeros(SIZE)
        linear = [(layer.ffn.linear_0, 1), (layer.ffn.linear_1, 1), (layer.self_attention.linear[0], 3)]
        linear += [(layer.self_attention.linear[1], 1)]
        if side is spec.decoder:
            linear += zip(layer.attention.linear, (1, 2, 1))
        for one, times in linear:
            one.weight, one.bias = numpy.zeros((times * SIZE, SIZE)), numpy.zeros(times * SIZE)
    scores = numpy.full((SIZE, SIZE), -50.0)  # of the next word, for each last word
    for last, chances in following.items():
        for word, chance in chances.items():
            scores[WORDS.index(word), WORDS.index(last)] = math.log(chance)
    spec.decoder.projection.weight, spec.decoder.projection.bias = scores, numpy.zeros(SIZE)
    spec.register_source_vocabulary(WORDS)
    spec.register_target_vocabulary(WORDS)
    spec.validate()
    os.mkdir(folder)
    spec.save(folder)
    return ctranslate2.Translator(folder, device="cpu", compute_type="float32")


def probabilities(model, **options):
    """The outputs, best first: what their scores stand for, and what the model gives them."""
    (found,) = model.translate_batch([["z"]], length_penalty=0, return_scores=True, max_decoding_length=5, **options)
    exact = model.score_batch([["z"]] * len(found.hypotheses), found.hypotheses)
    return [
        (" ".join(words), round(math.exp(score), 2), round(math.exp(sum(one.log_probs)), 2))
        for words, score, one in zip(found.hypotheses, found.scores, exact)
    ]


two = translator("two", NEXT)
empty = translator("empty", {"<s>": {"</s>": 0.4, "a": 0.6}, "a": {"</s>": 1.0}})
unknown = translator("unknown", {"<s>": {"<unk>": 0.4, "a": 0.6}, "a": {"</s>": 1.0}, "<unk>": {"</s>": 1.0}})
seen = {
    "at least 2 words, beam 2": probabilities(two, min_decoding_length=2, beam_size=2, num_hypotheses=2),
    "at least 0 words, beam 4": probabilities(two, min_decoding_length=0, beam_size=4, num_hypotheses=4),
    "the default, an empty output has 0.4": probabilities(empty, beam_size=1),
    "at least 0 words, an empty output has 0.4": probabilities(empty, beam_size=1, min_decoding_length=0),
    "disable_unk, <unk> has 0.4": probabilities(unknown, beam_size=1, disable_unk=True),
}
for name, outputs in seen.items():
    print(f"{name}: " + "; ".join(f"{text!r} scored {score}, has {exact}" for text, score, exact in outputs))
known = [
    [("a x", 0.6, 0.06), ("b y", 0.4, 0.36)],
    [("a", 0.54, 0.54), ("b y", 0.36, 0.36), ("a x", 0.06, 0.06), ("b", 0.04, 0.04)],
    [("a", 1.0, 0.6)],
    [("a", 0.6, 0.6)],
    [("a", 1.0, 0.6)],
]
same = list(seen.values()) == known
print("as described" if same else "the behaviour has changed")
sys.exit(not same)
PYTHON
