"""The answers of the server of `fairseq-bso view`, compared with values computed here."""

import json
from urllib.parse import quote

import h5py
import numpy
import pytest
from reference.capture_folders import parentheses_capture, write_capture, write_side
from view_applications import application

from fairseq_bso.interpret.folder.index import open_index
from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.units.ranking import rank_units


@pytest.fixture(scope="module")
def stored(parentheses):
    """All datasets of the decoder, read from the files."""
    with h5py.File(parentheses / "decoder" / "states.hdf5", "r") as file:
        found = {name: data[:] for name, data in file.items()}
    with h5py.File(parentheses / "decoder" / "train.hdf5", "r") as file:
        for name in ("word_ids", "sentence_offsets", "loss", "predictions", "prediction_scores", "meta/depth"):
            found[name] = file[name][:]
    lines = (parentheses / "decoder" / "words.dict").read_text().splitlines()
    dictionary = {int(number): word for word, number in (line.rsplit(" ", 1) for line in lines)}
    found["words"] = [dictionary[one] for one in found["word_ids"]]
    return found


def test_info_says_what_there_is(ask_view, stored):
    info = ask_view("info")
    assert [side["name"] for side in info["sides"]] == ["encoder", "decoder"]
    decoder = info["sides"][1]
    assert decoder["steps"] == len(stored["words"]) and decoder["sentences"] == 80 and decoder["predictions"] == 3
    assert [(one["name"], one["units"], one["transform"]) for one in decoder["states"]] == [
        ("hidden1", 24, "none"),
        ("cell1", 24, "tanh"),
        ("hidden2", 24, "none"),
    ]
    assert {"name": "depth", "labels": list("01234")} in decoder["tracks"]
    assert info["attention"] is True and info["checkpoint"] == "checkpoint_best.pt"


def test_no_path_of_the_machine_is_shown(tmp_path):
    write_side(tmp_path / "decoder", {"hidden1": numpy.zeros((3, 2))}, ["a", "b", "c"], [3])
    write_capture(tmp_path, ["decoder"])
    content = json.loads((tmp_path / "capture.json").read_text())
    content["checkpoint"], content["secret"] = "/home/somebody/run/checkpoint_best.pt", "/home/somebody"
    (tmp_path / "capture.json").write_text(json.dumps(content))
    text = application(tmp_path).test_client().get("/api/info").get_data(as_text=True)
    assert "somebody" not in text and "checkpoint_best.pt" in text


def test_context_holds_the_states_and_all_that_is_known_of_the_words(ask_view, stored):
    answer = ask_view("context?side=decoder&start=10&length=7&states=cell1,hidden2")
    assert answer["words"] == stored["words"][10:17]
    assert [one["name"] for one in answer["states"]] == ["cell1", "hidden2"]
    for one, wanted in zip(answer["states"], (numpy.tanh(stored["cell1"]), stored["hidden2"])):
        assert numpy.abs(numpy.array(one["values"]).T - wanted[10:17]).max() <= 1e-4
    assert answer["tracks"]["depth"] == stored["meta/depth"][10:17].tolist()
    assert numpy.allclose(answer["tracks"]["loss"], stored["loss"][10:17], atol=1e-4)
    best = answer["predictions"][2][0]
    dictionary = dict(zip(stored["word_ids"].tolist(), stored["words"]))
    assert best[0] == dictionary[stored["predictions"][12, 0]] and abs(best[1] - numpy.log(0.6)) < 1e-3
    first = answer["sentences"][0]
    number = first["number"]
    assert first["start"] == stored["sentence_offsets"][number] <= 10 and first["id"] == number + 100
    assert first["start"] + first["length"] == stored["sentence_offsets"][number + 1]


def test_a_window_ends_with_the_corpus(ask_view, stored):
    steps = len(stored["words"])
    assert ask_view(f"context?side=decoder&start={steps - 2}&length=50&states=hidden1")["words"] == stored["words"][-2:]


def test_a_window_can_begin_with_a_sentence(ask_view, stored):
    answer = ask_view("context?side=decoder&sentence=5&length=2&states=hidden1")
    assert answer["start"] == stored["sentence_offsets"][5]


