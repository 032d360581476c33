"""One's own text in `fairseq-bso view --model`: states as captured, changed units, attribution, refused requests."""

import json
from urllib.parse import urlencode

import numpy
import pytest
import torch
from tiny_captures import SOURCES, TARGETS, read, write_checkpoint, write_data

from fairseq_bso.errors import UserError
from fairseq_bso.interpret.capture.capture import capture
from fairseq_bso.interpret.capture.options import CaptureOptions
from fairseq_bso.interpret.folder.index import open_index
from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.live.session import open_session
from fairseq_bso.interpret.models.changes import UnitEdit
from fairseq_bso.interpret.view.addresses import answers_of
from fairseq_bso.interpret.view.answers import Answers
from fairseq_bso.interpret.view.fields import BadRequest
from fairseq_bso.interpret.view.own_answers import OwnAnswers
from fairseq_bso.interpret.view.server import make_app

MODELS = {
    "bso": ("bso_lstm", {"encoder_layers": 2, "decoder_layers": 2, "encoder_bidirectional": True}),
    "raw": ("bso_lstm", {"scorer": "summed", "max_target_positions": 12}),
    "lstm": ("lstm", {"encoder_bidirectional": True, "max_target_positions": 12}),
    "lm": ("lstm_lm", {"task": "language_modeling", "decoder_layers": 2}),
}
TEXT, TARGET = "word3 word1 word0 word0 word4", "word2 word2 word5"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with data, checkpoints, and captures of the corpus."""
    folder = tmp_path_factory.mktemp("own")
    write_data(folder / "data")
    for name, (arch, options) in MODELS.items():
        write_checkpoint(folder / f"{name}.pt", folder / "data", arch, **options)
        states(folder, name, folder / name, gates=name == "lstm")
    return folder


def states(folder, name, out, **options):
    capture(str(folder / f"{name}.pt"), str(folder / "data"), str(out), CaptureOptions(cpu=True, **options))


def application(folder, name):
    opened = open_capture(folder / name)
    own = OwnAnswers(opened, open_session(str(folder / f"{name}.pt"), str(folder / "data"), opened, cpu=True))
    answers = Answers(opened, {side: open_index(one) for side, one in opened.sides.items()}, own)
    return make_app(opened, answers), own


@pytest.fixture(scope="module")
def apps(made):
    return {name: application(made, name) for name in MODELS}


@pytest.fixture
def ask(apps):
    def question(name, path, status=200, **fields):
        answer = apps[name][0].test_client().get(f"/api/{path}?{urlencode(fields)}")
        assert answer.status_code == status, answer.get_data(as_text=True)[:300]
        return json.loads(answer.get_data())

    return question


@pytest.mark.parametrize("name", MODELS)
def test_states_of_own_text_are_those_that_states_captures(made, apps, ask, tmp_path, name):
    """All datasets to 1e-5; the answers of the server to the digits that the page shows."""
    (tmp_path / "text").write_text(f"{TEXT}\n")
    (tmp_path / "target").write_text(f"{TARGET}\n")
    both = {} if name == "lm" else {"target_text": str(tmp_path / "target")}
    states(made, name, tmp_path / "out", gates=name == "lstm", text=str(tmp_path / "text"), **both)
    wanted = read(tmp_path / "out")
    target = None if name == "lm" else TARGET
    run = apps[name][1].session.run(TEXT, target)
    compared = 0
    for (file, dataset), values in run.record.items():
        side = file.split("/")[0]
        path = "attention_weights" if dataset == "weights" else dataset
        numpy.testing.assert_allclose(values, wanted[side][path], rtol=1e-5, atol=1e-5)
        compared += 1
    assert compared >= 6
    fields = {"text": TEXT} if target is None else {"text": TEXT, "target": target}
    for side in sorted(wanted, reverse=True):
        answer = ask(name, "own", side=side, **fields)
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
def test_without_a_target_the_model_reads_its_own_output(made, apps, tmp_path, name):
    (tmp_path / "text").write_text(f"{TEXT}\n")
    states(made, name, tmp_path / "out", gates=name == "lstm", text=str(tmp_path / "text"), decode_on="output")
    wanted = read(tmp_path / "out")["decoder"]
    run = apps[name][1].session.run(TEXT, None)
    assert run.words("decoder").tolist() == wanted["word_ids"].tolist()
    numpy.testing.assert_allclose(run.states("decoder", "hidden1"), wanted["hidden1"], rtol=1e-5, atol=1e-5)


def test_unknown_words_are_named(ask):
    answer = ask("bso", "own", side="encoder", text="word1 huhu word1 huhu haha", target="word1 hihi")
    assert answer["unknown"] == {"encoder": ["huhu", "haha"], "decoder": ["hihi"]}
    assert answer["words"] == ["word1", "<unk>", "word1", "<unk>", "<unk>", "</s>"]


def test_units_selected_in_own_text_are_those_of_the_definition_and_match_in_the_corpus(ask):
    fields = {"text": TEXT, "side": "decoder", "threshold": "0.1", "states": "hidden1,cell2", "left": 0}
    fields["target"] = TARGET
    found = ask("bso", "own_select", **{**fields, "from": 1, "to": 2})
    shown = ask("bso", "own", text=TEXT, target=TARGET, side="decoder", states="hidden1,cell2")
    wanted = []
    for one in shown["states"]:
        for unit, values in enumerate(one["values"]):
            if min(values[1:3]) >= 0.1:
                wanted.append(f"{one['name']}:{unit}")
    assert wanted and found == {"units": wanted, "of": 12}
    off_before = ask("bso", "own_select", **{**fields, "from": 1, "to": 2, "left": 1})["units"]
    first = {f"{one['name']}:{unit}": values[0] for one in shown["states"] for unit, values in enumerate(one["values"])}
    assert off_before == [unit for unit in wanted if first[unit] < 0.1]
    match = {"side": "decoder", "threshold": "0.1", "units": ",".join(wanted), "minimum": 1}
    assert ask("bso", "match", **match)["units"] == wanted


@pytest.mark.parametrize("name", MODELS)
def test_an_intervention_changes_what_follows_and_nothing_before(apps, ask, name):
    fields = {"text": TEXT} if name == "lm" else {"text": TEXT, "target": TARGET}
    answer = ask(
        name, "intervention", side="decoder", units="hidden1:2,cell1:0", value="0.9", **{"from": 1, "to": 2}, **fields
    )
    own = apps[name][1]
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


def test_an_intervention_may_be_in_the_encoder_and_at_the_mean_of_the_corpus(made, ask):
    fields = {"text": TEXT, "target": TARGET, "side": "encoder", "from": 0, "to": 5}
    answer = ask("bso", "intervention", units="cell2:3,hidden1:7", value="mean", **fields)
    stored = read(made / "bso")["encoder"]
    wanted = [stored["cell2"][:, 3].mean(), stored["hidden1"][:, 7].mean()]
    numpy.testing.assert_allclose(answer["values"], wanted, atol=1e-4)
    assert answer["before"] != answer["after"]


@pytest.mark.parametrize("name", MODELS)
def test_integrated_gradients_of_own_text_add_up(ask, name):
    fields = {"text": TEXT} if name == "lm" else {"text": TEXT, "target": TARGET}
    answer = ask(name, "attribution", method="integrated", **fields)
    total = numpy.array(answer["target"]).sum(1)
    assert (answer["source"] is None) == (name == "lm")
    if name != "lm":
        total = total + numpy.array(answer["source"]).sum(1)
        assert numpy.array(answer["source"]).shape == (len(answer["words"]), len(answer["source_words"]))
    difference = numpy.array(answer["score"]) - numpy.array(answer["baseline"])
    numpy.testing.assert_allclose(total, difference, atol=0.01)
    numpy.testing.assert_allclose(difference - total, answer["missing"], atol=0.01)
    assert ask(name, "attribution", **fields)["method"] == "gradient_input"


@pytest.mark.parametrize("name", ["bso", "lm"])
def test_a_saved_page_holds_the_answers_that_the_page_asks(made, apps, ask, name):
    own = apps[name][1]
    opened = own.capture
    indexes = {side: open_index(one) for side, one in opened.sides.items()}
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
    found = json.loads(json.dumps(answers_of(Answers(opened, indexes, own), "#" + urlencode(state))))
    assert found["own"] == ask(name, "own", side="decoder", states="hidden1", **fields)
    place = {"from": 1, "to": 2}
    assert found["own_select"] == ask(name, "own_select", **fields, **shown, **place)
    last = len(found["own"]["words"]) - 1
    set_there = {"side": "decoder", "units": "hidden1:2", "value": "mean", "from": 0, "to": last}
    assert found["intervention"] == ask(name, "intervention", **fields, **set_there)
    assert found["attribution"] == ask(name, "attribution", method="integrated", **fields)
    assert ("match" in found) == bool(found["own_select"]["units"]) and found["info"]["own"]["longest"] == 100
    assert set(answers_of(Answers(opened, indexes, own), "view=own")) == {"info"}
    with pytest.raises(BadRequest, match="needs the model"):
        answers_of(Answers(opened, indexes), "view=own")


LONG = "word1 " * 100_000
RANGE = {"from": 0, "to": 1}


@pytest.mark.parametrize(
    "path, fields",
    [
        ("own", {}),
        ("own", {"text": ""}),
        ("own", {"text": LONG}),
        ("own", {"text": "a " * 101}),
        ("own", {"text": "word1\x00word2"}),
        ("own", {"text": "word1\nword2"}),
        ("own", {"text": "\x1b[31m"}),
        ("own", {"text": "word1", "target": LONG}),
        ("own", {"text": "word1", "states": "hidden9"}),
        ("own", {"text": "word1", "states": ""}),
        ("own", {"text": "word1", "callback": "x"}),
        ("own", {"text": "word1", "side": "both"}),
        ("own_select", {"text": "word1"}),
        ("own_select", {"text": "word1", "from": 0, "to": 99}),
        ("own_select", {"text": "word1", "from": 1, "to": 0}),
        ("own_select", {"text": "word1", "from": 0, "to": 10**14}),
        ("own_select", {"text": "word1", **RANGE, "threshold": "nan"}),
        ("intervention", {"text": "word1", **RANGE, "units": "hidden1:0"}),
        ("intervention", {"text": "word1", **RANGE, "value": "1"}),
        ("intervention", {"text": "word1", **RANGE, "value": "nan", "units": "hidden1:0"}),
        ("intervention", {"text": "word1", **RANGE, "value": "1e9", "units": "hidden1:0"}),
        ("intervention", {"text": "word1", **RANGE, "value": "101", "units": "hidden1:0"}),
        ("intervention", {"text": "word1", **RANGE, "value": "-", "units": "hidden1:0"}),
        ("intervention", {"text": "word1", **RANGE, "value": "1", "units": "hidden1:6"}),
        ("intervention", {"text": "word1", **RANGE, "value": "1", "units": "input1:0"}),
        ("intervention", {"text": "word1", **RANGE, "value": "1", "units": "../x"}),
        ("intervention", {"text": "word1", "from": 0, "to": 99, "value": "1", "units": "hidden1:0"}),
        ("attribution", {"text": "word1", "method": "saliency"}),
        ("attribution", {"text": "word1 " * 61, "target": "word1 " * 61}),
    ],
)
def test_hostile_requests_are_refused_with_one_sentence(ask, path, fields):
    needs_side = path != "attribution" and "side" not in fields
    answer = ask("lstm", path, 400, **({"side": "decoder", **fields} if needs_side else fields))
    assert list(answer) == ["error"] and 8 < len(answer["error"]) < 600 and "\n" not in answer["error"]
    assert ask("lstm", "own", side="decoder", text="word1", target="word1")["words"]  # the server is up


def test_a_language_model_has_no_target(ask):
    assert "language model" in ask("lm", "own", 400, text="word1", target="word1")["error"]


def test_without_a_model_there_is_one_sentence_and_other_methods_are_refused(made, apps):
    opened = open_capture(made / "bso")
    app = make_app(opened, Answers(opened, {side: open_index(one) for side, one in opened.sides.items()}))
    for name in ("own", "own_select", "intervention", "attribution"):
        answer = app.test_client().get(f"/api/{name}?text=word1")
        assert answer.status_code == 404 and "--model" in json.loads(answer.get_data())["error"]
    assert json.loads(app.test_client().get("/api/info").get_data())["own"] is None
    with_model = apps["bso"][0].test_client()
    assert json.loads(with_model.get("/api/info").get_data())["own"]["translation"] is True
    assert with_model.post("/api/own", data="text=word1", content_type="text/plain").status_code == 405
    assert with_model.get("/api/own?text=word1", headers={"Host": "stranger.example"}).status_code == 403


def test_another_model_is_refused_with_one_message(made, tmp_path):
    opened = open_capture(made / "bso")

    def refused(message, checkpoint, data=made / "data", folder=opened):
        with pytest.raises(UserError, match=message):
            open_session(str(checkpoint), str(data), folder, cpu=True)

    refused("lstm.pt is not the model of .* captured from another content of bso.pt", made / "lstm.pt")
    refused("none.pt does not exist", tmp_path / "none.pt")
    del opened.summary["checkpoint_sha256"]  # as in a capture that was put together by hand
    refused("lstm.pt is a lstm, but .* holds states of bso_lstm", made / "lstm.pt")
    refused("raw.pt has no units hidden2 in its encoder|raw.pt has 6 units hidden1", made / "raw.pt")
    words = write_data(tmp_path / "data")
    (words / "dict.src.txt").write_text("".join(f"other{i} 1\n" for i in range(6)))
    refused("another encoder dictionary", made / "bso.pt", words)
    refused(
        "has no capture.json, so its model is not known", made / "bso.pt", folder=open_capture(made / "bso" / "decoder")
    )


def test_the_corpus_itself_is_read_alike_as_own_text(made, apps):
    """Every sentence of the corpus, alone and unpadded, has the states that were captured in a padded batch."""
    stored = read(made / "bso")
    for sentence, (source, target) in enumerate(zip(SOURCES, TARGETS)):
        source, target = (" ".join(f"word{word - 4}" for word in words[:-1]) for words in (source, target))
        run = apps["bso"][1].session.run(source, target)
        for side in stored:
            start, stop = stored[side]["sentence_offsets"][sentence : sentence + 2]
            numpy.testing.assert_allclose(
                run.states(side, "hidden2"), stored[side]["hidden2"][start:stop], rtol=1e-5, atol=1e-5
            )
