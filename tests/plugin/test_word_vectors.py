"""Files of pretrained word vectors: every format is read alike, and what is no vector is refused with its line."""

import logging
import struct

import numpy
import pytest
import tiny_captures
import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fairseq_bso.errors import UserError
from fairseq_bso.models.word_vectors import load_vectors, read_vectors

SIZE = 4
VECTORS = {"der": [0.5, -1.0, 0.25, 2.0], "schnell": [1.0, 2.0, 3.0, 4.0], "7": [0.0, 0.0, 1e-3, -1.0]}


def as_text(vectors, header=False, end=""):
    lines = [f"{len(vectors)} {SIZE}\n"] if header else []
    return "".join([*lines, *(f"{word} {' '.join(map(str, row))}{end}\n" for word, row in vectors.items())]).encode()


def as_binary(vectors, end=b"\n"):
    records = (word.encode() + b" " + struct.pack(f"<{SIZE}f", *row) + end for word, row in vectors.items())
    return f"{len(vectors)} {SIZE}\n".encode() + b"".join(records)


def read(tmp_path, content, wanted=lambda word: True):
    path = tmp_path / "vectors"
    path.write_bytes(content)
    return read_vectors(str(path), "--encoder-embed-path", SIZE, wanted)


def equal(found, expected):
    return list(found) == list(expected) and all(
        numpy.array_equal(found[word], numpy.array(row, numpy.float32)) for word, row in expected.items()
    )


@pytest.mark.parametrize(
    "content",
    [
        as_text(VECTORS),
        as_text(VECTORS, header=True),
        as_text(VECTORS, header=True, end=" "),
        b"\xef\xbb\xbf" + as_text(VECTORS),
        b"\xef\xbb\xbf" + as_text(VECTORS, header=True),
        as_text(VECTORS).replace(b"\n", b"\r\n").replace(b" ", b"\t"),
        as_text(VECTORS) + b"\n",
        as_binary(VECTORS),
        as_binary(VECTORS, end=b""),
    ],
    ids=[
        "GloVe",
        "word2vec",
        "blanks at the ends",
        "BOM",
        "BOM, word2vec",
        "tabs",
        "empty line",
        "binary",
        "fastText's binary",
    ],
)
def test_every_format_is_read(tmp_path, content):
    assert equal(read(tmp_path, content), VECTORS)


def test_a_word_may_hold_spaces_and_the_last_of_a_word_counts(tmp_path):
    content = as_text({". . .": [1, 1, 1, 1], **VECTORS, "new york": [2, 2, 2, 2]}) + b"7 1 1 1 1\n"
    expected = {". . .": 4 * [1], **VECTORS, "7": 4 * [1], "new york": 4 * [2]}
    assert equal(read(tmp_path, content), expected)
    assert list(read(tmp_path, content, {"7", "nobody"}.__contains__)) == ["7"]


words = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=6)
numbers = st.lists(st.floats(-9, 9, width=32), min_size=SIZE, max_size=SIZE)


@settings(max_examples=100)
@given(vectors=st.dictionaries(words, numbers, min_size=1, max_size=6), header=st.booleans())
def test_what_is_written_is_read(tmp_path_factory, vectors, header):
    folder = tmp_path_factory.mktemp("vectors")
    assert equal(read(folder, as_text(vectors, header)), vectors)
    assert equal(read(folder, as_binary(vectors)), vectors)


GOOD = as_text(VECTORS)


