"""The web server of `fairseq-bso view`: answers compared with values computed here, and refused requests."""

import json
import threading
import urllib.request
from urllib.parse import parse_qsl, quote

import h5py
import numpy
import pytest
import waitress
from reference.capture_folders import parentheses_capture, write_capture, write_side

from fairseq_bso import cli
from fairseq_bso.errors import UserError
from fairseq_bso.interpret.folder.index import open_index
from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.units.patterns import UnitQuery
from fairseq_bso.interpret.units.ranking import rank_units
from fairseq_bso.interpret.view.answers import Answers
from fairseq_bso.interpret.view.fields import RequestFields
from fairseq_bso.interpret.view.requests import PARSERS, MatchRequest, WordRange
from fairseq_bso.interpret.view.server import make_app


def application(folder, **options):
    capture = open_capture(folder)
    answers = Answers(capture, {name: open_index(side) for name, side in capture.sides.items()})
    return make_app(capture, answers, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return parentheses_capture(tmp_path_factory.mktemp("view") / "capture", sentences=80)


@pytest.fixture(scope="module")
def app(folder):
    return application(folder)


@pytest.fixture
def ask(app):
    client = app.test_client()

    def question(path, status=200):
        answer = client.get(f"/api/{path}")
        assert answer.status_code == status, answer.get_data(as_text=True)
        assert answer.content_type == "application/json; charset=utf-8"
        return json.loads(answer.get_data())

    return question


@pytest.fixture(scope="module")
def stored(folder):
    """All datasets of the decoder, read from the files."""
    with h5py.File(folder / "decoder" / "states.hdf5", "r") as file:
        found = {name: data[:] for name, data in file.items()}
    with h5py.File(folder / "decoder" / "train.hdf5", "r") as file:
        for name in ("word_ids", "sentence_offsets", "loss", "predictions", "prediction_scores", "meta/depth"):
            found[name] = file[name][:]
    lines = (folder / "decoder" / "words.dict").read_text().splitlines()
    dictionary = {int(number): word for word, number in (line.rsplit(" ", 1) for line in lines)}
    found["words"] = [dictionary[one] for one in found["word_ids"]]
    return found


def test_info_says_what_there_is(ask, stored):
    info = ask("info")
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


def test_context_holds_the_states_and_all_that_is_known_of_the_words(ask, stored):
    answer = ask("context?side=decoder&start=10&length=7&states=cell1,hidden2")
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


def test_a_window_ends_with_the_corpus(ask, stored):
    steps = len(stored["words"])
    assert ask(f"context?side=decoder&start={steps - 2}&length=50&states=hidden1")["words"] == stored["words"][-2:]


def test_a_window_can_begin_with_a_sentence(ask, stored):
    answer = ask("context?side=decoder&sentence=5&length=2&states=hidden1")
    assert answer["start"] == stored["sentence_offsets"][5]


def test_the_page_sees_a_unit_on_exactly_where_the_index_does(ask, stored):
    """Values are truncated toward zero, so no value is rounded up to a threshold."""
    answer = ask("context?side=decoder&start=0&length=200&states=hidden1")
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
def test_selection_is_that_of_the_definition(ask, stored, first, last, left, right, direction):
    steps = len(stored["words"])
    first, last = first % steps, last % steps
    answer = ask(
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


def test_matches_are_runs_of_the_selected_units(ask, stored):
    start = opening(stored)
    query = f"side=decoder&states=hidden1&from={start}&to={start + 2}&threshold=0.5&mode=precise"
    answer = ask(f"match?{query}&limit=200&before=2&after=3")
    assert answer["units"] == ask(f"select?{query.replace('&mode=precise', '')}")["units"]
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


def test_matches_of_units_that_are_named(ask):
    query = "match?side=decoder&states=hidden1,hidden2&threshold=0.5&limit=5"
    answer = ask(f"{query}&units=hidden2:1,hidden1:0")
    assert answer["units"] == ["hidden1:0", "hidden2:1"] and answer["matches"]
    # An earlier name of the field is `cells`.
    assert ask(f"{query}&cells=hidden2:1,hidden1:0") == answer
    assert "cells is its old name" in ask(f"{query}&cells=hidden1:0&units=hidden1:0", status=400)["error"]


def test_a_request_becomes_one_frozen_record_of_plain_values(folder):
    capture = open_capture(folder)
    text = "side=decoder&states=hidden2,hidden1&from=3&to=5&threshold=.4&minimum=3&mode=precise&units=hidden2:1"
    made = PARSERS["match"](capture, RequestFields(parse_qsl(text)))
    query = UnitQuery(level=40, left=1, right=0, minimum_length=3, direction="above")
    states = ("hidden1", "hidden2")
    assert made == MatchRequest("decoder", states, WordRange(3, 5), (49,), query, True, 50, 8, 12)
    assert hash(made) == hash(PARSERS["match"](capture, RequestFields(parse_qsl(text))))


def test_no_selected_unit_means_no_match(ask):
    answer = ask("match?side=decoder&states=hidden1&from=0&to=1&threshold=1")
    assert answer["units"] == [] and answer["matches"] == []


def test_long_matches_are_cut(tmp_path):
    values = numpy.zeros((600, 2))
    values[100:500, 0] = 0.9
    write_side(tmp_path / "decoder", {"hidden1": values}, ["a"] * 600, [600])
    write_capture(tmp_path, ["decoder"])
    client = application(tmp_path).test_client()
    match = json.loads(client.get("/api/match?units=hidden1:0").get_data())["matches"][0]
    assert (match["start"], match["length"]) == (100, 400) and len(match["words"]) == 120


def test_search_finds_words_phrases_and_parts(ask, stored):
    words = stored["words"]
    pairs = [place for place in range(len(words) - 1) if words[place : place + 2] == ["(", "2"]]
    answer = ask(f"search?side=decoder&text={quote('( 2')}&limit=200")
    assert answer["total"] == len(pairs) and [one["start"] for one in answer["places"]] == pairs[:200]
    one = answer["places"][3]
    assert one["words"][one["start"] - one["from"] :][:2] == ["(", "2"]
    later = ask(f"search?side=decoder&text={quote('( 2')}&start={pairs[2] + 1}&limit=1")
    assert later["places"][0]["start"] == pairs[3] and later["total"] == len(pairs)
    assert ask("search?side=decoder&text=*S*")["total"] == 80
    assert ask("search?side=decoder&text=nothing")["places"] == []
    assert ask(f"search?side=decoder&text={quote('0 ' * 20)}")["total"] == 0


def test_a_sentence_pair_with_its_attention(ask, folder):
    answer = ask("sentence?number=3")
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


def test_statistics_rank_as_the_units_room_does(ask, folder, stored):
    answer = ask("statistics?side=decoder&states=hidden1&track=kind&label=number&limit=5")
    index = open_index(open_capture(folder).sides["decoder"])
    codes = open_capture(folder).sides["decoder"].tracks["kind"].values
    units = index.units[:24]
    wanted = rank_units(units, codes, "area_under_curve", 1, 5)
    assert [one["unit"] for one in answer["units"]] == [f"hidden1:{unit}" for unit in wanted.units.tolist()]
    assert answer["units"][0]["unit"] == "hidden1:5" and answer["units"][0]["f1"] > 0.99
    assert numpy.allclose([one["score"] for one in answer["units"]], wanted.scores, atol=1e-4)
    assert max(answer["control"]) < 0.7 < answer["units"][0]["score"]
    assert answer["units"][0]["direction"] == "above"


def test_statistics_of_all_labels_and_of_numbers(ask):
    depth = ask("statistics?side=decoder&states=hidden1&track=depth")
    assert depth["criterion"] == "correlation_ratio" and depth["units"][0]["score"] > 0.95
    means = next(one["means"] for one in depth["units"] if one["unit"] == "hidden1:4")
    assert all(abs(mean - 0.22 * label) < 0.03 for label, mean in enumerate(means))
    place = ask("statistics?side=decoder&states=hidden1&track=place&limit=3")
    assert place["criterion"] == "correlation" and place["units"][0]["error"] <= 2 * place["units"][0]["error_of_mean"]


RANGE = "side=decoder&states=hidden1&from=3&to=5"


@pytest.mark.parametrize(
    "path",
    [
        "info?what=1",
        "context",
        "context?side=decoder",
        "context?side=decoder&start=-1",
        "context?side=decoder&start=99999999",
        "context?side=decoder&start=1e3",
        "context?side=decoder&start=1.5",
        "context?side=decoder&start=NaN",
        "context?side=decoder&start=",
        "context?side=decoder&start=%D9%A3",
        "context?side=decoder&start=0&start=1",
        "context?side=decoder&start=0&length=0",
        "context?side=decoder&start=0&length=401",
        "context?side=decoder&start=0&length=" + "9" * 5000,
        "context?side=decoder&start=0&sentence=1",
        "context?side=decoder&sentence=80",
        "context?side=both&start=0",
        "context?side=../decoder&start=0",
        "context?side=decoder&start=0&states=hidden9",
        "context?side=decoder&start=0&states=",
        "context?side=decoder&start=0&states=hidden1,../../etc/passwd",
        "select?side=decoder&from=3",
        f"select?{RANGE}&threshold=nan",
        f"select?{RANGE}&threshold=inf",
        f"select?{RANGE}&threshold=0",
        f"select?{RANGE}&threshold=-0.3",
        f"select?{RANGE}&threshold=0.305",
        f"select?{RANGE}&threshold=1.01",
        f"select?{RANGE}&threshold=3e-1",
        f"select?{RANGE}&threshold=.",
        f"select?{RANGE}&left=-1",
        f"select?{RANGE}&right=21",
        f"select?{RANGE}&direction=up",
        f"select?{RANGE}&units=hidden1:1",
        f"select?{RANGE}&cells=hidden1:1",
        f"match?{RANGE}&cells=hidden1:24",
        "select?side=decoder&from=5&to=3",
        "select?side=decoder&from=0&to=200",
        "select?side=decoder&from=0&to=999999999999999",
        f"match?{RANGE}&mode=slow",
        f"match?{RANGE}&limit=201",
        f"match?{RANGE}&limit=0",
        f"match?{RANGE}&minimum=0",
        f"match?{RANGE}&before=31",
        f"match?{RANGE}&units=hidden1:24",
        f"match?{RANGE}&units=hidden2:1",
        f"match?{RANGE}&units=hidden1:-1",
        f"match?{RANGE}&units=hidden1",
        f"match?{RANGE}&units=,",
        f"match?{RANGE}&callback=x",
        "match?side=decoder&units=hidden1:0&from=1",
        "search?side=decoder",
        "search?side=decoder&text=",
        "search?side=decoder&text=%20",
        "search?side=decoder&text=" + "a" * 201,
        "search?side=decoder&text=" + "a+" * 21,
        "search?side=decoder&text=a&limit=1000",
        "sentence",
        "sentence?number=80",
        "sentence?number=-1",
        "sentence?number=0&side=decoder",
        "statistics?side=decoder",
        "statistics?side=decoder&track=nothing",
        "statistics?side=decoder&track=depth&label=9",
        "statistics?side=decoder&track=place&label=1",
        "statistics?side=decoder&track=depth&repeats=100000",
    ],
)
def test_what_is_malformed_is_refused_with_one_sentence(ask, path):
    answer = ask(path, status=400)
    assert list(answer) == ["error"]
    assert 8 < len(answer["error"]) < 600 and "\n" not in answer["error"] and "Traceback" not in answer["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/capture.json",
        "/decoder/states.hdf5",
        "/page/../server.py",
        "/page/..%2fserver.py",
        "/page/%2e%2e/server.py",
        "/page/..%5cserver.py",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/.",
        "/page/",
        "/page/main.js%00",
        "/page/" + "a" * 300 + ".js",
        "/../../etc/passwd",
        "/.//etc/passwd",
        "/static/main.js",
        "/api/",
        "/api/../capture.json",
        "/api/__init__",
        "/api/capture",
    ],
)
def test_nothing_but_the_page_and_the_answers_is_given_out(app, path):
    answer = app.test_client().get(path)
    assert answer.status_code in (400, 404)
    assert list(json.loads(answer.get_data())) == ["error"]


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_the_server_is_only_read_from(app, method):
    answer = getattr(app.test_client(), method)("/api/info")
    assert answer.status_code == 405 and "GET" in json.loads(answer.get_data())["error"]


def test_other_names_of_this_machine_are_refused(folder, app):
    client = app.test_client()
    assert client.get("/api/info", headers={"Host": "stranger.example:8080"}).status_code == 403
    assert client.get("/api/info", headers={"Host": "127.0.0.1:8080"}).status_code == 200
    assert client.get("/api/info", headers={"Host": "[::1]:8080"}).status_code == 200
    for_all = application(folder, only_loopback=False).test_client()
    assert for_all.get("/api/info", headers={"Host": "machine.example:8080"}).status_code == 200


def test_the_page_comes_with_all_its_files_and_asks_nobody_else(app):
    client = app.test_client()
    answer = client.get("/")
    text = answer.get_data(as_text=True)
    assert (
        answer.content_type.startswith("text/html")
        and "default-src 'self'" in answer.headers["Content-Security-Policy"]
    )
    assert "http" not in text.replace("http-equiv", "")
    named = [part.split('"')[0] for part in text.split('"page/')[1:]]
    assert {"main.js", "style.css", "d3.v7.min.js"} <= set(named)
    seen = set()
    while named:
        name = named.pop()
        if name in seen:
            continue
        seen.add(name)
        answer = client.get(f"/page/{name}")
        assert answer.status_code == 200 and len(answer.get_data()) > 100, name
        if name.endswith(".js") and not name.startswith("d3"):
            lines = answer.get_data(as_text=True).splitlines()
            named += [
                line.split('"./')[1].split('"')[0] for line in lines if line.startswith("import") and '"./' in line
            ]
    assert len(seen) >= 15
    assert "Mike Bostock" in client.get("/page/d3.LICENSE.txt").get_data(as_text=True)


def test_fifty_clients_at_once(app):
    """Each client sends several requests to the real server. The answers equal those of a single client."""
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=8)
    address = f"http://127.0.0.1:{server.effective_port}/api/"
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    paths = [f"context?side=decoder&start={start}&length=40&states=hidden1,cell1" for start in range(0, 50, 10)]
    paths += [f"match?side=decoder&states=hidden1&from={start}&to={start + 1}&threshold=0.2" for start in range(5)]
    paths += ["search?side=decoder&text=0", "sentence?number=1", "statistics?side=decoder&states=hidden1&track=depth"]
    client = app.test_client()
    wanted = {path: client.get(f"/api/{path}").get_data() for path in paths}
    wrong = []

    def run(number):
        try:
            for turn in range(4):
                path = paths[(number * 4 + turn) % len(paths)]
                with urllib.request.urlopen(address + path, timeout=60) as answer:
                    if answer.read() != wanted[path]:
                        wrong.append(path)
        except Exception as error:
            wrong.append(repr(error))

    clients = [threading.Thread(target=run, args=(number,)) for number in range(50)]
    try:
        for one in clients:
            one.start()
        for one in clients:
            one.join(timeout=120)
        assert not wrong
    finally:
        server.close()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--port", "70000"], "--port is 70000"),
        (["--host", "no.such.host.invalid", "--port", "0"], "nothing can be served"),
    ],
)
def test_the_command_refuses_an_address(folder, arguments, message):
    with pytest.raises(UserError, match=message):
        cli.main(["view", str(folder), *arguments])


def test_the_command_refuses_a_port_that_is_taken(folder, app):
    server = waitress.create_server(app, host="127.0.0.1", port=0)
    try:
        with pytest.raises(UserError, match="nothing can be served at 127.0.0.1 port"):
            cli.main(["view", str(folder), "--port", str(server.effective_port)])
    finally:
        server.close()


def test_the_command_names_a_package_that_is_missing(folder, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith("fairseq_bso.interpret.view.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "waitress", None)
    with pytest.raises(UserError, match=r"needs the package waitress: pip install 'fairseq-bso\[interpret\]'"):
        cli.main(["view", str(folder)])
