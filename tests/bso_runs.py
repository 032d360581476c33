"""The criterion of BSO on small models of every kind, for comparisons with plain loops."""

import sacrebleu
import torch
from reference import fakes, stock

from fairseq_bso.bso.criterion import BeamSearchOptimizationCriterion

END = 2


def make_model(name, seed, task):
    """A model of fairseq, or ``bso_lstm``, by default with the same kind of scores ("bso_lstm summed": with others)."""
    if name.startswith("bso_lstm"):
        return fakes.model(seed, task, scorer=name.partition(" ")[2] or "softmax", init_range=1.6)
    return stock.model(name, seed, task)


def make_batch(random, shortest=1):
    """Sources and targets of three sentences. The targets have ``shortest`` to 5 words before ``</s>``."""
    sources = [[random.randint(4, 9) for _ in range(length)] + [END] for length in (4, 3, 1)]
    golds = [[random.randint(4, 9) for _ in range(random.randint(shortest, 5))] + [END] for _ in range(3)]
    return sources, golds


def criterion(task, beam=3, **options):
    """The criterion with exact search and some cross-entropy."""
    given = {"search_words": 0, **options}
    return BeamSearchOptimizationCriterion(task, beam, 2, 0, "zero_one", 1.0, 0.25, "model", 2, False, **given)


def bleu_cost(task):
    """(output, reference) -> one minus sentence BLEU of their texts, by sacrebleu itself."""

    def cost(path, gold):
        text, right = (
            " ".join(task.target_dictionary[word] for word in words if word not in (END, 0)) for words in (path, gold)
        )
        return 1 - sacrebleu.sentence_bleu(text, [right], use_effective_order=True).score / 100

    return cost


def train_until_no_violation(model, loss_of):
    """At most 200 updates; ``loss_of()`` is the output of the criterion. Returns the last loss and what it logged."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(200):
        loss, _, logged = loss_of()
        optimizer.zero_grad()
        loss.backward()
        if logged["violations"] == 0:
            break
        optimizer.step()
    return loss, logged