@pytest.mark.parametrize(
    "content, message",
    [
        (GOOD + b"hase 0.1 0.2 0.3", "line 4: a word and 3 numbers; it must be a word and 4 numbers. Is the file cut"),
        (GOOD + b"die 0.25\nder 1 1 1 1\n", "line 4: a word and 1 number"),
        (GOOD + b"die\n", "line 4: a word and 0 numbers"),
        (GOOD + b"die 1 2 x 4\n", "line 4: could not convert string to float"),
        (GOOD + b"die 1 2 nan 4\n", "line 4: a number that is not finite"),
        (GOOD + b"die 1 2 1e39 4\n", "line 4: a number that is not finite in float32"),
        (GOOD + "größe 1 2 3 4\n".encode("latin-1"), "line 4: it is not UTF-8; convert it"),
        (b"der 1 2 3\n", "holds vectors of 3 numbers, but the model has embeddings of 4"),
        (b"der 1 2 3 4 5\n", "holds vectors of 5 numbers, but the model has embeddings of 4"),
        (b"9 300\nder 1 2\n", "holds vectors of 300 numbers, but the model has embeddings of 4"),
        (b"4 4\n" + GOOD, "holds 3 vectors instead of the 4 of its first line"),
        (b"", "holds 0 vectors instead of at least one"),
        (as_binary(VECTORS)[:-3], "word 3: neither text in UTF-8 nor a vector of word2vec's binary format"),
        (as_binary(VECTORS) + b"xyz", "more follows after the 3 vectors"),
        (b"2 4\n" + "größe 1 2 3 4\n".encode("latin-1"), "word 1: neither text in UTF-8"),
    ],
)
def test_what_is_no_vector_is_refused_with_its_line(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, content, lambda word: False)


@pytest.mark.parametrize("name, message", [("none", "none does not exist: correct --x"), (".", "cannot be read")])
def test_a_file_that_cannot_be_read(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        read_vectors(str(tmp_path / name), "--x", SIZE, lambda word: True)


def test_the_message_stays_short_where_a_word_is_long(tmp_path):
    with pytest.raises(UserError, match="line 1: could not convert string to float") as refused:
        read(tmp_path, b"der 0.5 1 2 3" + 3000 * b"\0" + b"\n")
    assert len(str(refused.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("known, level", [(["der", "7"], "INFO"), ([], "WARNING")])
def test_a_line_says_how_many_words_were_found(tmp_path, caplog, known, level):
    """The embedding of the padding symbol stays zero, and words that the file lacks stay as they were."""
    caplog.set_level(logging.INFO)
    (tmp_path / "vectors").write_bytes(GOOD + b"<pad> 1 1 1 1\n<unk> 3 3 3 3\n")
    dictionary = Dictionary()
    for word in (*known, "Hund"):
        dictionary.add_symbol(word)
    embedding = nn.Embedding(len(dictionary), SIZE, dictionary.pad())
    before = embedding.weight.detach().clone()
    load_vectors(str(tmp_path / "vectors"), "--decoder-embed-path", embedding, dictionary)
    changed = {**{word: VECTORS[word] for word in known}, "<unk>": 4 * [3.0]}
    for index, word in enumerate(dictionary.symbols):
        expected = torch.tensor(changed[word]) if word in changed else before[index]
        assert torch.equal(embedding.weight[index], expected)
    (record,) = (one for one in caplog.records if "words found" in one.message)
    counts = f"--decoder-embed-path: {len(known)} of {len(known) + 1} words found in {tmp_path / 'vectors'}"
    assert record.levelname == level and record.message.startswith(counts)


@pytest.mark.parametrize("task", ["translation", "bso_translation"])
@pytest.mark.parametrize("arch", ["bso_lstm", "lstm"])
def test_a_checkpoint_loads_where_its_embedding_file_is_not(tmp_path, arch, task):
    """The vectors are in the checkpoint. Programs that load it have no option that names the file."""
    vectors, path = tmp_path / "vectors", tmp_path / "model.pt"
    vectors.write_text("1 6\nword2 1 2 3 4 5 6\n")
    data = tiny_captures.write_data(tmp_path / "data")
    paths = {f"{side}_embed_path": str(vectors) for side in ("encoder", "decoder")}
    made = tiny_captures.write_checkpoint(path, data, arch, task, **paths, encoder_freeze_embed=True)
    vectors.unlink()
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    assert all(torch.equal(one, other) for one, other in zip(model.state_dict().values(), made.state_dict().values()))


def test_a_fresh_model_needs_its_embedding_file(tmp_path):
    data = tiny_captures.write_data(tmp_path / "data")
    with pytest.raises(UserError, match="the embedding file nowhere does not exist: correct --encoder-embed-path"):
        tiny_captures.write_checkpoint(tmp_path / "model.pt", data, "bso_lstm", encoder_embed_path="nowhere")
