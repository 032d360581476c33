"""IBM model 1 in plain Python, one pair of sentences at a time."""

from collections import defaultdict


def ibm_model_1(sources, targets, nothing, iterations):
    """{(source word, target word): p(target | source)}; `nothing` stands for no source word."""
    occurs = defaultdict(set)
    for source, target in zip(sources, targets):
        for word in [*source, nothing]:
            occurs[word] |= set(target)
    table = {(word, other): 1 / len(found) for word, found in occurs.items() for other in found}
    for _ in range(iterations):
        counts, totals = defaultdict(float), defaultdict(float)
        for source, target in zip(sources, targets):
            source = [*source, nothing]
            for other in target:
                whole = sum(table[word, other] for word in source)
                for word in source:
                    share = table[word, other] / whole
                    counts[word, other] += share
                    totals[word] += share
        table = {pair: counts[pair] / totals[pair[0]] for pair in table}
    return table
