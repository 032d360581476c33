#!/usr/bin/env bash
# gensim 4.4.0: a word vector that is replaced keeps its old length in `most_similar`. Cosines beyond 1 come out, and
# the nearest words are others. It depends on whether somebody asked for nearest words before.
#
# The docstring of `KeyedVectors.__setitem__` says that the "old vector is replaced with the new one". `add_vectors` in
# gensim/models/keyedvectors.py does so, but leaves `norms` as they are. The first call of `most_similar` has filled
# them, and `fill_norms` does not fill them twice. Its docstring asks for that of "any code which modifies vectors".
# `similarity` divides by the new length. A new word raises a ValueError instead, of which issue 3224 of gensim tells.
#
# Seen: the vector of a word is replaced by one of the same direction, ten times as long. Its cosine with another word
# is 0.6, and `similarity` says so. `most_similar` says 6.0 and ranks it before a word of 0.8. `get_vector` with
# `norm=True` gives a vector of length 10. All are right if the first call of `most_similar` comes after the change,
# and again after `fill_norms(force=True)`.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here searches with gensim, and so nothing
# needs a workaround. Whoever changes vectors between searches calls `fill_norms(force=True)`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: gensim==4.4.0 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy
from gensim.models import KeyedVectors

VECTORS = {"house": [1.0, 0.0], "home": [0.8, 0.6], "tree": [0.6, 0.8]}


def report(when, vectors):
    """The nearest words of "house", the cosine of "tree" by itself, and the length of its normalized vector."""
    nearest = [(word, round(float(cosine), 3)) for word, cosine in vectors.most_similar("house")]
    alone = round(float(vectors.similarity("house", "tree")), 3)
    length = round(float(numpy.linalg.norm(vectors.get_vector("tree", norm=True))), 3)
    print(f"{when}: most_similar {nearest}, similarity {alone}, length {length}")
    return nearest, alone, length


seen = []
for asked in (False, True):
    vectors = KeyedVectors(2)
    vectors.add_vectors(list(VECTORS), list(VECTORS.values()))
    if asked:
        seen.append(report("before", vectors))
    vectors["tree"] = numpy.array([6.0, 8.0])
    seen.append(report("replaced after a search" if asked else "replaced before any search", vectors))
vectors.fill_norms(force=True)
seen.append(report("after fill_norms(force=True)", vectors))
right = [("home", 0.8), ("tree", 0.6)], 0.6, 1.0
known = [right, right, ([("tree", 6.0), ("home", 0.8)], 0.6, 10.0), right]
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
