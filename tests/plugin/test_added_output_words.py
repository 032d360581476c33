"""`fairseq-bso view DIR --index --model CHECKPOINT`: the output words of a capture of an earlier version."""

from pathlib import Path

import h5py
import numpy
import pytest
from tiny_captures import read, run, write_data

from fairseq_bso import cli
from fairseq_bso.errors import UserError
from fairseq_bso.interpret.folder import output_words


@pytest.fixture(params=["bso_lstm", "lstm_lm"])
def old(request, tmp_path):
    """A capture with cards, from which the output words are removed, and the arrays that it had before."""
    options = {"task": "language_modeling"} if request.param == "lstm_lm" else {}
    data = write_data(tmp_path / "data")
    _, found = run(tmp_path, request.param, {"index": True}, data=data, decoder_layers=2, encoder_layers=2, **options)
    with h5py.File(tmp_path / "out" / "decoder" / "train.hdf5", "r+") as file:
        del file["output_words"]
    return tmp_path / "out", found["decoder"]


def view(folder, *options):
    """Exports the card of a unit; returns the text of the page."""
    page = folder.parent / "card.html"
    model = ["--model", str(folder.parent / "model.pt"), "--data", str(folder.parent / "data"), "--cpu"]
    address = ["--export", str(page), "--address", "view=unit&side=decoder&unit=hidden2:3"]
    assert cli.main(["view", str(folder), *model, *address, *options]) == 0
    return Path(page).read_text(encoding="utf-8")


def test_a_model_adds_what_a_new_capture_has(old):
    folder, wanted = old
    files = {one.name for one in folder.rglob("*")}
    assert '"words":null' in view(folder)
    assert not any(name.startswith("output_words/") for name in read(folder)["decoder"])
    assert '"words":{"raised":[["' in view(folder, "--index")
    found = read(folder)["decoder"]
    assert found.keys() == wanted.keys() and "output_words/hidden2/words" in found
    for name, values in wanted.items():
        numpy.testing.assert_array_equal(found[name], values, err_msg=name)
    assert '"words":{"raised":[["' in view(folder, "--index")  # again, in place of those that are there
    assert {one.name for one in folder.rglob("*")} == files


def test_a_file_that_cannot_be_written_stays_as_it_is(old, monkeypatch):
    folder, _ = old
    before = (folder / "decoder" / "train.hdf5").read_bytes()

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output_words.shutil, "copyfile", full)
    with pytest.raises(UserError, match="the output words cannot be written to .*train.hdf5: .*No space left"):
        view(folder, "--index")
    assert (folder / "decoder" / "train.hdf5").read_bytes() == before and not list(folder.glob("*/*.partial"))
