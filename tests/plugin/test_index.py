"""The index of captured states: exact for the page's thresholds, stored in both orders, and rebuilt if it is stale."""

import json
import os

import h5py
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.capture_folders import write_capture, write_side

from fairseq_bso.errors import UserError
from fairseq_bso.interpret.folder.index import build_index, levels, open_index
from fairseq_bso.interpret.folder.reader import open_capture


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


def test_rows_and_units_hold_all_states_side_by_side(capture_folder):
    side = open_side(capture_folder)
    index = open_index(side)
    with h5py.File(capture_folder / "decoder" / "states.hdf5", "r") as file:
        wanted = [file["hidden1"][:], numpy.tanh(file["cell1"][:]), file["hidden2"][:]]
    columns = numpy.concatenate([levels(one) for one in wanted], axis=1)
    assert index.rows.dtype == numpy.int8 and (index.rows == columns).all()
    assert (index.units == columns.T).all()
    described = json.loads((capture_folder / "decoder" / "index.json").read_text())
    assert described["columns"][1] == {"states": "cell1", "first": 24, "units": 24, "transform": "tanh"}
    assert described["steps"] == side.steps


def test_the_files_of_the_index_keep_their_names(capture_folder):
    """Captures of earlier versions then need no new index."""
    open_index(open_side(capture_folder))
    names = {path.name for path in (capture_folder / "decoder").glob("index*")}
    assert names == {"index.rows.i8", "index.cells.i8", "index.json"}


def test_blocks_join_without_a_seam_and_progress_is_reported(capture_folder, monkeypatch):
    whole = numpy.array(open_index(open_side(capture_folder)).rows)
    monkeypatch.setattr("fairseq_bso.interpret.folder.index.BLOCK", 72 * 7)  # seven steps at a time
    reported = []
    build_index(capture_folder / "decoder", lambda done, total: reported.append((done, total)))
    assert (open_index(open_side(capture_folder)).rows == whole).all()
    assert (open_index(open_side(capture_folder)).units == whole.T).all()
    steps = len(whole)
    assert reported[0] == (7, steps) and reported[-1] == (steps, steps)


def test_the_index_is_the_same_before_and_after_the_capture_is_whole(capture_folder):
    """`fairseq-bso states` builds the index before it writes capture.json."""
    (capture_folder / "capture.json").unlink()
    build_index(capture_folder / "decoder")
    written = os.stat(capture_folder / "decoder" / "index.rows.i8").st_mtime_ns
    write_capture(capture_folder, ["encoder", "decoder"])
    open_index(open_side(capture_folder))
    assert os.stat(capture_folder / "decoder" / "index.rows.i8").st_mtime_ns == written


@pytest.mark.parametrize("damage", ["other states", "cut off", "no description", "nonsense"])
def test_a_stale_or_damaged_index_is_built_again(capture_folder, damage):
    side = capture_folder / "decoder"
    open_index(open_side(capture_folder))
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
    index = open_index(open_side(capture_folder))
    assert (index.rows == index.units.T).all()
    if damage == "other states":
        assert (index.rows[:, :24] == 50).all()


def test_nothing_half_written_stays(capture_folder):
    with h5py.File(capture_folder / "encoder" / "states.hdf5", "r+") as file:
        file["hidden2"][5, 3] = numpy.nan
    with pytest.raises(UserError, match="hidden2 holds a value that is no number, at step 5"):
        build_index(capture_folder / "encoder")
    assert not list((capture_folder / "encoder").glob("index*"))


def test_a_full_disk_is_one_message_before_anything_is_mapped(capture_folder, monkeypatch):
    """A page of a memory map that finds no room ends the process, so the room is reserved first."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match="the index of .*encoder cannot be written: No space left on device"):
        build_index(capture_folder / "encoder")
    assert not list((capture_folder / "encoder").glob("index*"))


def test_float16_states(tmp_path):
    values = numpy.linspace(-1, 1, 40).reshape(20, 2)
    write_side(tmp_path / "decoder", {"hidden1": values}, ["a"] * 20, [20], dtype="float16")
    write_capture(tmp_path, ["decoder"])
    index = open_index(open_side(tmp_path))
    assert (index.rows == levels(values.astype(numpy.float16))).all()


def test_an_index_is_not_written_through_a_link(capture_folder):
    side, mine = capture_folder / "decoder", capture_folder.parent / "mine"
    mine.write_text("mine")
    (side / "index.rows.i8").symlink_to(mine)
    with pytest.raises(UserError, match="index.rows.i8 is a link: remove it"):
        open_index(open_side(capture_folder))
    assert mine.read_text() == "mine"
