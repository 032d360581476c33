"""One's own text in `fairseq-bso view --model`: states as captured, changed units, attribution, saved pages."""

import json
from urllib.parse import urlencode

import numpy
import pytest
import torch
from own_text_servers import MODELS, TARGET, TEXT
from tiny_captures import SOURCES, TARGETS, read, states
from view_applications import answers_over

from fairseq_bso.interpret.models.changes import UnitEdit
from fairseq_bso.interpret.view.addresses import answers_of
from fairseq_bso.interpret.view.fields import BadRequest


@pytest.mark.parametrize("name", MODELS)
def test_states_of_own_text_are_those_that_states_captures(own_folder, own_apps, ask_own, tmp_path, name):
    """All datasets to 1e-5; the answers of the server to the digits that the page shows."""
    (tmp_path / "text").write_text(f"{TEXT}\n")
    (tmp_path / "target").write_text(f"{TARGET}\n")
    both = {} if name == "lm" else {"target_text": str(tmp_path / "target")}
    states(own_folder, tmp_path / "out", name, gates=name == "lstm", text=str(tmp_path / "text"), **both)
    wanted = read(tmp_path / "out")
    target = None if name == "lm" else TARGET
    run = own_apps[name][1].session.run(TEXT, target)
    compared = 0
    for (file, dataset), values in run.record.items():
        side = file.split("/")[0]
        path = "attention_weights" if dataset == "weights" else dataset
        numpy.testing.assert_allclose(values, wanted[side][path], rtol=1e-5, atol=1e-5)
        compared += 1
    assert compared >= 6
    fields = {"text": TEXT} if target is None else {"text": TEXT, "target": target}
    for side in sorted(wanted, reverse=True):
        answer = ask_own(name, "own", side=side, **fields)
        for one in answer["states"]:
            shown, exact = numpy.array(one["values"]).T, wanted[side][one["name"]]
            exact = numpy.tanh(exact) if one["name"].startswith("cell") else exact
            assert numpy.abs(shown - exact).max() < 2e-4
        assert len(answer["words"]) == len(wanted[side]["word_ids"]) and not any(answer["unknown"].values())
    measure = "score" if name == "raw" else "loss"
    numpy.testing.assert_allclose(answer["tracks"][measure], wanted["decoder"][measure], atol=1e-4)
    if name != "lm":
        numpy.testing.assert_allclose(
            numpy.ravel(answer["pair"]["weights"]), wanted["decoder"]["attention_weights"], atol=1e-4
        )
        assert answer["pair"]["words"] == [*TARGET.split(), "</s>"]


@pytest.mark.parametrize("name", ["raw", "lstm"])
def test_without_a_target_the_model_reads_its_own_output(own_folder, own_apps, tmp_path, name):
    (tmp_path / "text").write_text(f"{TEXT}\n")
    states(own_folder, tmp_path / "out", name, gates=name == "lstm", text=str(tmp_path / "text"), decode_on="output")
    wanted = read(tmp_path / "out")["decoder"]
    run = own_apps[name][1].session.run(TEXT, None)
    assert run.words("decoder").tolist() == wanted["word_ids"].tolist()
    numpy.testing.assert_allclose(run.states("decoder", "hidden1"), wanted["hidden1"], rtol=1e-5, atol=1e-5)


def test_unknown_words_are_named(ask_own):
    answer = ask_own("bso", "own", side="encoder", text="word1 huhu word1 huhu haha", target="word1 hihi")
    assert answer["unknown"] == {"encoder": ["huhu", "haha"], "decoder": ["hihi"]}
    assert answer["words"] == ["word1", "<unk>", "word1", "<unk>", "<unk>", "</s>"]


def test_units_selected_in_own_text_are_those_of_the_definition_and_match_in_the_corpus(ask_own):
    fields = {"text": TEXT, "side": "decoder", "threshold": "0.1", "states": "hidden1,cell2", "left": 0}
    fields["target"] = TARGET
    found = ask_own("bso", "own_select", **{**fields, "from": 1, "to": 2})
    shown = ask_own("bso", "own", text=TEXT, target=TARGET, side="decoder", states="hidden1,cell2")
    wanted = []
    for one in shown["states"]:
        for unit, values in enumerate(one["values"]):
            if min(values[1:3]) >= 0.1:
                wanted.append(f"{one['name']}:{unit}")
    assert wanted and found == {"units": wanted, "of": 12}
    off_before = ask_own("bso", "own_select", **{**fields, "from": 1, "to": 2, "left": 1})["units"]
    first = {f"{one['name']}:{unit}": values[0] for one in shown["states"] for unit, values in enumerate(one["values"])}
    assert off_before == [unit for unit in wanted if first[unit] < 0.1]
    match = {"side": "decoder", "threshold": "0.1", "units": ",".join(wanted), "minimum": 1}
    assert ask_own("bso", "match", **match)["units"] == wanted


