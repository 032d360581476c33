"""Slow references of user_dir_examples/dependency_parsing/transitions.py: small trees, by the definitions alone."""

from itertools import product


def ancestors(heads, word):
    """The heads above a word, the nearest first, without 0."""
    found = []
    while heads[word - 1] and len(found) <= len(heads):
        word = heads[word - 1]
        found.append(word)
    return found


def is_tree(heads):
    """Whether there is one root, and every word descends from it."""
    roots = [word for word, head in enumerate(heads, start=1) if head == 0]
    return len(roots) == 1 and all(
        word == roots[0] or roots[0] in ancestors(heads, word) for word in range(1, len(heads) + 1)
    )


def all_trees(words):
    """The heads of every tree over so many words."""
    return [list(heads) for heads in product(range(words + 1), repeat=words) if is_tree(heads)]


def is_projective(heads):
    """Whether no two arcs cross if all are drawn above the words.

    The root's arc is drawn from a place before the first word."""
    arcs = [sorted((word, head)) for word, head in enumerate(heads, start=1)]
    return not any(a < b < c < d for a, c in arcs for b, d in arcs)


def first_derivation(heads):
    """The derivation of a tree whose reduces come as early as possible; None if there is no derivation.

    A derivation is a list of "shift" or (mark, dependent). Every state is tried, reduces first.
    """
    words = len(heads)

    def search(stack, shifted, built):
        if shifted == words and len(stack) == 1:
            return [] if built == {word: head for word, head in enumerate(heads, start=1) if head} else None
        steps = []
        if len(stack) > 1:
            below, top = stack[-2:]
            steps += [(("@L_", below), (*stack[:-2], top), shifted, {**built, below: top})]
            steps += [(("@R_", top), stack[:-1], shifted, {**built, top: below})]
        if shifted < words:
            steps += [("shift", (*stack, shifted + 1), shifted + 1, built)]
        for step, *state in steps:
            rest = search(*state)
            if rest is not None:
                return [step, *rest]
        return None

    return search((), 0, {})
