"""One view as a file of its own: what it holds, what is refused, and how a notebook shows it."""

import html
import json
import re
from pathlib import Path
from urllib.parse import quote

import numpy
import pytest
from reference.capture_folders import parentheses_capture, write_capture, write_side
from view_applications import answers_over

from fairseq_bso import cli
from fairseq_bso.errors import UserError
from fairseq_bso.interpret import show
from fairseq_bso.interpret.folder.reader import open_capture
from fairseq_bso.interpret.view.addresses import FIELDS
from fairseq_bso.interpret.view.server import make_app
from fairseq_bso.interpret.view.standalone import PAGE, standalone


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return parentheses_capture(tmp_path_factory.mktemp("export") / "capture", sentences=30)


@pytest.fixture(scope="module")
def answers(folder):
    return answers_over(open_capture(folder))


@pytest.fixture(scope="module")
def client(answers):
    return make_app(answers).test_client()


def held(text):
    """The address and the answers that a page holds."""
    return json.loads(re.search(r'<script type="application/json" id="saved">(.*?)</script>', text, re.DOTALL)[1])


SCOPE = "side=decoder&states=hidden1"
WINDOW = f"context?{SCOPE}&start=0&length=110"
RULE = "threshold=0.5&direction=above&left=1&right=0"


@pytest.mark.parametrize(
    "address, asked",
    [
        ("", [WINDOW]),
        ("http://127.0.0.1:8080/#pos=9&side=encoder", ["context?side=encoder&states=hidden1&start=9&length=110"]),
        ("#pos=99999999", [WINDOW.replace("start=0", "start={last}")]),
        ("from=1&to=2&threshold=1", [WINDOW, f"select?{SCOPE}&from=1&to=2&threshold=1"]),
        (
            f"from=4&to=6&{RULE}&mode=precise&shortest=3",
            [WINDOW, f"select?{SCOPE}&from=4&to=6&{RULE}", f"match?{SCOPE}&from=4&to=6&{RULE}&mode=precise&minimum=3"],
        ),
        (f"units=hidden1:0,cell1:3&{RULE}", [WINDOW, f"match?{SCOPE}&{RULE}&units=hidden1:0"]),
        (f"cells=hidden1:1,hidden1:0&off=hidden1:0&{RULE}", [WINDOW, f"match?{SCOPE}&{RULE}&units=hidden1:1"]),
        ("view=unit", ["card?side=decoder&unit=hidden1:0"]),
        ("#view=unit&unit=cell1:7&threshold=0.4", ["card?side=decoder&unit=cell1:7&threshold=0.4"]),
        ("view=units&states=cell1,hidden1", ["table?side=decoder&states=hidden1,cell1"]),
        ("view=attention&sentence=3", ["sentence?number=3"]),
        ("view=statistics", [f"statistics?{SCOPE}&track=depth"]),
        ("view=statistics&track=kind&label=number", [f"statistics?{SCOPE}&track=kind&label=number"]),
    ],
)
def test_a_file_holds_the_answers_that_its_view_asks_for(client, answers, address, asked):
    found = held(standalone(answers, address))
    assert found["address"] == "#" + address.rpartition("#")[2]
    last = answers.capture.sides["decoder"].steps - 1
    wanted = {}
    for path in ["info", *asked]:
        answer = client.get(f"/api/{path.format(last=last)}")
        assert answer.status_code == 200
        wanted[path.partition("?")[0]] = json.loads(answer.get_data())
    assert found["answers"] == wanted


def test_a_selection_without_some_units_names_the_others(client, answers):
    selected = json.loads(client.get(f"/api/select?{SCOPE}&from=4&to=4&threshold=0.1&left=0").get_data())["units"]
    off = selected[:2]
    assert len(selected) > 3
    found = held(standalone(answers, f"from=4&to=4&threshold=0.1&left=0&off={','.join(off)}"))["answers"]
    assert found["select"]["units"] == selected and found["match"]["units"] == selected[2:]


def test_a_file_needs_no_other_file_and_no_network(answers):
    text = standalone(answers, "view=units")
    addresses = {one.rstrip("\"'`.,;)") for one in re.findall(r"https?://[^\s\"'`<>]+", text)}
    assert all("w3.org" in one or "d3js.org" in one for one in addresses)  # names of XML, and a comment of d3
    assert not re.search(r"<(link|img|iframe|base)\b|<script[^>]*\bsrc=", text)
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE) and "default-src 'none'" in text
    for module in PAGE.glob("*.js"):
        assert module.stem == "d3.v7.min" or f"modules.{module.stem} = " in text
    assert "Mike Bostock" in text and len(text) < 1_000_000


