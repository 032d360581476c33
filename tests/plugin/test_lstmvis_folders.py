"""Folders that other programs wrote for LSTMVis, and the dictionaries that LSTMVis reads."""

import h5py
import numpy
import pytest

from fairseq_bso.errors import UserError
from fairseq_bso.interpret.folder import lstmvis
from fairseq_bso.interpret.folder.index import open_index
from fairseq_bso.interpret.folder.reader import open_capture


@pytest.fixture
def foreign(tmp_path):
    """A folder as tools of LSTMVis write it: other names, no sentences, the default transform tanh."""
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["states1"] = numpy.full((4, 3), 2.0, dtype=numpy.float32)
        file["states2"] = numpy.full((4, 2), 0.5, dtype=numpy.float32)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["words"] = numpy.array([1, 2, 1, 3], dtype=numpy.int64)
        file["pos"] = numpy.array([0, 1, 0, 1], dtype=numpy.int64)
        file["predictions"] = numpy.array([[1, 2]] * 4, dtype=numpy.int64)
        file["prediction_scores"] = numpy.full((4, 2), 0.5)
    (tmp_path / "w.dict").write_text("a 1\nb 2\n  3\n")
    (tmp_path / "pos.dict").write_text("NOUN 0\nVERB 1\n")
    (tmp_path / "lstm.yml").write_text(
        "name: old\ndescription: old\nfiles: {states: s.h5, train: w.h5, words: w.dict, tags: pos.dict}\n"
        "word_sequence: {file: train, path: words, dict_file: words}\n"
        "states:\n  file: states\n  types:\n    - {type: state, layer: 1, path: states1}\n"
        "    - {type: state, layer: 2, path: states2, transform: none}\n"
        "meta:\n  tag: {file: train, path: pos, dict: tags, vis: {type: discrete, range: dict}}\n"
    )
    return tmp_path


def rewrite(folder, name, values):
    """Puts other values into a dataset of the words' file."""
    with h5py.File(folder / "w.h5", "r+") as file:
        del file[name]
        file[name] = values


def test_a_folder_made_for_lstmvis_opens(foreign):
    side = open_capture(foreign).sides["states"]
    assert side.text(0, 4) == ["a", "b", "a", " "]
    assert side.tracks["tag"].labels == ["NOUN", "VERB"] and side.sentences == 1
    index = open_index(side)
    assert index.rows[0].tolist() == [96, 96, 96, 50, 50]


def test_states_that_change_in_any_of_several_files_get_a_new_index(foreign):
    def write(value):
        with h5py.File(foreign / "more.h5", "w") as file:
            file["states3"] = numpy.full((4, 1), value, dtype=numpy.float32)

    named = foreign / "lstm.yml"
    more = "    - {type: state, layer: 3, file: more.h5, path: states3, transform: none}\n"
    named.write_text(named.read_text().replace("meta:", more + "meta:"))
    for value in (0.25, 0.75):
        write(value)
        index = open_index(open_capture(foreign).sides["states"])
        assert index.rows[0].tolist() == [96, 96, 96, 50, 50, 100 * value]


def test_whole_numbers_in_floats_are_taken(foreign):
    """MATLAB, pandas and torch write word numbers as floats."""
    rewrite(foreign, "words", numpy.array([1, 2, 1, 3], dtype=numpy.float64))
    rewrite(foreign, "pos", numpy.array([0, 1, 0, 1], dtype=numpy.float32))
    rewrite(foreign, "predictions", numpy.array([[1, 3]] * 4, dtype=numpy.float64))
    (foreign / "w.dict").write_text("a\t1\nb\t2\n \t3\n")
    side = open_capture(foreign).sides["states"]
    assert side.text(0, 4) == ["a", "b", "a", " "] and side.tracks["tag"].window(0, 4) == [0, 1, 0, 1]
    assert side.predicted(0, 1) == [[("a", 0.5), (" ", 0.5)]]


REMEDY = "correct the file, or what .*lstm.yml says of it"


@pytest.mark.parametrize(
    "name, values, message",
    [
        ("words", numpy.array([1, 2, 1, 2.5]), "words holds 2.5, but must hold whole numbers"),
        ("words", numpy.array([1, 2, 1, numpy.nan]), "words holds nan, but must hold whole numbers"),
        ("words", numpy.array([1, 2, 1, 1e30]), "words holds 1e\\+30, but must hold whole numbers"),
        ("words", numpy.array([b"a", b"b", b"a", b"c"]), "words holds .S1, but must hold whole numbers"),
        ("words", numpy.array([True] * 4), "words holds bool, but must hold whole numbers"),
        ("words", numpy.array([1, 2, 1]), "has no words for each of 4 steps"),
        ("pos", numpy.array([0, 1, 0, 0.5]), "pos holds 0.5, but must hold whole numbers"),
        ("pos", numpy.array([b"N"] * 4), "the track tag does not hold one number for each of 4 steps"),
        ("predictions", numpy.full((4, 2), 1.5), "predictions holds 1.5, but must hold whole numbers"),
        ("prediction_scores", numpy.full((4, 2), b"x"), "the predictions do not fit the 4 steps"),
    ],
)
def test_other_numbers_of_words_are_refused_at_the_start(foreign, name, values, message):
    rewrite(foreign, name, values)
    with pytest.raises(UserError, match=f"{message}: {REMEDY}"):
        open_capture(foreign)


def group_in_place_of_words(folder):
    with h5py.File(folder / "w.h5", "r+") as file:
        del file["words"]
        file.create_group("words")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda folder: (folder / "w.dict").unlink(), "w.dict is missing"),
        (lambda folder: (folder / "w.dict").write_text("a 1\nb\n"), "line 2 is no word, a space and a whole number"),
        (lambda folder: (folder / "w.dict").write_text("a 1.5\n"), "line 1 is no word, a space and a whole number"),
        (lambda folder: (folder / "s.h5").write_text("no"), "cut off or no HDF5 file"),
        (lambda folder: rewrite(folder, "words", numpy.zeros(3)), "has no words for each of 4 steps"),
        (group_in_place_of_words, "has no words for each of 4 steps"),
    ],
)
def test_advice_for_the_folder_of_another_program_is_no_new_capture(foreign, spoil, message):
    spoil(foreign)
    with pytest.raises(UserError, match=f"{message}.*{REMEDY}"):
        open_capture(foreign)


def test_symbols_with_white_space_are_one_word_in_the_files_of_lstmvis(tmp_path):
    """LSTMVis skips lines that have more than two words, and the symbol would be missing later."""
    symbols = ["a", "10\u00a0000", "\u3000", "b\u2028c"]
    lstmvis.write_dictionary(tmp_path / "words.dict", symbols)
    lstmvis.write_labels(tmp_path / "labels.dict", ["noun phrase", "</s>"])
    words = [line.split() for line in (tmp_path / "words.dict").read_text("utf-8").split("\n")[:-1]]
    assert words == [["a", "0"], ["10_000", "1"], ["_", "2"], ["b_c", "3"]]
    assert (tmp_path / "labels.dict").read_text() == "</s>_ -1\nnoun_phrase 0\n</s> 1\n"