def test_the_page_sees_a_unit_on_exactly_where_the_index_does(ask_view, stored):
    """Values are truncated toward zero, so no value is rounded up to a threshold."""
    answer = ask_view("context?side=decoder&start=0&length=200&states=hidden1")
    shown = numpy.array(answer["states"][0]["values"]).T
    exact = stored["hidden1"][:200].astype(numpy.float64)
    for hundredths in range(1, 101):
        assert ((shown >= hundredths / 100) == (exact >= hundredths / 100)).all()


def selected(values, first, last, threshold, left, right, sign=1):
    """The units that are on throughout the range and off around it; beyond the corpus every unit is off."""
    on = sign * values.astype(numpy.float64) >= threshold
    found = []
    for unit in range(values.shape[1]):
        around = [*range(first - left, first), *range(last + 1, last + 1 + right)]
        off = all(not on[step, unit] for step in around if 0 <= step < len(on))
        if on[first : last + 1, unit].all() and off:
            found.append(unit)
    return found


@pytest.mark.parametrize("first, last", [(0, 1), (4, 4), (20, 22), (-3, -1)])
@pytest.mark.parametrize("left, right", [(1, 0), (0, 0), (0, 2), (3, 1)])
@pytest.mark.parametrize("direction", ["above", "below"])
def test_selection_is_that_of_the_definition(ask_view, stored, first, last, left, right, direction):
    steps = len(stored["words"])
    first, last = first % steps, last % steps
    answer = ask_view(
        f"select?side=decoder&states=hidden1&from={first}&to={last}&threshold=0.15&left={left}&right={right}"
        f"&direction={direction}"
    )
    sign = 1 if direction == "above" else -1
    wanted = selected(stored["hidden1"], first, last, 0.15, left, right, sign)
    assert answer == {"units": [f"hidden1:{unit}" for unit in wanted], "of": 24}


def opening(stored, length=3):
    """The first step at which the depth rises from 0 and stays above 0."""
    depth = stored["meta/depth"]
    return next(s for s in range(1, len(depth)) if depth[s - 1] == 0 and (depth[s : s + length] > 0).all())


def test_matches_are_runs_of_the_selected_units(ask_view, stored):
    start = opening(stored)
    query = f"side=decoder&states=hidden1&from={start}&to={start + 2}&threshold=0.5&mode=precise"
    answer = ask_view(f"match?{query}&limit=200&before=2&after=3")
    assert answer["units"] == ask_view(f"select?{query.replace('&mode=precise', '')}")["units"]
    assert "hidden1:0" in answer["units"] and len(answer["matches"]) > 5
    units = [int(name.split(":")[1]) for name in answer["units"]]
    values = stored["hidden1"]
    for match in answer["matches"]:
        first, last = match["start"], match["start"] + match["length"] - 1
        matching = selected(values, first, last, 0.5, 1, 0)
        assert match["overlap"] == len(set(matching) & set(units)) >= 1
        assert match["others"] == len(set(matching) - set(units))
        assert (first, last) != (start, start + 2) and match["length"] >= 2
        shown = slice(match["from"], match["from"] + len(match["words"]))
        assert match["words"] == stored["words"][shown] and match["from"] == max(0, first - 2)
        assert match["active"] == (values[shown][:, units].astype(float) >= 0.5).sum(1).tolist()
        assert match["tracks"]["depth"] == stored["meta/depth"][shown].tolist()
    ranks = [(-match["overlap"], match["others"], -match["length"], match["start"]) for match in answer["matches"]]
    assert ranks == sorted(ranks)


def test_matches_of_units_that_are_named(ask_view):
    query = "match?side=decoder&states=hidden1,hidden2&threshold=0.5&limit=5"
    answer = ask_view(f"{query}&units=hidden2:1,hidden1:0")
    assert answer["units"] == ["hidden1:0", "hidden2:1"] and answer["matches"]
    # An earlier name of the field is `cells`.
    assert ask_view(f"{query}&cells=hidden2:1,hidden1:0") == answer
    assert "cells is its old name" in ask_view(f"{query}&cells=hidden1:0&units=hidden1:0", status=400)["error"]


def test_no_selected_unit_means_no_match(ask_view):
    answer = ask_view("match?side=decoder&states=hidden1&from=0&to=1&threshold=1")
    assert answer["units"] == [] and answer["matches"] == []


