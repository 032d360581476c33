"""`--replace-unk` under `word_order`: the unknown words of the source, each once, in the order of the attention."""

from argparse import Namespace

import pytest
import torch
from fairseq import utils
from fairseq.data import Dictionary, LanguagePairDataset
from hypothesis import given
from hypothesis import strategies as st
from reference import fakes, stock

from fairseq_bso.decoding.unknown_words import align_unknown
from fairseq_bso.errors import UserError
from fairseq_bso.tasks import BsoTranslationConfig, BsoTranslationTask

UNKNOWN = 3


def test_an_unknown_word_takes_the_place_that_it_attends_to_most():
    words, places = torch.tensor([UNKNOWN, 5, UNKNOWN, UNKNOWN, 2]), torch.tensor([1, 4, 6])
    attention = torch.tensor([[0.1, 0.9, 0.3, 0.1, 0], [0.7, 0.0, 0.6, 0.3, 0], [0.2, 0.1, 0.1, 0.6, 0]])
    assert align_unknown(words, UNKNOWN, places, attention).tolist() == [4, 0, 1, 6, 0]
    assert align_unknown(words, UNKNOWN, places, torch.empty(3, 0)).tolist() == [1, 0, 4, 6, 0]
    assert align_unknown(words, UNKNOWN, places[:1], attention[:1]).tolist() == [1, 0, 0, 0, 0]


@given(data=st.data(), unknown=st.integers(0, 5), known=st.integers(0, 4))
def test_every_place_is_taken_once(data, unknown, known):
    words = torch.tensor(data.draw(st.permutations([UNKNOWN] * unknown + [7] * known)), dtype=torch.int64)
    places = torch.arange(unknown) * 2 + 1
    found = align_unknown(words, UNKNOWN, places, torch.rand(unknown, len(words)))
    assert sorted(found[words == UNKNOWN].tolist()) == places.tolist()


def dictionary(*words):
    made = Dictionary()
    for word in words:
        made.add_symbol(word)
    return made


def replaced(model, task, line, beam=3, shown=None, remove_bpe=None):
    """The output for a line of text, as fairseq-generate writes it with --replace-unk.

    The source is `shown` to the function that replaces, if it is not the line itself."""
    source = task.source_dictionary.encode_line(line, add_if_not_exist=False).long()
    longer = torch.tensor([*[4] * (len(source) + 1), 2])
    padded = torch.stack([longer, torch.cat([source.new_full((2,), 1), source])])  # longest first, for fairseq's LSTM
    net_input = {"src_tokens": padded, "src_lengths": torch.tensor([len(longer), len(source)])}
    generator = task.build_generator([model], Namespace(beam=beam, replace_unk=""))
    best = generator.generate([model], {"net_input": net_input})[1][0]
    alignment, align_dict = best["alignment"], {}
    words, text, _ = utils.post_process_prediction(
        best["tokens"].int(), shown or line, alignment, align_dict, task.tgt_dict, remove_bpe
    )
    assert task.tgt_dict.string(words) == text  # scores of fairseq-generate are of these
    return text


def test_an_output_has_the_words_of_its_source():
    """The source is padded on the left in its batch. A word may be unknown on the target side alone."""
    task = BsoTranslationTask(
        BsoTranslationConfig(successors="word_order"), dictionary("a", "b", "c"), dictionary("a", "b")
    )
    for seed in range(5):
        model = fakes.model(seed, task, scorer="softmax")
        text = replaced(model, task, "b Zug a c Hund a Zug")
        assert sorted(text.split()) == sorted("b Zug a c Hund a Zug".split())


def test_fairseqs_lstm_too():
    task = BsoTranslationTask(BsoTranslationConfig(successors="word_order"), dictionary("a", "b"), dictionary("a", "b"))
    text = replaced(stock.model("lstm", task=task).float(), task, "b Zug a Hund")
    assert sorted(text.split()) == sorted("b Zug a Hund".split())


SUBWORDS = "b@@ c Zug a@@ b@@ c Hund a Zu@@ g"


def subword_task():
    """The two dictionaries lack `Zug`, `Hund`, `Zu@@` and `g`."""
    pieces = ("a", "c", "a@@", "b@@")
    return BsoTranslationTask(BsoTranslationConfig(successors="word_order"), dictionary(*pieces), dictionary(*pieces))


def test_unknown_words_are_replaced_before_subwords_are_joined():
    """Joined words are fewer than subwords, so the places of subwords name other words, or none."""
    for seed in range(5):
        model = fakes.model(seed, subword_task(), scorer="softmax")
        pieces = replaced(model, subword_task(), SUBWORDS)
        assert sorted(pieces.split()) == sorted(SUBWORDS.split())
        joined = replaced(model, subword_task(), SUBWORDS, remove_bpe="@@ ")
        assert joined == (pieces + " ").replace("@@ ", "").rstrip()


def test_a_source_whose_subwords_are_joined_is_refused():
    """fairseq-interactive joins them with --remove-bpe, and fairseq-generate with --bpe."""
    task = subword_task()
    message = r"10 subwords were joined to 6 words there: leave out --remove-bpe \(--post-process\) and --bpe, and join"
    for remove_bpe in (None, "@@ "):
        with pytest.raises(UserError, match=message):
            joined = SUBWORDS.replace("@@ ", "")
            replaced(fakes.model(0, task, scorer="softmax"), task, SUBWORDS, shown=joined, remove_bpe=remove_bpe)


def test_data_without_its_text_is_refused():
    """Only --dataset-impl raw keeps the text; fairseq would end with an AttributeError."""
    task = subword_task()
    task.datasets["test"] = LanguagePairDataset([torch.tensor([4, 2])], [2], task.src_dict)
    with pytest.raises(UserError, match="the data of test does not hold the text .*: prepare them with --dataset-impl"):
        task.build_generator([fakes.model(0, task, scorer="softmax")], Namespace(replace_unk=""))
