"""Captures that are damaged, or refer to data elsewhere, are refused in one line."""

import os
import shutil
from pathlib import Path

import h5py
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.capture_folders import parentheses_capture

from fairseq_bso.errors import UserError
from fairseq_bso.interpret.folder.index import open_index
from fairseq_bso.interpret.folder.reader import open_capture


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
def test_a_damaged_capture_is_refused_with_one_message(capture_folder, spoil, message):
    spoil(capture_folder)
    with pytest.raises(UserError, match=message) as refused:
        open_capture(capture_folder)
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
def test_data_in_another_file_is_not_served(capture_folder, change):
    to_another_file(capture_folder, change)
    with pytest.raises(UserError, match="states.hdf5 refers to data in another file .*hidden2.*: copy the data"):
        open_capture(capture_folder)


def test_a_side_that_is_a_link_is_not_served(capture_folder):
    (capture_folder / "decoder").rename(capture_folder.parent / "elsewhere")
    (capture_folder / "decoder").symlink_to(capture_folder.parent / "elsewhere")
    with pytest.raises(UserError, match="decoder is a link out of the folder"):
        open_capture(capture_folder)


def test_a_small_file_that_claims_much_is_refused_before_it_is_read(capture_folder):
    """A dataset whose chunks were never written takes no room in its file."""
    path = capture_folder / "decoder" / "states.hdf5"
    with h5py.File(path, "r+") as file:
        rows, units = file["hidden2"].shape
        del file["hidden2"]
        file.create_dataset("hidden2", (rows, units * 2**20), "f4", chunks=(1, 1024))
    with pytest.raises(UserError, match=r"states.hdf5 has [\d,]+ bytes, but claims [\d,]+ MB in /hidden2"):
        open_capture(capture_folder)


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
    with pytest.raises(UserError, match="test_damaged_captures.py is no folder: fairseq-bso states writes one"):
        open_capture(Path(__file__))


@pytest.mark.parametrize("name", ["word_ids", "sentence_offsets", "sentence_ids"])
def test_a_capture_with_damaged_numbers_is_to_be_made_again(capture_folder, name):
    with h5py.File(capture_folder / "decoder" / "train.hdf5", "r+") as file:
        values = file[name][:] + 0.5
        del file[name]
        file[name] = values
    with pytest.raises(UserError, match=f"{name} holds .*whole numbers: capture the states again"):
        open_capture(capture_folder)