@pytest.mark.parametrize("name", MODELS)
def test_an_intervention_changes_what_follows_and_nothing_before(own_apps, ask_own, name):
    fields = {"text": TEXT} if name == "lm" else {"text": TEXT, "target": TARGET}
    answer = ask_own(
        name, "intervention", side="decoder", units="hidden1:2,cell1:0", value="0.9", **{"from": 1, "to": 2}, **fields
    )
    own = own_apps[name][1]
    run = own.session.run(TEXT, fields.get("target"))
    edits = {
        "hidden1": UnitEdit(torch.tensor([2]), torch.tensor([0.9]), 1, 2),
        "cell1": UnitEdit(torch.tensor([0]), torch.tensor([0.9]), 1, 2),
    }
    changed = own.session.changed(run, "decoder", edits)
    numpy.testing.assert_allclose(answer["after"], changed.measure, atol=1e-4)
    before, after = numpy.array(answer["before"]), numpy.array(answer["after"])
    assert before[0] == after[0] and (before[1:] != after[1:]).any()
    assert answer["predictions_before"][0] == answer["predictions_after"][0]
    assert answer["words"][-1] == "</s>" and answer["values"] == [0.9, 0.9]
    assert answer["mean_after"] == pytest.approx(after.mean(), abs=2e-4)


def test_an_intervention_may_be_in_the_encoder_and_at_the_mean_of_the_corpus(own_folder, ask_own):
    fields = {"text": TEXT, "target": TARGET, "side": "encoder", "from": 0, "to": 5}
    answer = ask_own("bso", "intervention", units="cell2:3,hidden1:7", value="mean", **fields)
    stored = read(own_folder / "bso")["encoder"]
    wanted = [stored["cell2"][:, 3].mean(), stored["hidden1"][:, 7].mean()]
    numpy.testing.assert_allclose(answer["values"], wanted, atol=1e-4)
    assert answer["before"] != answer["after"]


@pytest.mark.parametrize("name", MODELS)
def test_integrated_gradients_of_own_text_add_up(ask_own, name):
    fields = {"text": TEXT} if name == "lm" else {"text": TEXT, "target": TARGET}
    answer = ask_own(name, "attribution", method="integrated", **fields)
    total = numpy.array(answer["target"]).sum(1)
    assert (answer["source"] is None) == (name == "lm")
    if name != "lm":
        total = total + numpy.array(answer["source"]).sum(1)
        assert numpy.array(answer["source"]).shape == (len(answer["words"]), len(answer["source_words"]))
    difference = numpy.array(answer["score"]) - numpy.array(answer["baseline"])
    numpy.testing.assert_allclose(total, difference, atol=0.01)
    numpy.testing.assert_allclose(difference - total, answer["missing"], atol=0.01)
    assert ask_own(name, "attribution", **fields)["method"] == "gradient_input"


@pytest.mark.parametrize("name", ["bso", "lm"])
def test_a_saved_page_holds_the_answers_that_the_page_asks(own_apps, ask_own, name):
    own = own_apps[name][1]
    opened = own.capture
    fields = {"text": TEXT} if name == "lm" else {"text": TEXT, "target": TARGET}
    shown = {"side": "decoder", "states": "hidden1", "threshold": "0.1", "left": 0}
    state = {
        "view": "own",
        **fields,
        **shown,
        "first": 1,
        "last": 2,
        "set": "hidden1:2",
        "sto": 99,
        "tint": "integrated",
    }
    found = json.loads(json.dumps(answers_of(answers_over(opened, own), "#" + urlencode(state))))
    assert found["own"] == ask_own(name, "own", side="decoder", states="hidden1", **fields)
    place = {"from": 1, "to": 2}
    assert found["own_select"] == ask_own(name, "own_select", **fields, **shown, **place)
    last = len(found["own"]["words"]) - 1
    set_there = {"side": "decoder", "units": "hidden1:2", "value": "mean", "from": 0, "to": last}
    assert found["intervention"] == ask_own(name, "intervention", **fields, **set_there)
    assert found["attribution"] == ask_own(name, "attribution", method="integrated", **fields)
    assert ("match" in found) == bool(found["own_select"]["units"]) and found["info"]["own"]["longest"] == 100
    assert set(answers_of(answers_over(opened, own), "view=own")) == {"info"}
    with pytest.raises(BadRequest, match="needs the model"):
        answers_of(answers_over(opened), "view=own")


def test_the_corpus_itself_is_read_alike_as_own_text(own_folder, own_apps):
    """Every sentence of the corpus, alone and unpadded, has the states that were captured in a padded batch."""
    stored = read(own_folder / "bso")
    for sentence, (source, target) in enumerate(zip(SOURCES, TARGETS)):
        source, target = (" ".join(f"word{word - 4}" for word in words[:-1]) for words in (source, target))
        run = own_apps["bso"][1].session.run(source, target)
        for side in stored:
            start, stop = stored[side]["sentence_offsets"][sentence : sentence + 2]
            numpy.testing.assert_allclose(
                run.states(side, "hidden2"), stored[side]["hidden2"][start:stop], rtol=1e-5, atol=1e-5
            )
