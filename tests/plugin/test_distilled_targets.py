"""The selection of hypotheses, the division of the work, and the parts of the cache."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import distillation as slow
from reference import fakes
from reference.teaching import END

from fairseq_bso.batches import length_batches
from fairseq_bso.distill.cache import VERSION, Cache
from fairseq_bso.distill.job import decode_missing, in_parts, order_of_parts
from fairseq_bso.distill.selection import HypothesisSelector
from fairseq_bso.errors import UserError


def dictionary(*symbols):
    """A dictionary with fairseq's four special symbols and then the given ones."""
    made = fakes.dictionary(0)
    for symbol in symbols:
        made.add_symbol(symbol)
    return made


def test_seq_kd_keeps_the_best_of_the_search_that_fit():
    selector = HypothesisSelector("seq_kd", 2, 2.0, dictionary("a", "b"), None)
    hypotheses = [[[4, 4, 4, 4, 4, END], [4, END], [4, 5, END], [5, 5, END]]]
    assert selector.select(hypotheses, [3], [[4, END]]) == [[[4, END], [4, 5, END]]]  # the first has 5 words for 2
    assert selector.select([[[4, 4, 4, 4, 4, END]]], [3], [[4, END]]) == [[]]


def test_seq_inter_compares_words_not_pieces():
    """The pieces "un" "der" differ from the piece "under"; both are the reference's word after joining."""
    pieces = dictionary("\u2581under", "\u2581un", "der", "\u2581it", "\u2581at")
    under, un, der, it, at = range(4, 9)
    hypotheses = [[[at, it, END], [un, der, it, END]], [[], []], [[at, END], [it, END]]]
    golds = [[under, it, END], [it, END], [3, END]]
    joined = HypothesisSelector("seq_inter", 1, 0, pieces, "sentencepiece").select(hypotheses, [3, 3, 3], golds)
    assert joined == [[[un, der, it, END]], [[]], [[at, END]]]
    separate = HypothesisSelector("seq_inter", 1, 0, pieces, None).select(hypotheses[:1], [3], golds[:1])
    assert separate == [[[at, it, END]]]  # half of the pieces are right


def test_an_unknown_word_is_never_right():
    selector = HypothesisSelector("seq_inter", 1, 0, dictionary("a", "b"), None)
    assert selector.select([[[3, 4, END], [4, 4, END]]], [3], [[3, 4, END]]) == [[[3, 4, END]]]
    assert selector.select([[[3, END], [4, END]]], [2], [[3, END]]) == [[[3, END]]]  # both have BLEU 0: the first
    with pytest.raises(UserError, match="--distill-remove-bpe syllables is not known"):
        HypothesisSelector("seq_inter", 1, 0, dictionary(), "syllables")


words = st.lists(st.integers(4, 6), min_size=1, max_size=5).map(lambda ids: [*ids, END])


@given(lists=st.lists(st.lists(words, min_size=0, max_size=4), min_size=1, max_size=3), data=st.data())
def test_seq_inter_selects_the_highest_bleu_of_each_list(lists, data):
    golds = [data.draw(words) for _ in lists]
    found = HypothesisSelector("seq_inter", 1, 0, dictionary("a", "b", "c"), None).select(
        lists, [3] * len(lists), golds
    )
    for several, gold, kept in zip(lists, golds, found):
        assert len(kept) == min(1, len(several))
        for hypothesis in several:
            assert slow.sentence_bleu(hypothesis[:-1], gold[:-1]) <= slow.sentence_bleu(kept[0][:-1], gold[:-1]) + 1e-6


@given(sizes=st.lists(st.integers(1, 9), max_size=20), max_tokens=st.integers(1, 20))
def test_batches_hold_every_sentence_once_the_longest_first_within_the_limit(sizes, max_tokens):
    batches = length_batches(sizes, range(len(sizes)), max_tokens)
    order = [place for batch in batches for place in batch]
    assert sorted(order) == list(range(len(sizes)))
    assert [sizes[place] for place in order] == sorted(sizes, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * sizes[batch[0]] <= max_tokens


@given(count=st.integers(0, 9), workers=st.integers(1, 4))
def test_every_worker_takes_its_own_parts_first_and_could_make_all(count, workers):
    orders = [order_of_parts(count, rank, workers) for rank in range(workers)]
    for rank, order in enumerate(orders):
        assert sorted(order) == list(range(count))
        assert order[: len(range(rank, count, workers))] == list(range(rank, count, workers))


def test_parts_come_back_as_they_were_written_and_a_damaged_one_is_named(tmp_path):
    cache = Cache(str(tmp_path / "cache"), {"a": 1}, {"b": 2})
    assert not cache.complete() and not cache.has_part(0)
    targets = [(3, [[4, 5, END], [END]]), (1, []), (0, [[4, END]])]
    cache.write_part(0, targets)
    assert cache.read_part(0) == targets
    path = tmp_path / "cache" / "parts" / f"00000.{cache.digest}.npz"
    whole = path.read_bytes()
    encrypted = bytearray(whole)
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1  # a single bit claims an encryption
    for content in (whole[:-30], encrypted):
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"the part {path} .* is damaged"):
            cache.read_part(0)
    with pytest.raises(UserError, match="a was 1, is now 2; b was 2, is now 3"):
        Cache(str(tmp_path / "cache"), {"a": 2}, {"b": 3}).complete()


@pytest.mark.parametrize(
    "place, value",
    [
        ([], []),
        (["version"], None),
        (["made_from"], "text"),
        (["made_from"], [[1]]),
        (["facts"], None),
        (["facts", "pairs"], "many"),
        (["files"], ["a"]),
        (["files", "a.bin"], 3),
        (["files", "a.bin", "bytes"], "3"),
        (["files", "a.bin", "sha256"], None),
        (["files", "a.bin", "sha256"], 5),
    ],
)
def test_a_manifest_of_another_form_is_named(tmp_path, place, value):
    """None stands for a missing entry."""
    manifest = {"version": VERSION, "made_from": {"a": 1}, "made_in": {}, "facts": {"pairs": 1}}
    manifest["files"] = {"a.bin": {"bytes": 3, "sha256": "0"}}
    inner = manifest
    for name in place[:-1]:
        inner = inner[name]
    if not place:
        manifest = value
    elif value is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="manifest.json is damaged: remove the folder .* and distil again"):
        Cache(str(tmp_path), {"a": 1}, {}).complete()


def test_only_missing_parts_are_decoded_and_an_unwanted_worker_stops(tmp_path):
    cache = Cache(str(tmp_path), {}, {})
    parts = in_parts([[place] for place in range(10)], [1] * 10)
    assert [part.batches for part in parts] == [[[0], [1], [2], [3]], [[4], [5], [6], [7]], [[8], [9]]]
    asked = []

    def decode(batch):
        asked.extend(batch)
        return [(place, [[END]]) for place in batch]

    cache.write_part(1, [])
    decode_missing(cache, parts, decode, 1, 2, lambda: len(asked) < 3)
    assert asked == [8, 9, 0] and cache.has_part(2) and not cache.has_part(0)
    decode_missing(cache, parts, decode, 0, 1)
    assert asked == [8, 9, 0, 0, 1, 2, 3]
