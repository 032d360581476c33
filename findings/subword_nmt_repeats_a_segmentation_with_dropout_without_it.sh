#!/usr/bin/env bash
# subword-nmt 0.3.8 segments a word without dropout as it last did with dropout, if one object of `BPE` does both. The
# validation text then holds rare pieces, and other ones after each pass over the training text.
#
# The README says to drop merges on the training corpus only, and to segment without dropout at test time. The argument
# `dropout` of `process_line`, `segment` and `segment_tokens` is 0 by default. `encode` in subword_nmt/apply_bpe.py does
# not look into its cache when there is dropout, but it stores the random segmentation there. The next call without
# dropout takes it from the cache.
#
# Seen: a dropout of 0.5 cuts 23 of 26 words otherwise than the merges do, and 19 in the next epoch. The same object
# without dropout then gives back the same random pieces of each word, also of words that it had segmented without
# dropout before. An object of its own for text without dropout follows the merges.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here segments with dropout, and so nothing needs
# a workaround. Whoever samples pieces anew in each epoch makes two objects of `BPE`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: subword-nmt==0.3.8
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import io
import random
import sys

from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe

TEXT = (
    "the lowest tide leaves its widest sands and newest shells on a lower shore "
    "while higher rocks hold wider pools or older stones under slower waves"
)
WORDS = TEXT.split()  # each once
codes = io.StringIO()
learn_bpe(io.StringIO(f"{TEXT}\n" * 10), codes, 300)


def new():
    return BPE(io.StringIO(codes.getvalue()))


def segmented(bpe, **options):
    return [bpe.process_line(word, **options) for word in WORDS]


def others(found):
    return sum(one != right for one, right in zip(found, merged))


merged = segmented(new())
shared, training, validation = new(), new(), new()
seen = {"before any dropout": others(segmented(shared)) == 0}
for epoch in (1, 2):
    random.seed(epoch)
    sampled = segmented(shared, dropout=0.5)
    after = segmented(shared)
    random.seed(epoch)
    segmented(training, dropout=0.5)
    apart = segmented(validation)
    print(f"epoch {epoch}: with dropout, {others(sampled)} of {len(WORDS)} words are not cut as the merges say.")
    print(f"    Without dropout {others(after)} of the same object, {others(apart)} of one of its own: {' '.join(after[:4])}")
    seen[epoch] = (others(sampled), after == sampled, others(apart) == 0)
known = {"before any dropout": True, 1: (23, True, True), 2: (19, True, True)}
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
