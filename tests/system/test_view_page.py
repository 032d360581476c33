"""The page of `fairseq-bso view`, served by the real command and used in a real headless Chromium."""

import html
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from browser_pages import MARKS, drag_over_words, eventually, fields, place_of, units, words
from reference.capture_folders import parentheses_capture

pytestmark = MARKS


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a page that shows the parentheses language. Units 0 to 3 are on at depths of at least 1 to 4."""
    folder = parentheses_capture(tmp_path_factory.mktemp("page") / "capture", sentences=60)
    command = [str(Path(sys.executable).parent / "fairseq-bso"), "view", str(folder), "--port", "0"]
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


def all_answered(page):
    """Waits until every request of the page has its answer, and the answer is shown."""
    page.locator("main[aria-busy=false]").wait_for()


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


@pytest.mark.parametrize(
    "state, name, shapes",
    [
        ("pos=0&from={0}&to={1}", "states", {"path", "text", "rect", "line"}),
        ("pos=0&from={0}&to={1}", "matches", {"text", "rect", "line"}),
        ("view=attention&sentence=1", "attention", {"text", "rect"}),
        ("view=statistics&track=depth", "statistics", {"text", "circle", "line"}),
    ],
)
def test_each_chart_is_saved_as_a_file_that_stands_alone(page, address, tmp_path, state, name, shapes):
    open_page(page, address)
    place = first_opening(page)
    page.goto("about:blank")
    page.goto(f"{address}#{state.format(place, place + 2)}")
    page.locator(
        {"states": ".plot", "matches": ".matches", "attention": ".attention-chart"}.get(name, ".ranking")
    ).wait_for()
    page.locator({"states": ".line.chosen", "matches": ".matches .row"}.get(name, "svg .legend")).first.wait_for()
    with page.expect_download() as saving:
        page.locator(f"[data-export={name}]").click()
    assert saving.value.suggested_filename == f"{name}.svg"
    path = tmp_path / f"{name}.svg"
    saving.value.save_as(path)
    text = path.read_text("utf-8")
    root = ElementTree.fromstring(text)
    kinds = {node.tag.rpartition("}")[2] for node in root.iter()}
    assert shapes <= kinds and "script" not in kinds
    assert "class=" not in text and "http" not in text.replace("http://www.w3.org/2000/svg", "")
    drawn = [node for node in root.iter() if node.tag.rpartition("}")[2] in ("text", "rect", "path", "circle")]
    assert all(node.get("fill") for node in drawn)
    # A browser draws the file alone.
    page.goto("about:blank")
    size = page.evaluate(
        """async (text) => {
             const image = new Image();
             image.src = 'data:image/svg+xml;charset=utf-8,' + encodeURIComponent(text);
             await image.decode();
             return [image.naturalWidth, image.naturalHeight];
           }""",
        text,
    )
    assert size == [int(root.get("width")), int(root.get("height"))] and min(size) > 100


def test_a_finding_is_saved_as_json(page, address, tmp_path):
    open_page(page, address)
    place = first_opening(page)
    drag_over_words(page, place, place + 2)
    page.locator(".matches .row").first.wait_for()
    with page.expect_download() as saving:
        page.locator("#save-finding").click()
    saving.value.save_as(tmp_path / "finding.json")
    finding = json.loads((tmp_path / "finding.json").read_text("utf-8"))
    assert finding["query"]["from"] == place and finding["query"]["words"][0] == "("
    assert finding["units"] == units(page) and len(finding["matches"]) == page.locator(".matches .row").count()
    assert finding["address"] == "#" + page.url.partition("#")[2]


def test_attention_of_sentence_pairs(page, address):
    page.goto(f"{address}#view=attention&sentence=2")
    page.locator(".attention-chart").wait_for()
    rows, columns = (page.locator(f".attention-chart [data-{kind}]").count() for kind in ("row", "column"))
    weights = page.locator(".fields rect").evaluate_all("nodes => nodes.map((node) => Number(node.dataset.weight))")
    assert len(weights) == rows * columns and rows == columns
    assert weights.index(max(weights[:columns])) == 0  # in a copying model the first word attends to the first
    page.get_by_role("button", name="The next sentence").click()
    eventually(page, lambda: "sentence=3" in page.url)
    page.locator(".attention-chart [data-column='0']").click()
    eventually(page, lambda: "side=encoder" in page.url)
    page.locator(".plot").wait_for()


def test_statistics_lead_to_a_unit_alone(page, address):
    page.goto(f"{address}#view=statistics&track=kind&label=number")
    row = page.locator(".ranking .row").first
    row.wait_for()
    assert row.get_attribute("data-unit") == "hidden1:5"
    assert "shuffled control" in page.locator(".ranking").text_content()
    row.click()
    page.locator(".plot .line.chosen").wait_for()
    assert units(page) == ["hidden1:5"] and fields(page)["units"] == "hidden1:5"
    page.locator(".matches .row").first.wait_for()
    page.get_by_role("button", name="Back to the selected units").click()
    eventually(page, lambda: "units=" not in page.url)


def test_an_address_with_the_old_name_of_the_units_shows_the_same(page, address):
    open_page(page, address, "cells=hidden1:5&threshold=0.5")
    page.locator(".matches .row").first.wait_for()
    assert units(page) == ["hidden1:5"]


@pytest.mark.parametrize("width, height", [(1280, 800), (1920, 1080)])
@pytest.mark.parametrize(
    "state",
    [
        "from=4&to=6&states=hidden1,cell1,hidden2",
        *("view=attention", "view=statistics&track=kind", "view=units", "view=unit&unit=hidden1:4"),
    ],
)
def test_the_page_fits_the_screen(page, address, width, height, state):
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{address}#{state}")
    page.locator("main svg").first.wait_for()
    all_answered(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert place_of(page.locator("header"))["height"] < 80
    unnamed = page.locator("main button, main input, main select").evaluate_all(
        "all => all.filter((one) => !one.innerText && !one.ariaLabel && !one.labels?.length).map((one) => one.id)"
    )
    assert not unnamed


def unit_in_view(page):
    return page.locator("#unit-title").inner_text()


def test_the_card_of_a_unit_and_of_its_neighbours(page, address):
    page.goto(f"{address}#view=unit&unit=hidden1:2&threshold=0.5")
    page.locator(".span").first.wait_for()
    assert unit_in_view(page) == "hidden1:2"
    for name in ("highest", "lowest"):
        assert page.locator(f"[data-spans={name}] .span").count() == 12
    # The peak of a high span is blue: unit 2 is on at depth 3 and deeper. That of a low span is nearly white.
    colours = page.locator(".span .peak").evaluate_all("all => all.map((one) => getComputedStyle(one).backgroundColor)")
    strength = [255 - int(re.findall(r"\d+", colour)[0]) for colour in colours]
    assert min(strength[:12]) > 100 > 20 > max(strength[12:])
    assert page.locator(".histogram rect.on").count() and page.locator(".histogram rect.off").count()
    assert "depth" in page.locator(".track-row").first.inner_text()
    page.keyboard.press("ArrowRight")
    eventually(page, lambda: unit_in_view(page), "hidden1:3")
    page.keyboard.press("ArrowLeft")
    eventually(page, lambda: unit_in_view(page), "hidden1:2")
    page.get_by_role("button", name="The unit before").click()
    eventually(page, lambda: unit_in_view(page), "hidden1:1")
    assert fields(page)["unit"] == "hidden1:1"
    page.locator(".correlated button").first.click()
    eventually(page, lambda: fields(page)["unit"] != "hidden1:1")
    page.go_back()
    eventually(page, lambda: unit_in_view(page), "hidden1:1")
    span = page.locator("[data-spans=highest] .span").nth(2)
    position = span.get_attribute("data-position")
    span.click()
    page.locator(".plot .line.chosen").wait_for()
    assert (fields(page)["from"], fields(page)["units"]) == (position, "hidden1:1")
    page.get_by_role("button", name="Card of hidden1:1").click()
    page.locator(".span").first.wait_for()


def column(page, place):
    return [
        float(text.split(" ")[0].replace("−", "-"))
        for text in page.locator(f".unit-table td:nth-child({place}) .figure").all_inner_texts()
    ]


def test_the_table_of_all_units_is_sorted_by_any_number(page, address):
    page.goto(f"{address}#view=units&states=hidden1,cell1")
    page.locator(".unit-table tbody tr").first.wait_for()
    assert page.locator(".unit-table tbody tr").count() == 48
    assert page.locator(".small-histogram").count() == 48
    for title, place in (("mean run", 8), ("lowest", 5)):
        page.locator(".unit-table th").get_by_role("button", name=title).click()
        falling = column(page, place)
        assert falling == sorted(falling, reverse=True) and falling[0] > falling[-1]
    assert fields(page)["sort"] == "-low"
    page.locator(".unit-table th").get_by_role("button", name="lowest").click()
    assert column(page, 5) == falling[::-1] and fields(page)["sort"] == "low"
    page.get_by_label("Track").select_option("depth")
    page.locator(".unit-table th").get_by_role("button", name="track").click()
    assert set(page.locator(".unit-table td:nth-child(10) .name").all_inner_texts()) == {"depth"}
    best = page.locator(".unit-table tbody button").first
    assert best.inner_text().split(":")[1] in "01234"
    best.focus()
    page.keyboard.press("ArrowDown")
    second = page.locator(".unit-table tbody button").nth(1).inner_text()
    page.keyboard.press("Enter")
    eventually(page, lambda: fields(page).get("unit"), second)


def test_a_saved_page_opens_from_the_disk_without_server_or_network(page, address, browser, tmp_path):
    page.goto(f"{address}#view=unit&unit=hidden1:2")
    page.locator(".span").first.wait_for()
    shown = page.locator(".unit-parts").inner_text()
    with page.expect_download() as saving:
        page.locator("#save-page").click()
    saving.value.save_as(tmp_path / "finding.html")
    text = (tmp_path / "finding.html").read_text("utf-8")
    frame = f'<iframe sandbox="allow-scripts" width="1200" height="900" srcdoc="{html.escape(text)}"></iframe>'
    (tmp_path / "notebook.html").write_text(f"<!doctype html><meta charset='utf-8'>{frame}", "utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, offline=True)
    alone = context.new_page()
    errors, requests = [], []
    alone.on("pageerror", lambda error: errors.append(str(error)))
    alone.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    alone.on("request", lambda request: requests.append(request.url))
    alone.goto(f"file://{tmp_path}/finding.html")
    eventually(alone, lambda: alone.locator(".unit-parts").inner_text(), shown)
    alone.get_by_role("button", name="All units").click()
    assert "This file holds one view" in alone.locator("#problem").inner_text() and alone.locator(".span").count() == 24
    alone.goto(f"file://{tmp_path}/notebook.html")
    alone.frame_locator("iframe").locator(".span").nth(23).wait_for()
    context.close()
    assert not errors and all(url.startswith(("file:", "data:", "about:")) for url in requests)


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
