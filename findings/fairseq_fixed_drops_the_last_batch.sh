#!/usr/bin/env bash
# fairseq-fixed 0.12.3.1 leaves out sentences: `batch_by_size` drops the last batch where its length is no multiple of
# --required-batch-size-multiple, which is 8 unless said. Neither fairseq-train nor fairseq-generate says so.
#
# The docstring of `batch_by_size` promises batches "less than N or a multiple of N". Its last lines in
# fairseq/data/data_utils.py remove the last batch where N is above 1 and its length is no multiple of N. fairseq 0.12.2
# does not have these lines.
#
# Seen: of 11 sentences with room for 16 in a batch, one batch of 8; of 20, one batch of 16. With N = 1 all are there.
# Batches are made of sentences sorted by length, so the longest of a test set are neither decoded nor scored.
#
# Exits with 0 while this is so, and with 1 once it has changed: `keep_last_batch` in fairseq_bso/compat.py can then go.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q fairseq-fixed==0.12.3.1 torch==2.13.0 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys

import numpy
from fairseq.data import data_utils


def lengths(count, multiple):
    """How many of `count` sentences of 5 words are in each batch, 16 at most."""
    sizes = numpy.full(count, 5)
    batches = data_utils.batch_by_size(
        numpy.arange(count), sizes.__getitem__, sizes, max_sentences=16, required_batch_size_multiple=multiple
    )
    return [len(batch) for batch in batches]


seen = {(count, multiple): lengths(count, multiple) for count in (11, 20, 24) for multiple in (1, 8)}
for (count, multiple), found in seen.items():
    print(f"{count} sentences, multiple of {multiple}: batches of {found}, {count - sum(found)} left out")
known = {(11, 1): [11], (11, 8): [8], (20, 1): [16, 4], (20, 8): [16], (24, 1): [16, 8], (24, 8): [16, 8]}
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
