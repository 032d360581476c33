"""A real headless Chromium for the tests of pages, and what they do with a page of `fairseq-bso view`.

The fixtures `browser` and `page` stand in tests/system/conftest.py; `page` needs a fixture `address` of the module.
"""

import shutil
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
