"""What `fairseq-bso states` refuses, in one message and with nothing half-written left; folders that it replaces."""

import argparse
import shutil
import sys

import pytest
import torch
from tiny_captures import SOURCES, read, run, states, write_checkpoint, write_data

from fairseq_bso.errors import UserError
from fairseq_bso.interpret.capture import command
from fairseq_bso.interpret.capture import hdf5_files as files
from fairseq_bso.interpret.capture.capture import capture
from fairseq_bso.interpret.capture.options import CaptureOptions


def test_a_folder_that_exists_is_replaced_only_if_asked_and_only_if_it_is_a_capture(tiny_models, tmp_path):
    out = tmp_path / "out"
    states(tiny_models, out)
    with pytest.raises(UserError, match="exists: give --overwrite"):
        states(tiny_models, out)
    states(tiny_models, out, overwrite=True, sides=("encoder",))
    assert list(read(out)) == ["encoder"]
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is no capture: --overwrite does not replace it"):
        states(tiny_models, out, overwrite=True)
    assert (out / "thesis.txt").read_text() == "mine"


def test_what_an_interrupted_capture_left_is_removed(tiny_models, tmp_path, monkeypatch):
    (tmp_path / "out.part" / "encoder").mkdir(parents=True)
    (tmp_path / "out.part" / "encoder" / "states.hdf5").write_text("half")
    states(tiny_models, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.CaptureFiles, "append", stop)
    with pytest.raises(KeyboardInterrupt):
        states(tiny_models, tmp_path / "other")
    with pytest.raises(KeyboardInterrupt):  # the first capture is kept
        states(tiny_models, tmp_path / "out", overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out"} and len(read(tmp_path / "out")) == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_capture_of_one_name_is_refused_and_the_first_is_whole(tiny_models, tmp_path, monkeypatch, overwrite):
    append, asked = files.CaptureFiles.append, []

    def begin_another(self, records):
        if not asked:
            asked.append(True)
            with pytest.raises(UserError, match="another process writes .*out now: wait .*, or give another --out"):
                states(tiny_models, tmp_path / "out", overwrite=overwrite, sides=("encoder",))
        append(self, records)

    monkeypatch.setattr(files.CaptureFiles, "append", begin_another)
    states(tiny_models, tmp_path / "out")
    assert asked and list(read(tmp_path / "out")) == ["decoder", "encoder"]
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_full_disk_ends_with_one_message_and_no_folder(tiny_models, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match="has room for 0.00 GB: make room, give another --out"):
        states(tiny_models, tmp_path / "out")
    monkeypatch.undo()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.CaptureFiles, "append", full)
    with pytest.raises(UserError, match="No space left on device.*make room there"):
        states(tiny_models, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "model, options, message",
    [
        ("none", {}, "none.pt does not exist"),
        ("bso", {"subset": "valid"}, "no subset valid of src-tgt: there are test; correct its name"),
        ("bso", {"top_k": 10}, "--top-k is 10, but the dictionary has 9 words"),
        ("bso", {"top_k": -1, "beam": 0}, "--beam is 0, .*; --top-k is -1"),
        ("bso", {"target_text": "t"}, "--target-text needs --text"),
        ("bso", {"sides": ("encoder",), "decoder_tracks": ("a=b",)}, "is for the decoder, which --sides leaves out"),
        ("bso", {"decode_on": "output", "decoder_tracks": ("a=b",)}, "other words: leave it out"),
        ("bso", {"text": "no/such/file"}, "--text no/such/file cannot be read"),
        ("lm", {"sides": ("encoder",)}, "a lstm_lm has decoder"),
        ("lm", {"decode_on": "output"}, "a language model reads its text"),
        ("lm", {"subset": "train"}, "no subset 'train'"),
        ("bso", {"break_mode": "eos"}, "--sample-break-mode eos is for language models"),
    ],
)
def test_bad_input_ends_with_one_message(tiny_models, tmp_path, model, options, message):
    with pytest.raises(UserError, match=message):
        states(tiny_models, tmp_path / "out", model, **options)
    assert list(tmp_path.iterdir()) == []


