"""Small random searches over tables of scores, for the tests of the search and of its results."""

import torch
from hypothesis import strategies as st
from reference.decoder import TableDecoder, without_ties

from fairseq_bso.search.finished_scores import finished_scores
from fairseq_bso.search.finished_search import finished_search

END, PADDING = 0, -1


def search_finished(decoder, gold, options):
    """The finished hypotheses of a search, scored with gradient."""
    with torch.no_grad():
        finished = finished_search(decoder, gold.detach(), options)
    return finished_scores(decoder, gold, finished, options)


def gold_run(table, golds, *scores):
    """A decoder over the table, and its run along gold sentences of different lengths.

    ``scores`` are the prefix score and the padding of the decoder.
    """
    lengths = torch.tensor([len(gold) for gold in golds])
    words = torch.zeros(len(golds), int(lengths.max()), dtype=torch.long)
    for row, gold in enumerate(golds):
        words[row, : len(gold)] = torch.tensor(gold)
    decoder = TableDecoder(table, *scores)
    return decoder, decoder.gold_run(words, lengths)


@st.composite
def cases(draw):
    """A table of few integers (many ties), gold sentences of different lengths with repeated words, and a beam."""
    vocabulary = draw(st.integers(2, 7))
    states = draw(st.sampled_from([5, 11, 23]))
    spread = draw(st.sampled_from([1, 3, 12]))
    seed = draw(st.integers(0, 10**6))
    generator = torch.Generator().manual_seed(seed)
    table = torch.randint(-spread, spread + 1, (states, vocabulary), generator=generator).double() / 2
    golds = draw(
        st.lists(st.lists(st.integers(1, vocabulary - 1), max_size=6).map(lambda s: [*s, END]), min_size=1, max_size=4)
    )
    if draw(st.booleans()):  # a model that prefers gold: long searches without a violation
        for sentence, gold in enumerate(golds):
            state = sentence
            for word in gold:
                table[state % states, word] += 4
                state = (state * 31 + word + 1) % states
    return table, golds, draw(st.integers(2, 6))


@st.composite
def padded_cases(draw):
    """As ``cases``, without ties, and with a last word in the table that is padding."""
    table, golds, beam = draw(cases())
    table = without_ties(table)
    return torch.cat([table, table[:, :1] - 0.5], 1), golds, beam
