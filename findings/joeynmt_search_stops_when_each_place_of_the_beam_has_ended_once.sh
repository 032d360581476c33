#!/usr/bin/env bash
# joeynmt 2.3.0: beam search ends as soon as some hypothesis has ended at each place of the beam, at whatever step. An
# unfinished hypothesis on the beam is thrown away, though it scores better than the output.
#
# The comment of `beam_search` in joeynmt/search.py says that the "end condition is whether all beam candidates in each
# example are finished". `is_finished` is a table of places. It is carried from step to step (`... | is_finished | ...`)
# and never follows the hypotheses to their new places (`batch_index`). Whatever comes to a place where another
# hypothesis once ended counts as ended itself. Issue 148 of joeynmt had asked not to stop at the first end, for "some
# other hypotheses in the beam will produce longer sequences with a higher score".
#
# Seen: with two places and a length penalty of 1, "b c a c b </s>" has the score -0.71. It is first on the beam after
# three words, at a place where "a </s>" ended before. At that step the worse "b c </s>" ends at the other place. The
# output is "a </s>" with -0.87. A plain beam search, and joeynmt itself with three places, find the longer one.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here needs a workaround: bso_runtime/
# beam_search.py takes hypotheses that end off the beam. tests/plugin/test_runtime.py compares it with fairseq's search.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: torch==2.13.0 "numpy==2.2.*" tensorboard matplotlib pyyaml \
    packaging "importlib_metadata<8" sentencepiece==0.2.3 sacrebleu==2.6.0 subword-nmt==0.3.8
"$folder/venv/bin/pip" install -q --no-deps joeynmt==2.3.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import math
import sys

import torch
from joeynmt.decoders import TransformerDecoder
from joeynmt.model import Model
from joeynmt.search import beam_search
from torch import nn

WORDS = ["<unk>", "<pad>", "<s>", "</s>", *"abcdefgh"]
END, LONGEST = "</s>", 8
CHANCES = {  # of the next word after a prefix; the rest is spread over the other words
    "": {"a": 0.52, "b": 0.46},
    "a": {END: 0.7},
    "b": {"c": 0.78, END: 0.01},
    "b c": {"a": 0.8, END: 0.18},
    "b c a": {"c": 0.98},
    "b c a c": {"b": 0.98},
    "b c a c b": {END: 0.98},
}


def chances(prefix):
    """The log-probabilities of all words after a prefix, also after an end."""
    given = {END: 0.001, **CHANCES.get(prefix, {})}
    others = [word for word in WORDS[4:] if word not in given]
    rest = (1 - sum(given.values())) / len(others)
    return [math.log(given.get(word, rest)) if word in WORDS[3:] else -1e9 for word in WORDS]


class Given(Model):
    """A model whose probabilities are known."""

    def __init__(self):
        nn.Module.__init__(self)
        self.decoder = TransformerDecoder(num_layers=1, num_heads=1, hidden_size=4, ff_size=4, vocab_size=len(WORDS))
        self.unk_index, self.pad_index, self.bos_index, self.eos_index, self.sep_index = 0, 1, 2, 3, None
        self.specials, self.lang_tags = [0, 1, 2, 3], []

    def _decode(self, trg_input, **others):
        rows = [[WORDS[n] for n in row[1:]] for row in trg_input.tolist()]
        scores = [[chances(" ".join(row[:step])) for step in range(len(row) + 1)] for row in rows]
        return torch.tensor(scores), None, None, None


def score(words, chance):
    """The length penalty of Wu et al. (2016) with exponent 1, as in joeynmt."""
    return chance * 6 / (5 + len(words))


def by_joeynmt(beam):
    source, mask = torch.zeros(1, 2, 4), torch.ones(1, 1, 2, dtype=torch.bool)
    output, scores, _ = beam_search(Given(), beam, source, None, mask, LONGEST, 1.0, return_prob="hyp")
    return " ".join(WORDS[n] for n in output[0].tolist() if n != 1), round(scores[0].item(), 2)


def by_loops(beam):
    """Hypotheses that end leave the beam."""
    live, ended = [([], 0.0)], []
    for step in range(LONGEST):
        found = [
            ([*words, word], chance + more)
            for words, chance in live
            for word, more in zip(WORDS, chances(" ".join(words)))
            if word in WORDS[4 if step == 0 else 3 :]
        ]
        best = sorted(found, key=lambda hypothesis: -hypothesis[1])[:beam]
        ended += [hypothesis for hypothesis in best if hypothesis[0][-1] == END]
        live = [hypothesis for hypothesis in best if hypothesis[0][-1] != END]
    words, chance = max(ended + live, key=lambda hypothesis: score(*hypothesis))
    return " ".join(words), round(score(words, chance), 2)


seen = [by_joeynmt(2), by_loops(2), by_joeynmt(3)]
for name, (words, value) in zip(("joeynmt, 2 places", "plain loops, 2 places", "joeynmt, 3 places"), seen):
    print(f"{name}: {words}, score {value}")
short, long = ("a </s>", -0.87), ("b c a c b </s>", -0.71)
print("as described" if seen == [short, long, long] else "the behaviour has changed")
sys.exit(seen != [short, long, long])
PYTHON
