"""The files of `fairseq-bso states`: for LSTMVis, tracks, from text and from binarised data, sides and numbers."""

import json

import h5py
import numpy
import pytest
import torch
import yaml
from tiny_captures import LANGUAGE_MODEL, SOURCES, TARGETS, attention_of, of_sentence, read, run, states, write_data

from fairseq_bso.errors import UserError
from fairseq_bso.interpret.capture import records as records_module
from fairseq_bso.interpret.capture.hdf5_files import CaptureFiles
from fairseq_bso.interpret.capture.sentences import SentencePairs
from fairseq_bso.interpret.capture.track_files import read_tracks
from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.models import state_reader


def track(tmp_path, name, lines):
    """Writes a track; returns its NAME=FILE."""
    (tmp_path / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return (f"{name}={tmp_path / name}.txt",)


def test_every_file_and_path_that_lstm_yml_names_is_there_with_a_value_for_each_word(tiny_models, tmp_path):
    tracks = track(tmp_path, "tag", ["a b c a", "b", "a a b", "", "a b a b a b a b"])
    tracks += track(tmp_path, "depth", ["1 2 3 4", "5", "1 1 0.5", "", "1 2 3 4 5 6 7 8"])
    summary = states(tiny_models, tmp_path / "out", gates=True, tracks=tracks)
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


def test_word_numbers_beyond_16_bits_come_back(tmp_path):
    """HDF5 would write a number that the type cannot hold as the largest one, without an error (findings)."""
    words, records = torch.tensor([5, 40_000, 70_000, 200_000, 2**31 - 1]), [{}]
    records_module._add_states(records, "encoder", [words], {"hidden1": torch.zeros(1, 5, 2)}, torch.float32)
    files = CaptureFiles(tmp_path)
    files.create(records[0], {name: len(values) for name, values in records[0].items()})
    files.append(records)
    files.close()
    with h5py.File(tmp_path / "encoder" / "train.hdf5") as file:
        assert file["word_ids"][:].tolist() == words.tolist()


def test_labels_that_python_alone_reads_as_numbers_stay_labels(tmp_path):
    given = track(tmp_path, "class", ["1_1 1_2"])
    (found,) = read_tracks(given, "--track", SentencePairs([[4, 5, 2]], None, 2), "encoder")
    assert found.labels == ["1_1", "1_2"] and found.values.tolist() == [0, 1, -1]


def test_encoder_tracks_end_and_decoder_tracks_begin_with_no_value(tiny_models, tmp_path):
    tags = track(tmp_path, "tag", ["b b a b", "a", "a a b", "", "a b a b a b a b"])
    numbers = track(tmp_path, "place", [" ".join(str(i / 2) for i in range(len(target) - 1)) for target in TARGETS])
    states(tiny_models, tmp_path / "out", tracks=tags, decoder_tracks=numbers)
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
            "line 2 has 2 values, but the sentence has 1 word",
        ),
        ("tag", ["a b c a", "b"], "has 2 lines for 5 sentences"),
        ("loss", ["a"], "other than loss, score, predictions"),
        ("a/b", None, "is not NAME=FILE"),
        ("none", None, "cannot be read"),
    ],
)
def test_tracks_that_do_not_fit_are_refused(tiny_models, tmp_path, name, lines, message):
    given = track(tmp_path, name, lines) if lines else (f"{name}={tmp_path}/none",)
    with pytest.raises(UserError, match=message):
        states(tiny_models, tmp_path / "out", tracks=given)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.part").exists()


def test_text_and_binarised_data_give_the_same(tiny_models, tmp_path):
    for name, sentences in (("source", SOURCES), ("target", TARGETS)):
        lines = [" ".join(f"word{word - 4}" for word in sentence[:-1]) for sentence in sentences]
        # The mark at the start, as some programs write it, is no part of the first word.
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8-sig")
    text = {"text": str(tmp_path / "source"), "target_text": str(tmp_path / "target")}
    for model, extra in (("bso", text), ("lm", {"text": text["text"]})):
        states(tiny_models, tmp_path / f"data_{model}", model)
        states(tiny_models, tmp_path / f"text_{model}", model, **extra)
        from_data, from_text = read(tmp_path / f"data_{model}"), read(tmp_path / f"text_{model}")
        for side, datasets in from_data.items():
            for name, values in datasets.items():
                numpy.testing.assert_array_equal(from_text[side][name], values)


def test_sides_predictions_and_half_the_space_are_as_asked_for(tiny_models, tmp_path):
    states(tiny_models, tmp_path / "whole")
    states(tiny_models, tmp_path / "small", float16=True, top_k=0, sides=("decoder",))
    whole, small = read(tmp_path / "whole"), read(tmp_path / "small")
    assert list(small) == ["decoder"] and not (tmp_path / "small" / "encoder").exists()
    assert "predictions" not in small["decoder"]
    for name in ("hidden1", "cell1", "attentional", "attention_weights"):
        assert small["decoder"][name].dtype == numpy.float16
        numpy.testing.assert_allclose(small["decoder"][name], whole["decoder"][name], atol=2e-3)
    assert small["decoder"]["loss"].dtype == numpy.float32
    states(tiny_models, tmp_path / "source", sides=("encoder",))
    assert list(read(tmp_path / "source")) == ["encoder"]


def test_attention_rows_add_up_to_one(tiny_models, tmp_path):
    states(tiny_models, tmp_path / "out")
    found = read(tmp_path / "out")
    for sentence, (source, target) in enumerate(zip(SOURCES, TARGETS)):
        weights = attention_of(found, sentence)
        assert weights.shape == (len(target), len(source))
        numpy.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)


def test_the_folder_opens_for_viewing_with_its_index(tiny_models, tmp_path):
    tags = track(tmp_path, "tag", ["b b a b", "a", "a a b", "", "a b a b a b a b"])
    states(tiny_models, tmp_path / "out", index=True, tracks=tags)
    opened = open_capture(tmp_path / "out")
    assert opened.describe()["attention"] and set(opened.sides) == {"encoder", "decoder"}
    for side in opened.sides:
        size = (tmp_path / "out" / side / "index.rows.i8").stat().st_size
        assert size == opened.sides[side].steps * opened.sides[side].units


def test_one_word_one_sentence_and_a_very_long_one(tmp_path):
    long = [4 + place % 6 for place in range(3000)] + [2]
    data = write_data(tmp_path / "long", [long, [4, 2]], [[5, 2], long])
    _, found = run(tmp_path, "bso_lstm", {"max_tokens": 100}, data=data)
    assert found["encoder"]["hidden1"].shape == (3003, 6) and found["decoder"]["attention_offsets"][-1] == 12004
    data = write_data(tmp_path / "one", [[4, 2]], [[2]])
    _, found = run(tmp_path, "lstm", data=data)
    assert found["encoder"]["word_ids"].tolist() == [4, 2] and found["decoder"]["word_ids"].tolist() == [2]


def test_scores_of_all_words_are_never_held_for_all_rows(tiny_models, tmp_path, monkeypatch):
    states(tiny_models, tmp_path / "whole")
    monkeypatch.setattr(state_reader, "LARGEST_PRODUCT", 10)  # one row at a time
    states(tiny_models, tmp_path / "cut")
    for name in ("loss", "predictions", "prediction_scores"):
        whole, cut = (read(tmp_path / folder)["decoder"][name] for folder in ("whole", "cut"))
        numpy.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-6)
