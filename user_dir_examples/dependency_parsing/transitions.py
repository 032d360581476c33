"""Arc-standard sequences: from a projective tree to the shifts and reduces that build it, and back.

A sentence of n words has 2n - 1 symbols. A word's own symbol shifts it onto a stack. `@L_rel` makes the second item of
the stack a dependent of the top item. `@R_rel` makes the top item a dependent of the second. The dependent leaves the
stack. The last remaining item is the root.
"""

from symbols import LEFT, RIGHT, escape, is_reduce, unescape
from treebank import Tree, short

ROOT = "root"
"""the relation of the root, which has no symbol"""
UNKNOWN = "dep"
"""the relation of an arc that a repair added"""


def to_actions(symbols, tree):
    """The sequence of a tree over one word or more; each reduce follows as soon as the dependent has its dependents.

    Args:
        symbols: the symbols of the words.
        tree: their Tree.

    Returns:
        a list of symbols, or None if the tree is not projective.
    """
    missing = [0] * (len(symbols) + 1)  # the number of dependents that a word still lacks
    for head in tree.heads:
        missing[head] += 1
    stack, actions = [], []
    for word, symbol in enumerate(symbols, start=1):
        stack.append(word)
        actions.append(symbol)
        while len(stack) > 1:
            below, top = stack[-2:]
            if tree.heads[below - 1] == top and not missing[below]:
                head, dependent, mark = top, below, LEFT
            elif tree.heads[top - 1] == below and not missing[top]:
                head, dependent, mark = below, top, RIGHT
            else:
                break
            stack.remove(dependent)
            missing[head] -= 1
            actions.append(mark + escape(tree.relations[dependent - 1]))
    return actions if len(stack) == 1 else None


def to_tree(actions, words):
    """The tree that a sequence builds over so many words, and the errors of the sequence.

    Any symbol that is not a reduce shifts the next word, whatever its name. The tree of a malformed sequence is a
    repair. Shifts of words that do not exist and reduces of fewer than two items are ignored. Words that were never
    shifted are shifted at the end. The first of the remaining items becomes the root and the head of the others.

    Returns:
        a Tree, and a list of messages, empty if the sequence is well-formed.
    """
    tree = Tree([0] * words, [ROOT] * words)
    stack, shifted, faults = [], 0, []
    for place, symbol in enumerate(actions, start=1):
        if not is_reduce(symbol):
            if shifted == words:
                faults.append(f"symbol {place}, {short(symbol)}, shifts one word more than the {words} of the sentence")
            else:
                shifted += 1
                stack.append(shifted)
        elif len(stack) < 2:
            faults.append(f"symbol {place}, {short(symbol)}, needs two items on the stack, there are {len(stack)}")
        else:
            dependent = stack.pop(-2 if symbol.startswith(LEFT) else -1)
            attach(tree, dependent, stack[-1], unescape(symbol[len(LEFT) :]) or UNKNOWN)
    if shifted < words:
        faults.append(f"it shifts {shifted} words, the sentence has {words}")
        stack.extend(range(shifted + 1, words + 1))
    elif len(stack) > 1:
        faults.append(f"it leaves {len(stack)} items on the stack, one is allowed")
    for dependent in stack[1:]:
        attach(tree, dependent, stack[0], UNKNOWN)
    return tree, faults


def attach(tree, dependent, head, relation):
    tree.heads[dependent - 1], tree.relations[dependent - 1] = head, relation


def non_projective(heads):
    """The words with a non-projective arc: some word between them and their head does not descend from the head."""
    return [
        word
        for word, head in enumerate(heads, start=1)
        if head and not all(descends(heads, other, head) for other in range(min(word, head) + 1, max(word, head)))
    ]


def descends(heads, word, ancestor):
    while word and word != ancestor:
        word = heads[word - 1]
    return word == ancestor


def projectivise(heads):
    """The heads of a projective tree, by lifting: the shortest non-projective arc gets its head's head, repeatedly."""
    heads = list(heads)
    while True:
        words = non_projective(heads)
        if not words:
            return heads
        word = min(words, key=lambda word: (abs(word - heads[word - 1]), word))
        heads[word - 1] = heads[heads[word - 1] - 1]
