"""Packed sequences hold every prefix once, show each word its own prefix alone, and fall into groups on a CPU."""

from random import Random
from unittest import mock

import pytest
import torch
from bso_runs import criterion, make_batch
from hypothesis import given
from hypothesis import strategies as st
from reference import fakes, stock

from fairseq_bso.models import packing
from fairseq_bso.models.packing import packs, segments_of
from fairseq_bso.search.violations import Violations

START, END = 0, 2


def draw_hypotheses(random, golds, most):
    """Up to ``most`` hypotheses of each gold sentence (B, T), of words 4 and 5 from their branch on."""
    rows = []
    for sentence, gold in enumerate(golds.tolist()):
        for _ in range(random.randint(0, most)):
            branch = random.randrange(len(gold))
            end = random.randrange(branch, len(gold))
            own = [9 - gold[branch], *(random.choice((4, 5)) for _ in range(branch, end))]  # 4 for 5, and 5 for 4
            rows.append((sentence, branch, end, [*gold[:branch], *own, *gold[end + 1 :]]))
    sentences, branches, ends = (torch.tensor([row[part] for row in rows], dtype=torch.long) for part in range(3))
    paths = torch.tensor([row[3] for row in rows], dtype=torch.long).view(-1, golds.size(1))
    return Violations(sentences, ends, branches * 0, branches, ends, paths, ends.double())


@given(st.integers(0, 99_999), st.booleans(), st.sampled_from([-1, 0.1]))
def test_each_word_sees_its_own_prefix_and_each_prefix_is_there_once(seed, grouped, least_saved):
    random = Random(seed)
    count, time = random.randint(1, 40), random.randint(1, 6)
    golds = torch.tensor([[random.choice((4, 5)) for _ in range(time)] for _ in range(count)])
    inputs = torch.cat([torch.full((count, 1), START), golds[:, :-1]], 1)
    found = draw_hypotheses(random, golds, 3)
    with mock.patch.object(packing, "LEAST_SAVED", least_saved):
        segments = segments_of(found, count, grouped)
    parts = packs(inputs, found, segments, END)
    most = max(1, min(4, count // 16)) if grouped else 1
    assert len(parts) == most or (len(parts) == 1 and least_saved > 0)
    assert sorted(torch.cat([part.sentences for part in parts]).tolist()) == list(range(count))

    seen = []  # by prefix: its sentence and words
    for part in parts:
        length = part.tokens.size(1)
        for column in part.columns.tolist():
            row, place = divmod(column, length)
            visible = (~part.mask[row, place]).nonzero().squeeze(1)
            assert part.depths[row, visible].tolist() == list(range(int(part.depths[row, place]) + 1))
            seen.append((int(part.sentences[row]), part.tokens[row, visible].tolist()))
        for row, sentence in enumerate(part.sentences.tolist()):  # gold sees gold
            assert torch.equal(part.tokens[row, :time], inputs[sentence])
            assert torch.equal(~part.mask[row, :time, :time], torch.ones(time, time).tril().bool())
            assert part.mask[row, :time, time:].all()
    assert len({(sentence, tuple(words)) for sentence, words in seen}) == len(seen)
    for owner, place, number in zip(*(part.tolist() for part in segments[:3])):
        words = [START, *found.paths[owner, :place].tolist()]
        assert seen[number] == (int(found.sentences[owner]), words)


def test_groups_must_save_a_tenth_of_the_words():
    """32 sentences of 10 words in two groups: the longest has 1 or 4 words of segments, all others have none."""
    golds = torch.full((32, 10), 4)
    for own, groups in ((1, 1), (4, 2)):  # 32 * 11 words or 16 * 10 + 16 * 11; 32 * 14 or 16 * 10 + 16 * 14
        path = torch.tensor([[5] * (own + 1) + [4] * (9 - own)])
        found = Violations(*torch.tensor([[0], [own], [0], [0], [own]]), path, torch.ones(1))
        assert len(segments_of(found, 32, grouped=True).group_sizes) == groups, own
        assert len(packs(golds, found, segments_of(found, 32, grouped=True), END)) == groups, own


@pytest.mark.parametrize("loss", ["margin", "log_beam", "risk"])
def test_groups_of_sentences_share_the_dropout_of_the_search(loss, monkeypatch):
    """Masks belong to sentences: in other groups every sentence has the same."""
    task = fakes.FakeTask(words=6)
    model = stock.model("transformer_two_layers", 1, task, dropout=0.4, activation_dropout=0.3).train()
    sample = stock.batch(task, *make_batch(Random(2), shortest=3))
    assert len(sample["target"]) > 1
    found = []
    monkeypatch.setattr(packing, "LEAST_SAVED", -1)
    for smallest in (16, 1):
        monkeypatch.setattr(packing, "SMALLEST_GROUP", smallest)
        torch.manual_seed(5)
        value = criterion(task, 4, loss=loss)(model, sample)[0]
        found.append((value, *torch.autograd.grad(value, list(model.parameters()), allow_unused=True)))
    assert found[0][0] > 0
    torch.testing.assert_close(found[1], found[0])
