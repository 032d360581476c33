"""Slow reference of `fairseq_bso/distill/word_loss.py` and `ranking.py`: one word, or one sentence, at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reference.costs import MAX_ORDER, ngram_counts


def tempered(probabilities: Sequence[float], temperature: float) -> list[float]:
    """Each probability to the power 1 / temperature, renormalised."""
    powers = [p ** (1 / temperature) for p in probabilities]
    return [p / sum(powers) for p in powers]


def truncated(probabilities: Sequence[float], top_k: int) -> list[float]:
    """The top k probabilities, renormalised; the others are 0."""
    if top_k == 0 or top_k >= len(probabilities):
        return list(probabilities)
    kept = sorted(range(len(probabilities)), key=lambda word: -probabilities[word])[:top_k]
    whole = sum(probabilities[word] for word in kept)
    return [p / whole if word in kept else 0.0 for word, p in enumerate(probabilities)]


def entropy(probabilities: Sequence[float]) -> float:
    """The entropy in nats."""
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def word_loss(student, teachers, gold: int, weight, temperature, top_k, smoothing):
    """(loss, nll, distillation, entropy, agreement) of one word.

    `student` holds probabilities, `teachers` lists of them, one for each member of the ensemble.
    """
    size = len(student)
    nll = -math.log(student[gold])
    smoothed = (1 - smoothing) * nll + smoothing / (size - 1) * sum(
        -math.log(p) for word, p in enumerate(student) if word != gold
    )
    mean = [sum(member[word] for member in teachers) / len(teachers) for word in range(size)]
    teacher = truncated(tempered(mean, temperature), top_k)
    soft = tempered(student, temperature)
    crossed = -sum(q * math.log(p) for q, p in zip(teacher, soft))
    distillation = temperature**2 * crossed
    agreement = student.index(max(student)) == mean.index(max(mean))
    return (1 - weight) * smoothed + weight * distillation, nll, distillation, entropy(teacher), int(agreement)


def sentence_bleu(hypothesis: Sequence[int], gold: Sequence[int]) -> float:
    """Smoothed sentence BLEU with a brevity penalty."""
    if not hypothesis:
        return 0.0
    product = 1.0
    for order in range(1, MAX_ORDER + 1):
        counts, gold_counts = ngram_counts(hypothesis, order), ngram_counts(gold, order)
        matches = sum(min(count, gold_counts[ngram]) for ngram, count in counts.items())
        added = 0 if order == 1 else 1
        product *= (matches + added) / (sum(counts.values()) + added)
    brevity = min(1.0, math.exp(1 - len(gold) / len(hypothesis)))
    return brevity * product ** (1 / MAX_ORDER)
