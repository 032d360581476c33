"""A real headless Chromium for the tests of pages, and what they do with a page of `fairseq-bso view`.

The fixtures `browser`, `address` and `page` stand in tests/system/conftest.py. `page` shows `address`.
"""

import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH (apt-get install chromium)"),
]
"""of every module that uses it"""


@contextmanager
def serving(folder, *options):
    """Runs `fairseq-bso view` on a folder; yields the address of its page."""
    command = [str(Path(sys.executable).parent / "fairseq-bso"), "view", str(folder), "--port", "0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line + server.stderr.read()
        yield found[0]
    finally:
        server.terminate()
        server.wait(timeout=20)


def open_page(page, address, state=""):
    page.goto(f"{address}#{state}")
    page.locator(".plot .word").first.wait_for()


def first_opening(page):
    """The place in the window of a first parenthesis that stays open for three words."""
    texts = words(page).all_text_contents()
    depth = 0
    for place, word in enumerate(texts):
        if word == "(" and depth == 0 and place > 0 and ")" not in texts[place : place + 3]:
            return place
        depth += (word == "(") - (word == ")")
    raise AssertionError(texts)


def all_answered(page):
    """Waits until every request of the page has its answer, and the answer is shown."""
    page.locator("main[aria-busy=false]").wait_for()


def fields(page):
    """The fields of the page's address."""
    return {name: values[0] for name, values in parse_qs(page.url.partition("#")[2]).items()}


def words(page):
    return page.locator(".plot .word")


def place_of(locator):
    """The box of an element. Waits while the page redraws it."""
    for _ in range(100):
        found = locator.bounding_box()
        if found is not None:
            return found
        locator.page.wait_for_timeout(50)
    raise AssertionError(f"{locator} is not on the page")


def eventually(page, look, expected=True):
    """Waits until `look()` returns the expected value, because the page changes only after an answer of the server.

    `wait_for_function` evaluates text in the page, which the page's policy forbids.
    """
    for _ in range(400):  # 20 seconds, like the other timeouts
        found = look()
        if found == expected:
            return
        page.wait_for_timeout(50)
    assert found == expected


def drag_over_words(page, first, last):
    """Drags the mouse over words in the window."""
    boxes = [place_of(words(page).nth(place)) for place in (first, last)]
    (x1, y), (x2, _) = ((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes)
    page.mouse.move(x1, y)
    page.mouse.down()
    page.mouse.move((x1 + x2) / 2, y - 60, steps=4)
    page.mouse.move(x2, y, steps=4)
    page.mouse.up()


def units(page):
    return page.locator(".units button").all_inner_texts()
