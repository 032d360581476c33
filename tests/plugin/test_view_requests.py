"""Requests to the server of `fairseq-bso view`: what a request becomes, and what is refused."""

import json
from urllib.parse import parse_qsl

import pytest
from view_applications import application

from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.units.patterns import UnitQuery
from fairseq_bso.interpret.view.fields import RequestFields
from fairseq_bso.interpret.view.requests import PARSERS, MatchRequest, WordRange


def test_a_request_becomes_one_frozen_record_of_plain_values(parentheses):
    capture = open_capture(parentheses)
    text = "side=decoder&states=hidden2,hidden1&from=3&to=5&threshold=.4&minimum=3&mode=precise&units=hidden2:1"
    made = PARSERS["match"](capture, RequestFields(parse_qsl(text)))
    query = UnitQuery(level=40, left=1, right=0, minimum_length=3, direction="above")
    states = ("hidden1", "hidden2")
    assert made == MatchRequest("decoder", states, WordRange(3, 5), (49,), query, True, 50, 8, 12)
    assert hash(made) == hash(PARSERS["match"](capture, RequestFields(parse_qsl(text))))


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
def test_what_is_malformed_is_refused_with_one_sentence(ask_view, path):
    answer = ask_view(path, status=400)
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
def test_nothing_but_the_page_and_the_answers_is_given_out(view, path):
    answer = view.test_client().get(path)
    assert answer.status_code in (400, 404)
    assert list(json.loads(answer.get_data())) == ["error"]


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_the_server_is_only_read_from(view, method):
    answer = getattr(view.test_client(), method)("/api/info")
    assert answer.status_code == 405 and "GET" in json.loads(answer.get_data())["error"]


def test_other_names_of_this_machine_are_refused(parentheses, view):
    client = view.test_client()
    assert client.get("/api/info", headers={"Host": "stranger.example:8080"}).status_code == 403
    assert client.get("/api/info", headers={"Host": "127.0.0.1:8080"}).status_code == 200
    assert client.get("/api/info", headers={"Host": "[::1]:8080"}).status_code == 200
    for_all = application(parentheses, only_loopback=False).test_client()
    assert for_all.get("/api/info", headers={"Host": "machine.example:8080"}).status_code == 200
