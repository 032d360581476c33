"""The index of captured states: exact for the page's thresholds, stored in both orders, and rebuilt if it is stale."""

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.capture_folders import parentheses_capture, write_capture, write_side

from fairseq_bso.errors import UserError
from fairseq_bso.interpret.folder import lstmvis
from fairseq_bso.interpret.folder.index import build_index, levels, open_index
from fairseq_bso.interpret.folder.reader import open_capture


@pytest.fixture
def folder(tmp_path):
    return parentheses_capture(tmp_path / "capture", sentences=8)


def open_side(folder, name="decoder"):
    return open_capture(folder).sides[name]


@given(st.floats(-1, 1, width=32), st.integers(1, 100))
def test_levels_answer_every_threshold_of_whole_hundredths_exactly(value, hundredths):
    level = int(levels(numpy.array([value], dtype=numpy.float32))[0])
    assert (level >= hundredths) == (float(value) >= hundredths / 100)
    assert (level <= -hundredths) == (float(value) <= -hundredths / 100)


def test_levels_at_and_beside_every_threshold():
    for hundredths in range(1, 101):
        at = numpy.float32(hundredths / 100)
        for value in (numpy.nextafter(at, numpy.float32(0)), at, numpy.nextafter(at, numpy.float32(2))):
            level = int(levels(numpy.array([value, -value], dtype=numpy.float32))[0])
            assert (level >= hundredths) == (float(value) >= hundredths / 100)


def test_levels_are_kept_within_a_byte():
    assert levels(numpy.array([5.0, -5.0, 1.28, 0.009, -0.009], dtype=numpy.float32)).tolist() == [127, -127, 127, 0, 0]


def test_rows_and_units_hold_all_states_side_by_side(folder):
    side = open_side(folder)
    index = open_index(side)
    with h5py.File(folder / "decoder" / "states.hdf5", "r") as file:
        wanted = [file["hidden1"][:], numpy.tanh(file["cell1"][:]), file["hidden2"][:]]
    columns = numpy.concatenate([levels(one) for one in wanted], axis=1)
    assert index.rows.dtype == numpy.int8 and (index.rows == columns).all()
    assert (index.units == columns.T).all()
    described = json.loads((folder / "decoder" / "index.json").read_text())
    assert described["columns"][1] == {"states": "cell1", "first": 24, "units": 24, "transform": "tanh"}
    assert described["steps"] == side.steps


def test_the_files_of_the_index_keep_their_names(folder):
    """Captures of earlier versions then need no new index."""
    open_index(open_side(folder))
    names = {path.name for path in (folder / "decoder").glob("index*")}
    assert names == {"index.rows.i8", "index.cells.i8", "index.json"}


def test_blocks_join_without_a_seam_and_progress_is_reported(folder, monkeypatch):
    whole = numpy.array(open_index(open_side(folder)).rows)
    monkeypatch.setattr("fairseq_bso.interpret.folder.index.BLOCK", 72 * 7)  # seven steps at a time
    reported = []
    build_index(folder / "decoder", lambda done, total: reported.append((done, total)))
    assert (open_index(open_side(folder)).rows == whole).all()
    assert (open_index(open_side(folder)).units == whole.T).all()
    steps = len(whole)
    assert reported[0] == (7, steps) and reported[-1] == (steps, steps)


def test_the_index_is_the_same_before_and_after_the_capture_is_whole(folder):
    """`fairseq-bso states` builds the index before it writes capture.json."""
    (folder / "capture.json").unlink()
    build_index(folder / "decoder")
    written = os.stat(folder / "decoder" / "index.rows.i8").st_mtime_ns
    write_capture(folder, ["encoder", "decoder"])
    open_index(open_side(folder))
    assert os.stat(folder / "decoder" / "index.rows.i8").st_mtime_ns == written


