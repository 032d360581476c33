"""`distinct_prefixes` against a dictionary of tuples."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from fairseq_bso.search.prefixes import distinct_prefixes
from fairseq_bso.search.violations import Violations, ragged


@st.composite
def hypotheses(draw):
    """Up to 8 hypotheses of two words, so that many share prefixes; some are equal, some end early."""
    count, time = draw(st.integers(0, 8)), draw(st.integers(1, 5))

    def numbers(most):
        return torch.tensor(draw(st.lists(st.integers(0, most), min_size=count, max_size=count)), dtype=torch.long)

    words = draw(st.lists(st.integers(0, 1), min_size=count * time, max_size=count * time))
    ends = numbers(time - 1)
    branches = torch.minimum(numbers(time - 1), ends)
    paths = torch.tensor(words, dtype=torch.long).view(count, time)
    return Violations(numbers(2), ends, branches * 0, branches, ends, paths, ends.double())


@given(hypotheses())
def test_words_have_the_same_number_if_and_only_if_they_follow_the_same_prefix(found):
    owners, places = ragged(found.branches, found.ends - found.branches + 1)
    prefixes = distinct_prefixes(found, owners, places)
    keys = [
        (int(found.sentences[owner]), tuple(found.paths[owner, :place].tolist()))
        for owner, place in zip(owners.tolist(), places.tolist())
    ]
    number_of = dict(zip(keys, prefixes.numbers.tolist()))
    assert [number_of[key] for key in keys] == prefixes.numbers.tolist()
    assert sorted(number_of.values()) == list(range(prefixes.words.numel()))
    assert [number_of[keys[word]] for word in prefixes.words.tolist()] == list(range(prefixes.words.numel()))
