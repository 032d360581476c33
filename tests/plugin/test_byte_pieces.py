"""Pieces of bytes, which sentencepiece's `byte_fallback` makes of rare characters, become these characters."""

import pytest
import score
from fairseq.data import Dictionary, data_utils
from hypothesis import given, settings
from hypothesis import strategies as st

import fairseq_bso  # noqa: F401  (its import makes fairseq join bytes)
from bso_runtime.vocabulary import Tokenizer

sentencepiece = pytest.importorskip("sentencepiece")
CAT = ["<0xF0>", "<0x9F>", "<0x90>", "<0x88>"]


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "text").write_text("the dog sees the cat\nthe cat sees a dog\n" * 20)
    options = {"vocab_size": 300, "byte_fallback": True, "hard_vocab_limit": False, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "sp"), user_defined_symbols=["<0xZZ>"], **options
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))


@pytest.fixture(scope="module")
def dictionary(processor):
    """fairseq's dictionary of all pieces, and a word that is none."""
    made = Dictionary()
    for number in range(3, processor.get_piece_size()):
        made.add_symbol(processor.id_to_piece(number))
    made.add_symbol("<0xAB>cd")
    return made


@pytest.fixture(scope="module")
def text(processor, dictionary):
    symbols = "\n".join(dictionary.symbols).encode()
    return Tokenizer({"source": symbols, "target": symbols, "sentencepiece": processor.serialized_model_proto()})


def ways(text, dictionary, symbols):
    """The same pieces joined by `translate`, by fairseq's `--remove-bpe sentencepiece`, and by score.py."""
    line = " ".join(symbols)
    yield text.decode([dictionary.index(symbol) for symbol in symbols])
    yield data_utils.post_process(line, "sentencepiece")
    yield score.join_pieces(line)


def test_a_character_without_a_piece_survives(text):
    assert text.decode(text.encode("the 🐈 sees a café")) == "the 🐈 sees a café"


@pytest.mark.parametrize(
    "symbols, expected",
    [
        (["▁cat", "▁", *CAT, "s", "▁cat"], "cat 🐈s cat"),
        ([*CAT, *CAT], "🐈🐈"),
        ([*CAT[:3], "▁cat"], "\ufffd\ufffd\ufffd cat"),  # as sentencepiece: one for each byte
        ([*CAT[:2], "<unk>", *CAT[2:]], "\ufffd\ufffd<unk>\ufffd\ufffd"),
        (["▁cat", "<unk>", "<0xZZ>", "<0xAB>cd", "▁cat"], "cat<unk><0xZZ><0xAB>cd cat"),
        (["▁cat", "<0x0A>", "▁cat"], "cat  cat"),
    ],
)
def test_bytes_become_characters_and_other_symbols_stay(text, dictionary, symbols, expected):
    assert list(ways(text, dictionary, symbols)) == 3 * [expected]


@settings(max_examples=200)
@given(data=st.data())
def test_what_is_joined_is_what_sentencepiece_decodes(processor, dictionary, text, data):
    bytes_ = [f"<0x{number:02X}>" for number in range(33, 256)]
    letters = [piece for piece in dictionary.symbols[4:] if piece.strip("▁").isalpha()]
    symbols = data.draw(st.lists(st.sampled_from([*bytes_, *CAT]) | st.sampled_from(letters), max_size=12))
    expected = processor.decode(symbols).strip()
    assert list(ways(text, dictionary, symbols)) == 3 * [expected]


def test_symbols_are_joined_in_other_ways_as_before():
    assert data_utils.post_process("<0xC3> <0xA9> a@@ b", "subword_nmt") == "<0xC3> <0xA9> ab"
    assert data_utils.post_process("<0xC3> <0xA9>", None) == "<0xC3> <0xA9>"
