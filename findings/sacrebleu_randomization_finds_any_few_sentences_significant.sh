#!/usr/bin/env bash
# sacrebleu 2.6.0: `--paired-ar` calls two systems significantly different that differ in a single sentence, or in none.
# It gives the smallest p-value that it has whenever all differences point the same way.
#
# The README presents paired approximate randomization as the test that rejects less often without cause, after Riezler
# and Maxwell (2005). Each trial swaps the outputs of random sentences. The paper's p-value counts the trials whose
# difference is at least as large as the observed one. `_compute_p_value` in sacrebleu/significance.py counts only
# larger ones. If one sentence differs, every trial gives the observed difference or its negative: no trial counts.
#
# Seen: none to five sentences of 20 differ, and the second system is better there. sacrebleu's p-value is 1/1001 each
# time, for BLEU and for chrF. All swaps, enumerated, give 1, 1, 0.5, 0.25, 0.125 and 0.0625: none is below 0.05. The
# paired bootstrap test gives more than 0.05 for one sentence and for two, and 1/1001 for equal systems.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here needs a workaround: `paired_bootstrap` in
# scripts/experiments/significance.py bootstraps, and equal scores have the p-value 1. tests/unit/test_significance.py
# holds that one sentence is no evidence, nor are two.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: sacrebleu==2.6.0 "numpy==2.*"
cd "$folder"
SACREBLEU_SEED=12345 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
from itertools import product

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

TRIALS, SENTENCES = 1000, 20
METRICS = {"BLEU": BLEU, "chrF2": CHRF}
references = [f"the guest in room {n} has left {n + 3} bags and a coat behind" for n in range(SENTENCES)]
baseline = [text.replace("guest", "visitor").replace("a coat", "coats") for text in references]


def better(count):
    """The outputs of a system that is right in the first sentences, and otherwise writes what the baseline does."""
    return references[:count] + baseline[count:]


def tested(kind, system):
    """The p-value of each metric, by sacrebleu."""
    metrics = {name: metric() for name, metric in METRICS.items()}
    named = [("baseline", baseline), ("system", system)]
    _, found = PairedTest(named, metrics, [references], test_type=kind, n_samples=TRIALS)()
    return {name: found[name][1].p_value for name in METRICS}


def enumerated(metric, system):
    """The share of all swaps of differing sentences that make a difference of at least the observed size."""
    differing = [n for n in range(SENTENCES) if baseline[n] != system[n]]

    def difference(swapped):
        pair = [list(baseline), list(system)]
        for n, swap in zip(differing, swapped):
            if swap:
                pair[0][n], pair[1][n] = pair[1][n], pair[0][n]
        one, other = (metric().corpus_score(texts, [references]).score for texts in pair)
        return abs(one - other)

    observed = difference([False] * len(differing))
    found = [difference(swapped) for swapped in product([False, True], repeat=len(differing))]
    return sum(one >= observed - 1e-9 for one in found) / len(found)


same = True
for count in range(6):
    system = better(count)
    randomized, bootstrapped = tested("ar", system), tested("bs", system)
    exact = {name: enumerated(metric, system) for name, metric in METRICS.items()}
    for name, metric in METRICS.items():
        one, other = (metric().corpus_score(texts, [references]).score for texts in (baseline, system))
        print(f"{count} of {SENTENCES} sentences differ, {name} {one:.1f} and {other:.1f}: p = {randomized[name]:.4f} by")
        print(f"    randomization, {exact[name]:.4f} with all swaps enumerated, {bootstrapped[name]:.4f} by bootstrapping")
        same &= abs(randomized[name] - 1 / (TRIALS + 1)) < 1e-9 and exact[name] == min(1, 2 ** (1 - count))
        same &= count not in (1, 2) or bootstrapped[name] > 0.05
        same &= count != 0 or abs(bootstrapped[name] - 1 / (TRIALS + 1)) < 1e-9
print("as described" if same else "the behaviour has changed")
sys.exit(not same)
PYTHON
