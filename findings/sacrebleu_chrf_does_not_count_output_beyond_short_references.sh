#!/usr/bin/env bash
# sacrebleu 2.6.0: chrF of a corpus does not count characters of an output whose reference is too short for their n-grams.
#
# The README calls chrF a "character n-gram F-score", in which needless output lowers the precision. `CHRF` in
# sacrebleu/metrics/chrf.py sets the number of the output's n-grams to zero for each sentence whose reference has no
# n-gram of that length (`_get_match_statistics`). An output for an empty reference line then costs nothing at all. For a
# reference of two characters, only single characters and pairs of the output count. BLEU counts all of it.
#
# Seen: one sentence is right, and the other has an empty reference. Its output has no word or fifty: chrF is 100 both times,
# and BLEU falls from 100 to 4.7. With the reference "ja" chrF is 91.5. It would be 15.9 and 16.7 if all n-grams counted.
#
# Exits with 0 while this is so, and with 1 once it has changed: `_matches` in scripts/experiments/significance.py
# counts in the same way, and tests/unit/test_significance.py compares it with sacrebleu.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q sacrebleu==2.6.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from collections import Counter

from sacrebleu.metrics import BLEU, CHRF

RIGHT, NEEDLESS = "the dog runs", " ".join(["word"] * 50)


def counted_whole(outputs, references):
    """chrF2 in which every n-gram of an output counts."""
    precisions, recalls = [], []
    for n in range(1, 7):
        output, reference, both = 0, 0, 0
        for pair in zip(outputs, references):
            texts = ["".join(text.split()) for text in pair]
            one, other = (Counter(text[k : k + n] for k in range(len(text) - n + 1)) for text in texts)
            output, reference = output + sum(one.values()), reference + sum(other.values())
            both += sum((one & other).values())
        precisions.append(both / output)
        recalls.append(both / reference)
    precision, recall = sum(precisions) / 6, sum(recalls) / 6
    return 500 * precision * recall / (4 * precision + recall)


seen = []
for reference, output in (("", ""), ("", NEEDLESS), ("ja", "ja"), ("ja", f"ja {NEEDLESS}")):
    outputs, references = [RIGHT, output], [RIGHT, reference]
    bleu = BLEU(force=True, smooth_method="none", max_ngram_order=2).corpus_score(outputs, [references]).score
    chrf, whole = CHRF().corpus_score(outputs, [references]).score, counted_whole(outputs, references)
    print(f"reference {reference!r}, {len(output)} characters of output: ", end="")
    print(f"chrF {chrf:.2f}, all counted {whole:.2f}, BLEU of words and pairs {bleu:.2f}")
    seen.append((round(chrf, 1), round(whole, 1), round(bleu, 1)))
known = [(100.0, 100.0, 100.0), (100.0, 15.9, 4.7), (100.0, 100.0, 100.0), (91.5, 16.7, 5.3)]
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
