"""The select view of `fairseq-bso view`, served by the real command and used in a real headless Chromium."""

import re

import pytest
from browser_pages import (
    MARKS,
    all_answered,
    drag_over_words,
    eventually,
    fields,
    first_opening,
    open_page,
    place_of,
    units,
    words,
)

pytestmark = MARKS


def test_brush_selects_units_and_finds_matches(page, address):
    open_page(page, address)
    place = first_opening(page)
    drag_over_words(page, place, place + 2)
    page.locator(".matches .row").first.wait_for()
    assert (fields(page)["from"], fields(page)["to"]) == (str(place), str(place + 2))
    assert "hidden1:0" in units(page)
    # Words inside parentheses are coloured, words outside are not.
    fills = page.locator(".plot .words rect").evaluate_all("nodes => nodes.map((node) => node.getAttribute('fill'))")
    assert fills[place] != "#ffffff" and fills[place - 1] == "#ffffff"
    assert page.locator(".plot .line.chosen").count() == len(units(page))
    rows = page.locator(".matches .row")
    assert rows.count() > 10
    labels = rows.evaluate_all("nodes => nodes.map((node) => node.getAttribute('aria-label'))")
    assert all(re.search(r": \(", label) for label in labels[:10])  # matches also begin with a parenthesis


def test_heat_maps_show_activity_and_tracks(page, address):
    open_page(page, address)
    place = first_opening(page)
    open_page(page, address, f"from={place}&to={place + 2}&threshold=0.5")
    page.locator(".matches .row").first.wait_for()
    titles = page.locator(".matches .head .title").all_text_contents()
    assert titles[:3] == ["unit activity", "depth", "kind"]
    row = page.locator(".matches .row").first
    columns = row.locator(".square").count() // len(titles)
    fills = row.locator(".square").evaluate_all("nodes => nodes.map((node) => node.getAttribute('fill'))")
    activity, depth = fills[:columns], fills[columns : 2 * columns]
    before, match = 5, 6  # six words of context, then the match
    assert activity[before] == "#ffffff" and activity[match] not in ("#ffffff", "#eceef1")
    assert depth[before] != depth[match]
    page.get_by_role("group", name="Heat maps").get_by_role("button", name="kind").click()
    eventually(page, page.locator(".matches .head .title").count, len(titles) - 1)
    assert "kind" not in fields(page)["maps"].split("|")
    page.get_by_label("Words coloured by").select_option("depth")
    eventually(page, lambda: "colour=depth" in page.url)
    row.locator(".square").nth(match).hover()
    assert "units on" in page.locator("#tooltip").inner_text()


def test_the_threshold_is_dragged_and_typed(page, address):
    open_page(page, address)
    place = first_opening(page)
    drag_over_words(page, place, place + 2)
    page.locator(".units button").first.wait_for()
    before = units(page)
    handle = place_of(page.locator(".threshold rect"))
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 60, steps=6)
    page.mouse.up()
    assert float(fields(page)["threshold"]) == pytest.approx(0.3 + 60 / 130, abs=0.02)
    page.get_by_label("Threshold").fill("0.9")
    page.get_by_label("Threshold").press("Enter")
    page.get_by_text("None of 24 units is on").wait_for()
    assert before and not units(page)
    page.get_by_label("Threshold").fill("7")
    page.get_by_label("Threshold").press("Enter")
    assert "0.01 to 1" in page.locator("#problem").inner_text() and fields(page)["threshold"] == "0.9"


def test_a_match_is_jumped_to_and_the_way_back_leads_back(page, address):
    open_page(page, address)
    place = first_opening(page)
    drag_over_words(page, place, place + 2)
    row = page.locator(".matches .row").nth(3)
    row.wait_for()
    start = row.get_attribute("data-start")
    row.click()
    eventually(page, lambda: f"from={start}&" in page.url)
    assert int(fields(page)["pos"]) == max(0, int(start) - 6)
    page.go_back()
    eventually(page, lambda: f"from={place}&" in page.url)
    page.go_forward()
    eventually(page, lambda: f"from={start}&" in page.url)


def snapshot(page):
    page.locator(".matches .row").first.wait_for()
    all_answered(page)
    return {
        "words": words(page).all_text_contents(),
        "units": units(page),
        "pressed": page.locator("[aria-pressed=true]").all_inner_texts(),
        "matches": page.locator(".matches").inner_html(),
        "plot": page.locator(".plot").inner_html(),
        "threshold": page.get_by_label("Threshold").input_value(),
        "before": page.get_by_label("Off before").input_value(),
    }


def test_all_that_is_shown_comes_back_from_the_address(page, address, browser):
    open_page(page, address, "side=encoder&states=hidden1,cell1&pos=4")
    place = first_opening(page)
    drag_over_words(page, place, place + 3)
    page.get_by_role("button", name="precise").click()
    page.get_by_label("Off before").fill("2")
    page.get_by_label("Off before").press("Enter")
    page.get_by_label("Threshold").fill("0.40")
    page.get_by_label("Threshold").press("Enter")
    page.locator(".units button").nth(1).wait_for()
    page.locator(".units button").nth(1).click()  # switches a unit off
    page.mouse.move(5, 500)
    shown = snapshot(page)
    assert fields(page)["off"] and len(shown["units"]) >= 2
    page.reload()
    eventually(page, lambda: snapshot(page), shown)
    other = browser.new_page(viewport={"width": 1280, "height": 1000})
    other.goto(page.url)
    eventually(other, lambda: snapshot(other), shown)
    other.close()


def test_the_keyboard_is_enough(page, address):
    open_page(page, address)
    page.locator(".plot").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert (fields(page)["from"], fields(page)["to"]) == ("1", "3")
    page.keyboard.press("Shift+ArrowLeft")
    assert (fields(page)["from"], fields(page)["to"]) == ("1", "2")
    page.keyboard.press("ArrowUp")
    assert fields(page)["threshold"] == "0.31"
    page.keyboard.press("PageDown")
    assert int(fields(page)["pos"]) > 10
    page.keyboard.press("Escape")
    assert "from" not in fields(page)
    page.get_by_label("Search a word or phrase").fill("( 1")
    page.keyboard.press("Enter")
    page.locator(".found li button").first.wait_for()
    page.keyboard.press("Enter")  # the first place has the focus
    eventually(page, lambda: "from=" in page.url)
    start = int(fields(page)["from"]) - int(fields(page).get("pos", 0))
    eventually(page, lambda: words(page).all_text_contents()[start : start + 2], ["(", "1"])


def test_an_address_with_the_old_name_of_the_units_shows_the_same(page, address):
    open_page(page, address, "cells=hidden1:5&threshold=0.5")
    page.locator(".matches .row").first.wait_for()
    assert units(page) == ["hidden1:5"]


def test_an_address_that_makes_no_sense_shows_the_beginning(page, address):
    nonsense = "view=nonsense&pos=-5&threshold=NaN&from=9&to=2&side=x&states=y&left=999&track=%00&mode="
    open_page(page, address, nonsense)
    assert words(page).first.text_content() == "</s>" and page.get_by_label("Threshold").input_value() == "0.30"
    page.goto("about:blank")
    open_page(page, address, "pos=99999999&from=99999999&to=99999999")
    assert words(page).count() == 1


def test_a_server_that_stopped_is_reported(page, address):
    open_page(page, address)
    page.route("**/api/**", lambda route: route.abort())
    page.get_by_role("button", name="A page on").click()
    page.get_by_text("Is fairseq-bso view still running?").wait_for()
    page.unroute("**/api/**")
    page.get_by_role("button", name="A page on").click()
    eventually(page, page.locator("#problem").is_hidden)