@pytest.mark.parametrize("damage", ["other states", "cut off", "no description", "nonsense"])
def test_a_stale_or_damaged_index_is_built_again(folder, damage):
    side = folder / "decoder"
    open_index(open_side(folder))
    if damage == "other states":
        with h5py.File(side / "states.hdf5", "r+") as file:
            file["hidden1"][:] = 0.5
    elif damage == "cut off":
        os.truncate(side / "index.cells.i8", 100)
    elif damage == "no description":
        (side / "index.json").unlink()
        (side / "index.rows.i8").write_bytes(b"")
    else:
        (side / "index.json").write_text("[1")
    index = open_index(open_side(folder))
    assert (index.rows == index.units.T).all()
    if damage == "other states":
        assert (index.rows[:, :24] == 50).all()


def test_nothing_half_written_stays(folder):
    with h5py.File(folder / "encoder" / "states.hdf5", "r+") as file:
        file["hidden2"][5, 3] = numpy.nan
    with pytest.raises(UserError, match="hidden2 holds a value that is no number, at step 5"):
        build_index(folder / "encoder")
    assert not list((folder / "encoder").glob("index*"))


def test_a_full_disk_is_one_message_before_anything_is_mapped(folder, monkeypatch):
    """A page of a memory map that finds no room ends the process, so the room is reserved first."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match="the index of .*encoder cannot be written: No space left on device"):
        build_index(folder / "encoder")
    assert not list((folder / "encoder").glob("index*"))


def test_float16_states(tmp_path):
    values = numpy.linspace(-1, 1, 40).reshape(20, 2)
    write_side(tmp_path / "decoder", {"hidden1": values}, ["a"] * 20, [20], dtype="float16")
    write_capture(tmp_path, ["decoder"])
    index = open_index(open_side(tmp_path))
    assert (index.rows == levels(values.astype(numpy.float16))).all()


def spoil_states(folder):
    path = folder / "decoder" / "states.hdf5"
    os.truncate(path, path.stat().st_size // 2)


def spoil_offsets(folder):
    with h5py.File(folder / "decoder" / "train.hdf5", "r+") as file:
        file["sentence_offsets"][-1] = 3


def spoil_words(folder):
    with h5py.File(folder / "decoder" / "train.hdf5", "r+") as file:
        file["word_ids"][0] = 99


def spoil_attention(folder):
    with h5py.File(folder / "decoder" / "attention.hdf5", "r+") as file:
        file["offsets"][1] = 3


def spoil_project(folder):
    path = folder / "decoder" / "lstm.yml"
    path.write_text(path.read_text().replace("states.hdf5", "../../elsewhere.hdf5"))


def spoil_track(folder):
    with h5py.File(folder / "decoder" / "train.hdf5", "r+") as file:
        del file["meta/depth"]
        file["meta/depth"] = numpy.zeros(3)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda folder: (folder / "capture.json").unlink(), "no whole capture"),
        (
            lambda folder: (folder / "decoder" / "lstm.yml").unlink(),
            "lstm.yml is missing: capture the states again",
        ),
        (lambda folder: (folder / "decoder" / "words.dict").unlink(), "the file .*words.dict is missing: capture the"),
        (lambda folder: (folder / "capture.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "capture.json").write_text('{"version": 2, "sides": ["decoder"]}'), "version 2"),
        (lambda folder: (folder / "capture.json").write_text('{"version": 1, "sides": ["../x"]}'), "only encoder"),
        (lambda folder: (folder / "decoder" / "words.dict").unlink(), "is missing"),
        (lambda folder: (folder / "decoder" / "words.dict").write_text("what\n"), "cannot be read"),
        (lambda folder: (folder / "decoder" / "train.hdf5").write_text("no"), "cut off or no HDF5 file"),
        (spoil_states, "cut off or no HDF5 file"),
        (spoil_offsets, "sentence_offsets"),
        (spoil_words, "not in the dictionary"),
        (spoil_attention, "does not fit the sentences"),
        (spoil_project, "outside of its folder"),
        (spoil_track, "the track depth"),
    ],
)
def test_a_damaged_capture_is_refused_with_one_message(folder, spoil, message):
    spoil(folder)
    with pytest.raises(UserError, match=message) as refused:
        open_capture(folder)
    assert "\n" not in str(refused.value)


def to_another_file(folder, change):
    """The states of the decoder moved to a file outside of the capture."""
    path, other = folder / "decoder" / "states.hdf5", folder.parent / "elsewhere.hdf5"
    shutil.copyfile(path, other)
    with h5py.File(path, "r+") as file:
        shape = file["hidden2"].shape
        del file["hidden2"]
        change(file, str(other), shape)


def external_link(file, other, shape):
    file["hidden2"] = h5py.ExternalLink(other, "hidden2")


def external_storage(file, other, shape):
    file.create_dataset("hidden2", shape, "f4", external=[(other, 0, h5py.h5f.UNLIMITED)])


def virtual_dataset(file, other, shape):
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource(other, "hidden2", shape)
    file.create_virtual_dataset("hidden2", layout)


@pytest.mark.parametrize("change", [external_link, external_storage, virtual_dataset])
def test_data_in_another_file_is_not_served(folder, change):
    to_another_file(folder, change)
    with pytest.raises(UserError, match="states.hdf5 refers to data in another file .*hidden2.*: copy the data"):
        open_capture(folder)


def test_a_side_that_is_a_link_is_not_served(folder):
    (folder / "decoder").rename(folder.parent / "elsewhere")
    (folder / "decoder").symlink_to(folder.parent / "elsewhere")
    with pytest.raises(UserError, match="decoder is a link out of the folder"):
        open_capture(folder)


def test_an_index_is_not_written_through_a_link(folder):
    side, mine = folder / "decoder", folder.parent / "mine"
    mine.write_text("mine")
    (side / "index.rows.i8").symlink_to(mine)
    with pytest.raises(UserError, match="index.rows.i8 is a link: remove it"):
        open_index(open_side(folder))
    assert mine.read_text() == "mine"


def test_a_small_file_that_claims_much_is_refused_before_it_is_read(folder):
    """A dataset whose chunks were never written takes no room in its file."""
    path = folder / "decoder" / "states.hdf5"
    with h5py.File(path, "r+") as file:
        rows, units = file["hidden2"].shape
        del file["hidden2"]
        file.create_dataset("hidden2", (rows, units * 2**20), "f4", chunks=(1, 1024))
    with pytest.raises(UserError, match=r"states.hdf5 has [\d,]+ bytes, but claims [\d,]+ MB in /hidden2"):
        open_capture(folder)


@settings(max_examples=30)
@given(data=st.data())
def test_a_capture_with_damaged_bytes_opens_or_is_refused_in_one_line(tmp_path_factory, data):
    folder = parentheses_capture(tmp_path_factory.mktemp("damaged") / "capture", sentences=3)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        for side in open_capture(folder).sides.values():
            open_index(side)
    except UserError as refused:
        assert "\n" not in str(refused)


def test_no_folder():
    with pytest.raises(UserError, match="does not exist"):
        open_capture(Path("/nowhere/at/all"))
    with pytest.raises(UserError, match="test_index.py is no folder: fairseq-bso states writes one"):
        open_capture(Path(__file__))


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


@pytest.mark.parametrize("name", ["word_ids", "sentence_offsets", "sentence_ids"])
def test_a_capture_with_damaged_numbers_is_to_be_made_again(folder, name):
    with h5py.File(folder / "decoder" / "train.hdf5", "r+") as file:
        values = file[name][:] + 0.5
        del file[name]
        file[name] = values
    with pytest.raises(UserError, match=f"{name} holds .*whole numbers: capture the states again"):
        open_capture(folder)


def test_symbols_with_white_space_are_one_word_in_the_files_of_lstmvis(tmp_path):
    """LSTMVis skips lines that have more than two words, and the symbol would be missing later."""
    symbols = ["a", "10\u00a0000", "\u3000", "b\u2028c"]
    lstmvis.write_dictionary(tmp_path / "words.dict", symbols)
    lstmvis.write_labels(tmp_path / "labels.dict", ["noun phrase", "</s>"])
    words = [line.split() for line in (tmp_path / "words.dict").read_text("utf-8").split("\n")[:-1]]
    assert words == [["a", "0"], ["10_000", "1"], ["_", "2"], ["b_c", "3"]]
    assert (tmp_path / "labels.dict").read_text() == "</s>_ -1\nnoun_phrase 0\n</s> 1\n"
