"""One's own text in `fairseq-bso view --model`: requests and models that are refused in one sentence."""

import json

import pytest
from tiny_captures import write_data
from view_applications import application

from fairseq_bso.errors import UserError
from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.live.session import open_session

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
def test_hostile_requests_are_refused_with_one_sentence(ask_own, path, fields):
    needs_side = path != "attribution" and "side" not in fields
    answer = ask_own("lstm", path, 400, **({"side": "decoder", **fields} if needs_side else fields))
    assert list(answer) == ["error"] and 8 < len(answer["error"]) < 600 and "\n" not in answer["error"]
    assert ask_own("lstm", "own", side="decoder", text="word1", target="word1")["words"]  # the server is up


def test_a_language_model_has_no_target(ask_own):
    assert "language model" in ask_own("lm", "own", 400, text="word1", target="word1")["error"]


def test_without_a_model_there_is_one_sentence_and_other_methods_are_refused(own_folder, own_apps):
    app = application(own_folder / "bso")
    for name in ("own", "own_select", "intervention", "attribution"):
        answer = app.test_client().get(f"/api/{name}?text=word1")
        assert answer.status_code == 404 and "--model" in json.loads(answer.get_data())["error"]
    assert json.loads(app.test_client().get("/api/info").get_data())["own"] is None
    with_model = own_apps["bso"][0].test_client()
    assert json.loads(with_model.get("/api/info").get_data())["own"]["translation"] is True
    assert with_model.post("/api/own", data="text=word1", content_type="text/plain").status_code == 405
    assert with_model.get("/api/own?text=word1", headers={"Host": "stranger.example"}).status_code == 403


def test_another_model_is_refused_with_one_message(own_folder, tmp_path):
    opened = open_capture(own_folder / "bso")

    def refused(message, checkpoint, data=own_folder / "data", folder=opened):
        with pytest.raises(UserError, match=message):
            open_session(str(checkpoint), str(data), folder, cpu=True)

    refused("lstm.pt is not the model of .* captured from another content of bso.pt", own_folder / "lstm.pt")
    refused("none.pt does not exist", tmp_path / "none.pt")
    del opened.summary["checkpoint_sha256"]  # as in a capture that was put together by hand
    refused("lstm.pt is a lstm, but .* holds states of bso_lstm", own_folder / "lstm.pt")
    refused("raw.pt has no units hidden2 in its encoder|raw.pt has 6 units hidden1", own_folder / "raw.pt")
    words = write_data(tmp_path / "data")
    (words / "dict.src.txt").write_text("".join(f"other{i} 1\n" for i in range(6)))
    refused("another encoder dictionary", own_folder / "bso.pt", words)
    side = open_capture(own_folder / "bso" / "decoder")
    refused("has no capture.json, so its model is not known", own_folder / "bso.pt", folder=side)
