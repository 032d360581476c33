"""Slow reference of `fairseq_bso/blockwise.py`: all scores at once, in plain torch, or one word at a time."""

import torch.nn.functional as F


def log_partition(outputs, weight, bias):
    """log Z of each row."""
    return F.linear(outputs, weight, bias).logsumexp(1)


def cross_entropy(outputs, weight, bias, target, padding, smoothing=0.0, self_normalize=0.0):
    """(loss, nll, sum of squared log Z, number correct), one word at a time."""
    scores = F.linear(outputs, weight, bias)
    size = scores.size(1)
    loss = nll = squares = scores.sum() * 0
    correct = 0
    for row, gold in zip(scores, target.tolist()):
        if gold == padding:
            continue
        log_z = row.logsumexp(0)
        log_probs = row - log_z
        wrong = log_probs.sum() - log_probs[gold]
        loss = loss - (1 - smoothing) * log_probs[gold] - smoothing / (size - 1) * wrong + self_normalize * log_z**2
        nll, squares = nll - log_probs[gold].detach(), squares + log_z.detach() ** 2
        correct += int(row.argmax() == gold)
    return loss, nll, squares, scores.new_tensor(correct)
