"""The statistics that compare_training.py counts in fairseq-generate's output: a row of numbers for each sentence."""

from __future__ import annotations

import sys
from pathlib import Path

from significance import attachment_statistics, bleu, bleu_statistics, labelled, length_ratio, unlabelled
from stages import ROOT, tool

score = tool("score")
METRICS = {"BLEU": bleu, "UAS": unlabelled, "LAS": labelled}
PARSING = ROOT / "user_dir_examples" / "dependency_parsing"


def statistics_of(recipe, generated, places):
    """The statistics of one decoding; `places` are the folders that a recipe names."""
    reference = Path(recipe.reference.format(**places))
    if "UAS" in recipe.metrics:
        return parsing_statistics(generated, reference)
    source = recipe.source.format(**places) or None
    texts, _ = score.read_texts(generated, reference, source, Path(places["out"]) / "dict.txt" if source else None)
    references = [line.replace(recipe.remove, "") if recipe.remove else line for line in score.read_lines(reference)]
    return bleu_statistics(texts, references, recipe.tokenize, recipe.lowercase)


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
