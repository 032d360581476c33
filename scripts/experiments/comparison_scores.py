"""The statistics that compare_training.py counts in fairseq-generate's output.

There is a row of numbers for each sentence. In a text the first ten belong to BLEU, and the others to chrF.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from installation import ROOT, tool
from significance import (
    attachment_statistics,
    bleu,
    bleu_statistics,
    chrf,
    chrf_statistics,
    labelled,
    length_ratio,
    unlabelled,
)

score = tool("score")
OF_BLEU = 10


@dataclass(frozen=True)
class Metric:
    """A score of an output: a function of some columns of the summed statistics."""

    score: Callable[[np.ndarray], float]
    columns: slice

    def __call__(self, total):
        return self.score(total[self.columns])


METRICS = {
    "BLEU": Metric(bleu, slice(OF_BLEU)),
    "chrF": Metric(chrf, slice(OF_BLEU, None)),
    "UAS": Metric(unlabelled, slice(None)),
    "LAS": Metric(labelled, slice(None)),
}
PARSING = ROOT / "user_dir_examples" / "dependency_parsing"


def statistics_of(recipe, generated, places):
    """The statistics of one decoding; `places` are the folders that a recipe names."""
    reference = Path(recipe.reference.format(**places))
    if "UAS" in recipe.metrics:
        return parsing_statistics(generated, reference)
    source = recipe.source.format(**places) or None
    texts, _ = score.read_texts(generated, reference, source, Path(places["out"]) / "dict.txt" if source else None)
    references = [line.replace(recipe.remove, "") if recipe.remove else line for line in score.read_lines(reference)]
    parts = [bleu_statistics(texts, references, recipe.tokenize, recipe.lowercase)]
    parts += [chrf_statistics(texts, references, recipe.lowercase)] if "chrF" in recipe.metrics else []
    return np.concatenate(parts, axis=1)


def parsing_statistics(generated, gold):
    """The statistics of outputs that build trees. `gold` is a CoNLL-U file. Relations are compared without subtypes."""
    if str(PARSING) not in sys.path:
        sys.path.append(str(PARSING))
    from evaluate import label
    from to_conllu import build_trees
    from treebank import read_treebank

    treebank = read_treebank(gold)
    found, _ = build_trees(generated, treebank)
    right = [sentence.tree() for sentence in treebank.nonempty]
    return attachment_statistics(right, found, lambda one, other: label(one, False) == label(other, False))


def ratio_of(recipe, total):
    """Words of the output for each word of the reference; None where outputs cannot be too long or too short."""
    return length_ratio(total) if "BLEU" in recipe.metrics else None
