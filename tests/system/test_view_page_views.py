"""The other views of `fairseq-bso view`, and the files that the page saves, in a real headless Chromium."""

import html
import json
import re
import xml.etree.ElementTree as ElementTree

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
)

pytestmark = MARKS


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