def test_long_matches_are_cut(tmp_path):
    values = numpy.zeros((600, 2))
    values[100:500, 0] = 0.9
    write_side(tmp_path / "decoder", {"hidden1": values}, ["a"] * 600, [600])
    write_capture(tmp_path, ["decoder"])
    client = application(tmp_path).test_client()
    match = json.loads(client.get("/api/match?units=hidden1:0").get_data())["matches"][0]
    assert (match["start"], match["length"]) == (100, 400) and len(match["words"]) == 120


def test_search_finds_words_phrases_and_parts(ask_view, stored):
    words = stored["words"]
    pairs = [place for place in range(len(words) - 1) if words[place : place + 2] == ["(", "2"]]
    answer = ask_view(f"search?side=decoder&text={quote('( 2')}&limit=200")
    assert answer["total"] == len(pairs) and [one["start"] for one in answer["places"]] == pairs[:200]
    one = answer["places"][3]
    assert one["words"][one["start"] - one["from"] :][:2] == ["(", "2"]
    later = ask_view(f"search?side=decoder&text={quote('( 2')}&start={pairs[2] + 1}&limit=1")
    assert later["places"][0]["start"] == pairs[3] and later["total"] == len(pairs)
    assert ask_view("search?side=decoder&text=*S*")["total"] == 80
    assert ask_view("search?side=decoder&text=nothing")["places"] == []
    assert ask_view(f"search?side=decoder&text={quote('0 ' * 20)}")["total"] == 0


def test_a_sentence_pair_with_its_attention(ask_view):
    answer = ask_view("sentence?number=3")
    source, target = answer["source"], answer["target"]
    assert target["words"][-1] == "</s>" and target["words"][:-1] == target["read"][1:]
    assert source["words"] == target["words"]  # the states are those of a copying model
    weights = numpy.array(answer["weights"])
    assert weights.shape == (target["length"], source["length"]) and numpy.allclose(weights.sum(1), 1, atol=0.01)
    assert (weights.argmax(1) == numpy.arange(len(weights))).all() and answer["id"] == 103


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_numbers_that_json_has_not_are_one_sentence(tmp_path, value):
    folder = parentheses_capture(tmp_path / "capture", sentences=4)
    with h5py.File(folder / "decoder" / "attention.hdf5", "r+") as file:
        file["weights"][:] = value
    answer = application(folder).test_client().get("/api/sentence?number=1")
    assert answer.status_code == 422
    assert "numbers here that are not finite: its file is damaged, or" in json.loads(answer.get_data())["error"]


def test_statistics_rank_as_the_units_room_does(ask_view, parentheses, stored):
    answer = ask_view("statistics?side=decoder&states=hidden1&track=kind&label=number&limit=5")
    index = open_index(open_capture(parentheses).sides["decoder"])
    codes = open_capture(parentheses).sides["decoder"].tracks["kind"].values
    units = index.units[:24]
    wanted = rank_units(units, codes, "area_under_curve", 1, 5)
    assert [one["unit"] for one in answer["units"]] == [f"hidden1:{unit}" for unit in wanted.units.tolist()]
    assert answer["units"][0]["unit"] == "hidden1:5" and answer["units"][0]["f1"] > 0.99
    assert numpy.allclose([one["score"] for one in answer["units"]], wanted.scores, atol=1e-4)
    assert max(answer["control"]) < 0.7 < answer["units"][0]["score"]
    assert answer["units"][0]["direction"] == "above"


def test_statistics_of_all_labels_and_of_numbers(ask_view):
    depth = ask_view("statistics?side=decoder&states=hidden1&track=depth")
    assert depth["criterion"] == "correlation_ratio" and depth["units"][0]["score"] > 0.95
    means = next(one["means"] for one in depth["units"] if one["unit"] == "hidden1:4")
    assert all(abs(mean - 0.22 * label) < 0.03 for label, mean in enumerate(means))
    place = ask_view("statistics?side=decoder&states=hidden1&track=place&limit=3")
    assert place["criterion"] == "correlation" and place["units"][0]["error"] <= 2 * place["units"][0]["error_of_mean"]
