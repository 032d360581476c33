#!/usr/bin/env bash
# neurox 1.0.9: of two functions that "should give identical results" one drops a neuron that mirrors another, and the
# other keeps both. With a neuron that is always zero, as pruned models have, the second ends with a ValueError.
#
# `extract_independent_neurons` in neurox/interpretation/clustering.py groups neurons by the size of their correlation:
# "two neurons that are correlated in the opposite direction may represent the same knowledge". The docstring of
# `scikit_extract_independent_neurons` calls it an "alternative implementation" that "should give identical results".
# It takes `pdist(X.T, metric="correlation")`, which is one minus the correlation with its sign: the largest distance
# for mirrored neurons. This is not a number for a constant neuron, which the other function sets to no correlation.
#
# Seen: three neurons, of which the second is the first one's negative. The one function finds two groups, the other
# three. `use_abs_correlation=False`, which is not the default, makes both equal. A constant fourth neuron is a group of
# its own for the one, and the other raises ValueError.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here uses neurox, and so nothing needs a
# workaround: fairseq_bso/interpret/units/co_activation.py ranks partners by absolute correlation, with 0 for a constant
# unit. tests/unit/test_unit_cards.py holds both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: --no-compile "numpy==2.2.*" scipy==1.17.1
"$folder/venv/bin/pip" install -q --only-binary :all: --no-deps neurox==1.0.9
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import contextlib
import io
import sys

import numpy
from neurox.interpretation.clustering import extract_independent_neurons, scikit_extract_independent_neurons

draws = numpy.random.default_rng(1).standard_normal((200, 2))
mirrored = numpy.stack([draws[:, 0], -draws[:, 0], draws[:, 1]], 1)  # (tokens, neurons)
with_zero = numpy.concatenate([mirrored, numpy.zeros((200, 1))], 1)


def groups(function, states, **options):
    """The neurons of each group, or the error."""
    with contextlib.redirect_stdout(io.StringIO()):  # the functions print
        try:
            _, labels = function(states, **options)
        except ValueError as error:
            return f"ValueError: {error}"
    return sorted(numpy.flatnonzero(labels == label).tolist() for label in set(labels.tolist()))


seen = []
for name, states in (("mirrored", mirrored), ("mirrored, and one zero", with_zero)):
    found = [
        groups(extract_independent_neurons, states),
        groups(extract_independent_neurons, states, use_abs_correlation=False),
        groups(scikit_extract_independent_neurons, states),
    ]
    print(f"{name}: extract_independent_neurons {found[0]}, with signs {found[1]}, the alternative {found[2]}")
    seen += [*found[:2], found[2] if isinstance(found[2], list) else found[2].split(":")[0]]
known = [
    [[0, 1], [2]],
    [[0], [1], [2]],
    [[0], [1], [2]],
    [[0, 1], [2], [3]],
    [[0], [1], [2], [3]],
    "ValueError",
]
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