def test_sentences_without_references_need_another_way(tmp_path):
    data = write_data(tmp_path / "data", targets=None)
    with pytest.raises(UserError, match="no references .* --decode-on output, or --sides encoder"):
        run(tmp_path, "bso_lstm", data=data)
    _, found = run(tmp_path, "bso_lstm", {"decode_on": "output"}, data=data, max_target_positions=9)
    assert len(found["decoder"]["sentence_ids"]) == len(SOURCES)
    (tmp_path / "empty").write_text("")
    with pytest.raises(UserError, match="holds no sentence"):
        run(tmp_path, "bso_lstm", {"text": str(tmp_path / "empty")}, data=data)


def test_another_architecture_is_refused_with_the_supported_ones(tmp_path):
    data = write_data(tmp_path / "data")
    sizes = {f"{side}_ffn_embed_dim": 6 for side in ("encoder", "decoder")}
    heads = {f"{side}_attention_heads": 1 for side in ("encoder", "decoder")}
    layers = {f"{side}_layers": 1 for side in ("encoder", "decoder")}
    with pytest.raises(UserError, match="TransformerModel.*bso_lstm, lstm, lstm_lm"):
        run(tmp_path, "transformer", data=data, **sizes, **heads, **layers)


def test_other_dictionaries_and_damaged_checkpoints_are_refused(tiny_models, tmp_path):
    data = write_data(tmp_path / "data")
    (data / "dict.tgt.txt").write_text("word0 1\n")
    with pytest.raises(UserError, match="prepare the data with the checkpoint's dictionaries"):
        capture(str(tiny_models / "bso.pt"), str(data), str(tmp_path / "out"), CaptureOptions(cpu=True))
    (tmp_path / "bad.pt").write_bytes((tiny_models / "bso.pt").read_bytes()[:-200])
    with pytest.raises(UserError, match="bad.pt cannot be read"):
        capture(str(tmp_path / "bad.pt"), str(tiny_models / "data"), str(tmp_path / "out"), CaptureOptions(cpu=True))
    with pytest.raises(UserError, match="dictionaries in .* cannot be loaded .*: correct the data folder"):
        capture(str(tiny_models / "bso.pt"), str(tmp_path), str(tmp_path / "out"), CaptureOptions(cpu=True))


def test_a_checkpoint_whose_options_fairseq_would_evaluate_is_refused(tmp_path):
    """A harmless name stands for code: `len` is no number of layers."""
    data = write_data(tmp_path / "data")
    write_checkpoint(tmp_path / "model.pt", data, "lstm")
    state = torch.load(tmp_path / "model.pt")
    state["cfg"]["model"].adaptive_softmax_cutoff = "len"
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UserError, match="has adaptive_softmax_cutoff 'len', which fairseq would run as Python code"):
        capture(str(tmp_path / "model.pt"), str(data), str(tmp_path / "out"), CaptureOptions(cpu=True))


def test_without_h5py_there_is_one_message(tiny_models, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="needs h5py: pip install"):
        states(tiny_models, tmp_path / "out")


def test_the_old_name_of_an_option_still_works_and_says_so_in_one_line(capsys):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    needed = ["model.pt", "--out", "out"]
    assert parser.parse_args(needed).decode_on == "reference"
    assert parser.parse_args([*needed, "--decode-on", "output"]).decode_on == "output"
    assert capsys.readouterr().err == ""
    assert parser.parse_args([*needed, "--along", "output"]).decode_on == "output"
    assert capsys.readouterr().err == "warning: --along is deprecated: use --decode-on output\n"
    assert "--along" not in parser.format_help()


def test_problems_of_options_are_reported_together_and_with_their_names():
    with pytest.raises(
        UserError, match="--decode-on is both, but must be reference or output; --sample-break-mode is x"
    ):
        CaptureOptions(decode_on="both", break_mode="x").check()
