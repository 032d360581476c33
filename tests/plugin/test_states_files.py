"""The files of `fairseq-bso states` for LSTMVis, tracks, complete or absent folders, and refused options."""

import argparse
import json
import shutil
import sys

import h5py
import numpy
import pytest
import torch
import yaml
from tiny_captures import SOURCES, TARGETS, attention_of, of_sentence, read, run, write_checkpoint, write_data

from fairseq_bso.errors import UserError
from fairseq_bso.interpret.capture import command, records
from fairseq_bso.interpret.capture import hdf5_files as files
from fairseq_bso.interpret.capture.capture import capture
from fairseq_bso.interpret.capture.options import CaptureOptions
from fairseq_bso.interpret.folder import reader as capture_folder

LANGUAGE_MODEL = {"arch": "lstm_lm", "task": "language_modeling"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with `data`, and the checkpoints `bso.pt` and `lm.pt`."""
    folder = tmp_path_factory.mktemp("states")
    write_data(folder / "data")
    write_checkpoint(folder / "bso.pt", folder / "data", "bso_lstm")
    write_checkpoint(folder / "lm.pt", folder / "data", **LANGUAGE_MODEL)
    return folder


def states(made, out, model="bso", **options):
    """Captures states; returns the content of capture.json."""
    options = {"cpu": True, "index": False, **options}
    return capture(str(made / f"{model}.pt"), str(made / "data"), str(out), CaptureOptions(**options))


def track(tmp_path, name, lines):
    """Writes a track; returns its NAME=FILE."""
    (tmp_path / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return (f"{name}={tmp_path / name}.txt",)


def test_every_file_and_path_that_lstm_yml_names_is_there_with_a_value_for_each_word(made, tmp_path):
    tracks = track(tmp_path, "tag", ["a b c a", "b", "a a b", "", "a b a b a b a b"])
    tracks += track(tmp_path, "depth", ["1 2 3 4", "5", "1 1 0.5", "", "1 2 3 4 5 6 7 8"])
    summary = states(made, tmp_path / "out", gates=True, tracks=tracks)
    assert summary["sides"] == ["encoder", "decoder"] and summary["sentences"] == 5
    assert json.loads((tmp_path / "out" / "capture.json").read_text()) == summary
    for side, steps in (("encoder", sum(map(len, SOURCES))), ("decoder", sum(map(len, TARGETS)))):
        folder = tmp_path / "out" / side
        project = yaml.safe_load((folder / "lstm.yml").read_text())
        assert all((folder / name).is_file() for name in project["files"].values())
        opened = {key: h5py.File(folder / name, "r") for key, name in project["files"].items() if ".hdf5" in name}
        words = project["word_sequence"]
        assert opened[words["file"]][words["path"]].shape == (steps,)
        names = read_dictionary(folder / project["files"][words["dict_file"]])
        assert [names[number] for number in (1, 2, 4)] == ["<pad>", "</s>", "word0"]
        for state in project["states"]["types"]:
            data = opened[project["states"]["file"]][state["path"]]
            assert data.ndim == 2 and len(data) == steps and data.dtype == numpy.float32
            assert state.get("transform") == (None if state["type"] == "cell" else "none")
            assert state.get("unsigned", False) == (state["type"] in ("input", "forget", "output"))
            assert (data.attrs["kind"], data.attrs["layer"]) == (state["type"], state["layer"])
            assert data.attrs["directions"] == 1
        for meta in project["meta"].values():
            data = opened[meta["file"]][meta["path"]]
            assert len(data) == steps and numpy.isfinite(data[:]).all()  # JSON has no NaN
            if "dict" in meta:
                known = read_dictionary(folder / project["files"][meta["dict"]])
                assert set(numpy.unique(data[:])) <= set(known)
        assert set(project["meta"]) == ({"tag", "depth"} if side == "encoder" else {"loss", "predictions"})


def read_dictionary(path):
    """{id: word}, read like LSTMVis."""
    pairs = [line.split() for line in path.read_text().splitlines()]
    assert all(len(pair) == 2 for pair in pairs)
    return {int(number): word for word, number in pairs}


def test_encoder_tracks_end_and_decoder_tracks_begin_with_no_value(made, tmp_path):
    tags = track(tmp_path, "tag", ["b b a b", "a", "a a b", "", "a b a b a b a b"])
    numbers = track(tmp_path, "place", [" ".join(str(i / 2) for i in range(len(target) - 1)) for target in TARGETS])
    states(made, tmp_path / "out", tracks=tags, decoder_tracks=numbers)
    found = read(tmp_path / "out")
    assert of_sentence(found["encoder"], "meta/tag", 0).tolist() == [1, 1, 0, 1, -1]
    assert of_sentence(found["encoder"], "meta/tag", 3).tolist() == [-1]
    place = of_sentence(found["decoder"], "meta/place", 1)
    assert numpy.isnan(place[0]) and place[1:].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    with h5py.File(tmp_path / "out" / "encoder" / "train.hdf5") as file:
        assert json.loads(file["meta/tag"].attrs["labels"]) == ["a", "b"]
    assert "meta/tag" not in found["decoder"] and "meta/place" not in found["encoder"]


@pytest.mark.parametrize(
    "settings, options",
    [
        ({"break_mode": "eos"}, {}),
        ({}, {"tokens_per_sample": 4}),
        ({"break_mode": "complete"}, {"tokens_per_sample": 9, "add_bos_token": True}),
    ],
)
def test_tracks_of_a_language_model_stay_with_their_words(tmp_path, settings, options):
    """Each value is the id of its word, so that every row shows the expected value."""
    ids = track(tmp_path, "id", [" ".join(map(str, sentence[:-1])) for sentence in SOURCES])
    _, found = run(tmp_path, **LANGUAGE_MODEL, options={**settings, "tracks": ids}, **options)
    words, values = found["decoder"]["word_ids"], found["decoder"]["meta/id"]
    expected = numpy.where(words > 3, words, numpy.nan)
    numpy.testing.assert_array_equal(values, expected)
    assert (words == 0).sum() == (len(found["decoder"]["sentence_ids"]) if options.get("add_bos_token") else 0)


@pytest.mark.parametrize(
    "name, lines, message",
    [
        (
            "tag",
            ["a b c a", "b c", "a a b", "", "a b a b a b a b"],
            "line 2 has 2 values, but the sentence has 1 words",
        ),
        ("tag", ["a b c a", "b"], "has 2 lines, but there are 5 sentences"),
        ("loss", ["a"], "other than loss, score, predictions"),
        ("a/b", None, "is not NAME=FILE"),
        ("none", None, "cannot be read"),
    ],
)
def test_tracks_that_do_not_fit_are_refused(made, tmp_path, name, lines, message):
    given = track(tmp_path, name, lines) if lines else (f"{name}={tmp_path}/none",)
    with pytest.raises(UserError, match=message):
        states(made, tmp_path / "out", tracks=given)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.part").exists()


def test_text_and_binarised_data_give_the_same(made, tmp_path):
    for name, sentences in (("source", SOURCES), ("target", TARGETS)):
        lines = [" ".join(f"word{word - 4}" for word in sentence[:-1]) for sentence in sentences]
        # The mark at the start, as some programs write it, is no part of the first word.
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8-sig")
    text = {"text": str(tmp_path / "source"), "target_text": str(tmp_path / "target")}
    for model, extra in (("bso", text), ("lm", {"text": text["text"]})):
        states(made, tmp_path / f"data_{model}", model)
        states(made, tmp_path / f"text_{model}", model, **extra)
        from_data, from_text = read(tmp_path / f"data_{model}"), read(tmp_path / f"text_{model}")
        for side, datasets in from_data.items():
            for name, values in datasets.items():
                numpy.testing.assert_array_equal(from_text[side][name], values)


def test_sides_predictions_and_half_the_space_are_as_asked_for(made, tmp_path):
    states(made, tmp_path / "whole")
    states(made, tmp_path / "small", float16=True, top_k=0, sides=("decoder",))
    whole, small = read(tmp_path / "whole"), read(tmp_path / "small")
    assert list(small) == ["decoder"] and not (tmp_path / "small" / "encoder").exists()
    assert "predictions" not in small["decoder"]
    for name in ("hidden1", "cell1", "attentional", "attention_weights"):
        assert small["decoder"][name].dtype == numpy.float16
        numpy.testing.assert_allclose(small["decoder"][name], whole["decoder"][name], atol=2e-3)
    assert small["decoder"]["loss"].dtype == numpy.float32
    states(made, tmp_path / "source", sides=("encoder",))
    assert list(read(tmp_path / "source")) == ["encoder"]


def test_attention_rows_add_up_to_one(made, tmp_path):
    states(made, tmp_path / "out")
    found = read(tmp_path / "out")
    for sentence, (source, target) in enumerate(zip(SOURCES, TARGETS)):
        weights = attention_of(found, sentence)
        assert weights.shape == (len(target), len(source))
        numpy.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)


def test_the_folder_opens_for_viewing_with_its_index(made, tmp_path):
    tags = track(tmp_path, "tag", ["b b a b", "a", "a a b", "", "a b a b a b a b"])
    states(made, tmp_path / "out", index=True, tracks=tags)
    opened = capture_folder.open_capture(tmp_path / "out")
    assert opened.describe()["attention"] and set(opened.sides) == {"encoder", "decoder"}
    for side in opened.sides:
        size = (tmp_path / "out" / side / "index.rows.i8").stat().st_size
        assert size == opened.sides[side].steps * opened.sides[side].units


def test_a_folder_that_exists_is_replaced_only_if_asked_and_only_if_it_is_a_capture(made, tmp_path):
    out = tmp_path / "out"
    states(made, out)
    with pytest.raises(UserError, match="exists: give --overwrite"):
        states(made, out)
    states(made, out, overwrite=True, sides=("encoder",))
    assert list(read(out)) == ["encoder"]
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is no capture: --overwrite does not replace it"):
        states(made, out, overwrite=True)
    assert (out / "thesis.txt").read_text() == "mine"


def test_what_an_interrupted_capture_left_is_removed(made, tmp_path, monkeypatch):
    (tmp_path / "out.part" / "encoder").mkdir(parents=True)
    (tmp_path / "out.part" / "encoder" / "states.hdf5").write_text("half")
    states(made, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.CaptureFiles, "append", stop)
    with pytest.raises(KeyboardInterrupt):
        states(made, tmp_path / "other")
    with pytest.raises(KeyboardInterrupt):  # the first capture is kept
        states(made, tmp_path / "out", overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"out"} and len(read(tmp_path / "out")) == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_capture_of_one_name_is_refused_and_the_first_is_whole(made, tmp_path, monkeypatch, overwrite):
    append, asked = files.CaptureFiles.append, []

    def begin_another(self, records):
        if not asked:
            asked.append(True)
            with pytest.raises(UserError, match="another process writes .*out now: wait .*, or give another --out"):
                states(made, tmp_path / "out", overwrite=overwrite, sides=("encoder",))
        append(self, records)

    monkeypatch.setattr(files.CaptureFiles, "append", begin_another)
    states(made, tmp_path / "out")
    assert asked and list(read(tmp_path / "out")) == ["decoder", "encoder"]
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_full_disk_ends_with_one_message_and_no_folder(made, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UserError, match="has room for 0.00 GB: make room, give another --out"):
        states(made, tmp_path / "out")
    monkeypatch.undo()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.CaptureFiles, "append", full)
    with pytest.raises(UserError, match="No space left on device.*make room there"):
        states(made, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_one_word_one_sentence_and_a_very_long_one(tmp_path):
    long = [4 + place % 6 for place in range(3000)] + [2]
    data = write_data(tmp_path / "long", [long, [4, 2]], [[5, 2], long])
    _, found = run(tmp_path, "bso_lstm", {"max_tokens": 100}, data=data)
    assert found["encoder"]["hidden1"].shape == (3003, 6) and found["decoder"]["attention_offsets"][-1] == 12004
    data = write_data(tmp_path / "one", [[4, 2]], [[2]])
    _, found = run(tmp_path, "lstm", data=data)
    assert found["encoder"]["word_ids"].tolist() == [4, 2] and found["decoder"]["word_ids"].tolist() == [2]


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
def test_bad_input_ends_with_one_message(made, tmp_path, model, options, message):
    with pytest.raises(UserError, match=message):
        states(made, tmp_path / "out", model, **options)
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


def test_other_dictionaries_and_damaged_checkpoints_are_refused(made, tmp_path):
    data = write_data(tmp_path / "data")
    (data / "dict.tgt.txt").write_text("word0 1\n")
    with pytest.raises(UserError, match="prepare the data with the checkpoint's dictionaries"):
        capture(str(made / "bso.pt"), str(data), str(tmp_path / "out"), CaptureOptions(cpu=True))
    (tmp_path / "bad.pt").write_bytes((made / "bso.pt").read_bytes()[:-200])
    with pytest.raises(UserError, match="bad.pt cannot be read"):
        capture(str(tmp_path / "bad.pt"), str(made / "data"), str(tmp_path / "out"), CaptureOptions(cpu=True))
    with pytest.raises(UserError, match="dictionaries in .* cannot be loaded .*: correct the data folder"):
        capture(str(made / "bso.pt"), str(tmp_path), str(tmp_path / "out"), CaptureOptions(cpu=True))


def test_a_checkpoint_whose_options_fairseq_would_evaluate_is_refused(tmp_path):
    """A harmless name stands for code: `len` is no number of layers."""
    data = write_data(tmp_path / "data")
    write_checkpoint(tmp_path / "model.pt", data, "lstm")
    state = torch.load(tmp_path / "model.pt")
    state["cfg"]["model"].adaptive_softmax_cutoff = "len"
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UserError, match="has adaptive_softmax_cutoff 'len', which fairseq would run as Python code"):
        capture(str(tmp_path / "model.pt"), str(data), str(tmp_path / "out"), CaptureOptions(cpu=True))


def test_scores_of_all_words_are_never_held_for_all_rows(made, tmp_path, monkeypatch):
    states(made, tmp_path / "whole")
    monkeypatch.setattr(records, "LARGEST_PRODUCT", 10)  # one row at a time
    states(made, tmp_path / "cut")
    for name in ("loss", "predictions", "prediction_scores"):
        whole, cut = (read(tmp_path / folder)["decoder"][name] for folder in ("whole", "cut"))
        numpy.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-6)


def test_without_h5py_there_is_one_message(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="needs h5py: pip install"):
        states(made, tmp_path / "out")


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
