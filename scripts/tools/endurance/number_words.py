"""A small corpus: number words in any order, and in their own. The tests use it too."""

import random

WORDS = "zero one two three four five six seven eight nine".split()


def write_corpus(folder, name, sentences, seed):
    """Writes ordered number words as targets, and shuffled number words as sources."""
    generator = random.Random(seed)
    with open(folder / f"{name}.src", "w") as source, open(folder / f"{name}.tgt", "w") as target:
        for _ in range(sentences):
            numbers = sorted(generator.sample(range(10), generator.randint(1, 6)))
            target.write(" ".join(WORDS[number] for number in numbers) + "\n")
            generator.shuffle(numbers)
            source.write(" ".join(WORDS[number] for number in numbers) + "\n")