def test_words_cannot_leave_their_element(tmp_path):
    words = ["</script><script>alert(1)</script>", "<!--", "\u2028", "]]>", "&lt;"]
    write_side(tmp_path / "decoder", {"hidden1": numpy.zeros((5, 2))}, words, [5])
    write_capture(tmp_path, ["decoder"])
    text = standalone(answers_over(open_capture(tmp_path)), "")
    assert "alert" in text and "<script>alert" not in text and text.count("</script>") == 3
    assert held(text)["answers"]["context"]["words"] == words


@pytest.mark.parametrize(
    "address",
    [
        *(
            "view=nothing",
            "view=unit&unit=hidden1:24",
            "view=unit&unit=NaN",
            "view=unit&view=unit",
            "pos=-1",
            "pos=NaN",
        ),
        *("from=5&to=2", "from=0&to=999", "from=x&to=1", "threshold=2&from=1&to=1", "view=units&direction=up"),
        *("view=attention&sentence=30", "units=hidden1:99", "shortest=0&units=hidden1:1", "pos=" + "9" * 5000),
        *("x=" + "a" * 70_000, "&".join(f"a{number}=1" for number in range(200))),
        *("trak=depth", "%%%", "side=left", "view=units&states=hidden1,hidden9", "view=statistics&track=height"),
    ],
)
def test_an_address_without_meaning_is_refused(client, folder, tmp_path, address):
    answer = client.get(f"/export?address={quote('#' + address)}")
    error = json.loads(answer.get_data())["error"]
    assert answer.status_code == 400 and 8 < len(error) < 700 and "\n" not in error
    with pytest.raises(UserError):
        show(folder, address)


def test_the_fields_of_an_address_are_those_of_the_page():
    text = (PAGE / "state.js").read_text(encoding="utf-8")
    of_page = re.findall(r"^  (\w+): \[", text[text.index("const FIELDS") : text.index("const OLD_NAMES")], re.M)
    assert sorted(FIELDS) == sorted([*of_page, "cells"])


def test_the_server_gives_out_the_file_of_a_view(client, answers):
    answer = client.get(f"/export?address={quote('#view=unit&unit=hidden1:3')}")
    assert answer.get_data(as_text=True) == standalone(answers, "view=unit&unit=hidden1:3")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="finding.html"'
    assert client.get("/export").status_code == 200 and client.get("/export?x=1").status_code == 400
    assert client.post("/export").status_code == 405


def test_the_command_writes_the_file(folder, answers, tmp_path, capsys):
    path = tmp_path / "made" / "finding.html"
    command = ["view", str(folder), "--export", str(path), "--address", "view=unit&unit=hidden2:5"]
    assert cli.main(command) == 0
    assert path.read_text(encoding="utf-8") == standalone(answers, "view=unit&unit=hidden2:5")
    assert f"{path}: {path.stat().st_size:,} bytes" in capsys.readouterr().out
    with pytest.raises(UserError, match="--address view=x: view is 'x', but must be one of"):
        cli.main([*command[:-1], "view=x"])
    with pytest.raises(UserError, match="says what --export writes"):
        cli.main(["view", str(folder), "--address", "view=unit"])
    for wrong in (str(tmp_path), ""):
        with pytest.raises(UserError, match="--export .*cannot be written: Is a directory"):
            cli.main(["view", str(folder), "--export", wrong])


def test_a_notebook_shows_a_view_in_a_frame_of_its_own(folder, answers, tmp_path):
    finding = show(str(folder), "view=units&threshold=0.4", view="unit", unit="hidden1:3", height=500)
    wanted = standalone(answers, "threshold=0.4&view=unit&unit=hidden1%3A3")
    shown = finding._repr_html_()
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1]) == wanted
    assert "height: 500px" in shown and 'sandbox="allow-scripts allow-downloads"' in shown
    finding.save(tmp_path / "finding.html")
    assert Path(tmp_path / "finding.html").read_text(encoding="utf-8") == wanted
    with pytest.raises(UserError, match="does not exist"):
        show(tmp_path / "none")
