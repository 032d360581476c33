"""One's own text on the page of `fairseq-bso view --model`, in a real headless Chromium."""

import json
import urllib.error
import urllib.request
from urllib.parse import quote

import pytest
from browser_pages import MARKS, drag_over_words, eventually, fields, serving, units, words
from tiny_captures import run

pytestmark = MARKS


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a page with a translation model of random weights."""
    folder = tmp_path_factory.mktemp("own")
    run(folder, "bso_lstm", {"index": True}, encoder_layers=2, decoder_layers=2, max_target_positions=14)
    model = ["--model", str(folder / "model.pt"), "--data", str(folder / "data"), "--cpu"]
    with serving(folder / "out", *model) as found:
        yield found


def test_own_text_is_read_selected_changed_and_attributed(page, address):
    page.goto(f"{address}#view=own&side=decoder&left=0&threshold=0.1")
    page.locator("#own-text").fill("word1 word2 huhu word3")
    page.locator("#own-target").fill("word3 word2 word1")
    page.locator("#own-read").click()
    words(page).first.wait_for()
    assert words(page).all_text_contents() == ["</s>", "word3", "word2", "word1"]
    assert "huhu" in page.locator(".own-note").text_content()
    assert page.locator(".plot .track").count() == 1  # the losses
    weights = page.locator(".pair-chart .fields rect").evaluate_all(
        "all => all.map((one) => Number(one.dataset.value))"
    )
    assert len(weights) == 4 * 5 and abs(sum(weights) - 4) < 0.01
    # A range selects units, which match in the corpus.
    drag_over_words(page, 1, 2)
    page.locator(".matches .row").first.wait_for()
    assert (fields(page)["first"], fields(page)["last"]) == ("1", "2") and units(page)
    assert page.locator("#set-units").input_value().split(", ") == units(page)
    # Units are set, and the losses of later words change.
    page.locator("#set-units").fill("hidden1:2")
    page.locator("#set-value").fill("0.9")
    page.locator("#set-run").click()
    page.locator(".changes tbody tr").first.wait_for()
    changes = page.locator(".changes tbody tr").evaluate_all("all => all.map((one) => Number(one.dataset.change))")
    assert len(changes) == 4 and changes[0] == 0 and any(changes[1:])
    page.get_by_role("button", name="integrated gradients").click()
    eventually(page, page.locator(".pair-chart .fields rect").count, 4 * 5 + 10)  # earlier words make a triangle
    for width in (1280, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # The address shows all of it again, and a match leads into the corpus.
    page.reload()
    page.locator(".changes tbody tr").first.wait_for()
    eventually(page, page.locator(".pair-chart .fields rect").count, 4 * 5 + 10)
    assert page.locator("#own-text").input_value() == "word1 word2 huhu word3"
    page.locator(".matches .row").first.click()
    eventually(page, lambda: "view=own" not in page.url and "from=" in page.url)


def test_a_sentence_of_the_corpus_is_read_as_own_text(page, address):
    page.goto(f"{address}#view=attention&sentence=1")
    page.locator(".attention-chart .fields rect").first.wait_for()
    page.locator("#read-as-own").click()
    words(page).first.wait_for()
    assert fields(page)["text"] == "word4"
    assert fields(page)["target"] == "word0 word5 word4 word3 word2 word1 word0"
    page.locator("input[aria-label='Sentence of the corpus']").fill("2")
    page.get_by_role("button", name="Copy to here").click()
    eventually(page, page.locator("#own-text").input_value, "word5 word5 word0")


def answer_of(address, path, data=None, kind=None):
    """Status and body of a request."""
    request = urllib.request.Request(address + path, data, {"Content-Type": kind} if kind else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_server_outlives_hostile_text(address):
    text = "word1 " * 100_000
    for path, data, kind in (
        (f"api/own?side=decoder&text={quote(text)}", None, None),
        ("api/own", text.encode(), "text/plain"),
        ("api/own", json.dumps({"text": text}).encode(), "application/json"),
        ("api/own?side=decoder&text=%00%1b", None, None),
        (f"api/intervention?side=decoder&text=word1&from=0&to=0&value=1&units={'hidden1:0,' * 9000}", None, None),
    ):
        status, _ = answer_of(address, path, data, kind)
        assert 400 <= status < 500, (path[:60], status)
    status, body = answer_of(address, "api/own?side=decoder&text=word1&target=word2")
    assert status == 200 and json.loads(body)["words"] == ["</s>", "word2"]
