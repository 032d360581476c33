"""Shortlists: the lexicon, the file, and the words of a sentence in numpy and in torch."""

import hashlib
import random

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import constraints
from reference import lexicon as slow_lexicon

from bso_runtime.model_file import ModelFileError
from bso_runtime.shortlist import HEAD, SEALED, SentenceWords
from bso_runtime.shortlist import Shortlist as Content
from fairseq_bso.search.constraints import Vocabulary, constraint_factory
from fairseq_bso.search.shortlist import Shortlist, ShortlistTable
from fairseq_bso.shortlist.lexicon import ibm_model_1

SOURCE, TARGET = (
    b"\n".join([b"<s>", b"<pad>", b"</s>", b"<unk>", *words]) for words in ([b"a", b"b"], [b"c", b"d", b"e"])
)
SMALL = Content(numpy.array([4]), numpy.array([0, 0, 0, 1, 2, 0]), numpy.array([3, 5, 6]))
"""`c` is common; `<unk>` gives itself, `a` gives `d` and `e`, and `b` nothing"""


@given(seed=st.integers(0, 1000), iterations=st.integers(0, 4), count=st.integers(1, 4))
@settings(max_examples=30)
def test_the_lexicon_is_that_of_plain_loops(seed, iterations, count):
    generator = random.Random(seed)
    sources, targets = (
        [[generator.randrange(4) for _ in range(generator.randint(0, 4))] for _ in range(6)] for _ in range(2)
    )
    arrays = [[numpy.array(words, numpy.int64) for words in side] for side in (sources, targets)]
    found = ibm_model_1(*arrays, (4, 4), iterations)
    expected = slow_lexicon.ibm_model_1(sources, targets, 4, iterations)
    pairs = {(s, t): p for s, t, p in zip(*(column.tolist() for column in found))}
    assert pairs == pytest.approx(expected)
    counts, words = found.top_k(count, 4)
    starts = numpy.cumsum(counts) - counts
    for word in range(4):
        mine = words[starts[word] : starts[word] + counts[word]]
        ranked = sorted((other for source, other in pairs if source == word), key=lambda t: (-pairs[word, t], t))
        assert mine.tolist() == ranked[:count]


def test_the_lexicon_finds_the_translation():
    """`a` always comes with `x`, `b` with `y`, and `z` with both: no count of pairs alone tells x from z for `a`."""
    sources = [numpy.array([0]), numpy.array([1]), numpy.array([0, 1])]
    targets = [numpy.array([0, 2]), numpy.array([1, 2]), numpy.array([0, 1, 2])]
    counts, words = ibm_model_1(sources, targets, (2, 3), 20).top_k(1, 2)
    assert counts.tolist() == [1, 1] and words.tolist() == [0, 1]


def test_the_more_frequent_translation_comes_first_wherever_it_stands():
    """Source 1 is target 1 three times and target 2 once. fairseq's own dictionary has the last link: findings/."""
    targets = [numpy.array([0, 1])] * 3 + [numpy.array([0, 2])]
    for pairs in (targets, targets[::-1]):
        counts, words = ibm_model_1([numpy.array([0, 1])] * 4, pairs, (2, 3), 5).top_k(3, 2)
        mine = words[counts[0] :].tolist()
        assert mine.index(1) < mine.index(2)


def test_a_file_holds_what_was_written():
    again = Content.from_bytes(SMALL.to_bytes(SOURCE, TARGET), SOURCE, TARGET, "file")
    assert [part.tolist() for part in again] == [part.tolist() for part in SMALL]


def resealed(content):
    """The content with a checksum that fits."""
    return content[: SEALED - 32] + hashlib.sha256(content[SEALED:]).digest() + content[SEALED:]


def test_a_file_that_is_not_as_it_should_be_is_named():
    whole = SMALL.to_bytes(SOURCE, TARGET)
    none = Content(numpy.array([], int), numpy.zeros(6, int), numpy.array([], int)).to_bytes(SOURCE, TARGET)
    ends = Content(numpy.array([2]), numpy.zeros(6, int), numpy.array([], int)).to_bytes(SOURCE, TARGET)
    beyond = Content(numpy.array([7]), numpy.zeros(6, int), numpy.array([], int)).to_bytes(SOURCE, TARGET)
    cases = [
        (b"", "is no shortlist"),
        (b"BSOMODEL" + whole[8:], "is no shortlist"),
        (whole[:8] + b"\x02" + whole[9:], "has format 2"),
        (whole[:-4], "is damaged"),
        (whole[:-1] + b"\x01", "is damaged"),
        (resealed(whole[:-4]), "impossible numbers"),
        (resealed(whole[:-3]), "impossible numbers"),
        (resealed(whole[: HEAD.size]), "impossible numbers"),
        (resealed(whole[: HEAD.size - 16] + b"\xff" * 16 + whole[HEAD.size :]), "impossible numbers"),
        (beyond, "impossible numbers"),
        (none, "without any word"),
        (ends, "without any word"),
        (SMALL.to_bytes(SOURCE + b"\nf", TARGET), "was made with another source dictionary"),
        (SMALL.to_bytes(SOURCE, TARGET.replace(b"c", b"k")), "was made with another target dictionary"),
    ]
    for content, message in cases:
        with pytest.raises(ModelFileError, match=f"^file {message}|^file holds a shortlist (with )?{message}"):
            Content.from_bytes(content, SOURCE, TARGET, "file")


@given(
    likely=st.lists(st.lists(st.integers(0, 11), max_size=4), min_size=8, max_size=8),
    common=st.lists(st.integers(0, 11), max_size=3),
    sources=st.lists(st.lists(st.integers(3, 7), max_size=5), min_size=1, max_size=4),
    gold=st.none() | st.lists(st.integers(3, 11), max_size=3),
)
@settings(max_examples=60)
def test_the_words_of_a_sentence_are_those_of_plain_sets(likely, common, sources, gold):
    """In numpy and in torch, and there in a batch too."""
    counts = numpy.array([len(words) for words in likely])
    flat = numpy.array([word for words in likely for word in words], int)
    short = SentenceWords(Content(numpy.array(common, int), counts, flat), 12)
    table = torch.full((8, 4), 1)
    for row, words in zip(table, likely):
        row[: len(words)] = torch.tensor(words, dtype=torch.long)
    vocabulary = Vocabulary([""] * 12, 1, 2, 3, ShortlistTable(torch.tensor(common, dtype=torch.long), table))
    lengths = torch.tensor([len(source) for source in sources])
    padded = torch.full((len(sources), int(lengths.max())), 1)
    for row, source in zip(padded, sources):
        row[: len(source)] = torch.tensor(source, dtype=torch.long)
    golden = None if gold is None else torch.tensor([[*gold, 2, 1]] * len(sources))
    made = Shortlist(padded, lengths, vocabulary, golden)
    for index, source in enumerate(sources):
        expected = sorted(constraints.shortlist(source, likely, common, 2))
        assert short([*source, 2]).tolist() == expected
        with_gold = sorted({*expected, *(gold or [])})
        assert made.candidates[index, : len(with_gold)].tolist() == with_gold
        assert (made.candidates[index, len(with_gold) :] == 1).all()
        assert made.allowed((), torch.tensor([index])).sum() == len(with_gold)


def test_a_vocabulary_without_a_table_is_refused():
    with pytest.raises(ValueError, match="no shortlist was given"):
        constraint_factory("shortlist")(torch.tensor([[3]]), torch.tensor([1]), Vocabulary([""] * 5, 1, 2, 3))
