"""The page in a real browser: it opens from disk, sorts, filters, shows sheets, and takes keys and labels."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reference.browser import Browser, find
from reference.many import many
from reference.products import write_beam, write_product
from report.test_report import HOSTILE, hostile_product

from pulsar.config.model import Config
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.nights.merge import merge
from pulsar.report.page import write_report

pytestmark = pytest.mark.skipif(find() is None, reason="no Chromium is installed: the page was not opened in a browser")

COUNT = 400


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    whole = many(read(write_product(folder / "run.h5")), folder / "many.h5", COUNT, belonging=2, pulses=0, folded=4)
    return write_report([read(whole)], folder / "out", workers=1)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with Browser(1280, 800) as browser:
        yield browser


@pytest.fixture
def opened(chromium: Browser, page: Path) -> Browser:
    chromium.ask("Page.navigate", url="about:blank")
    chromium.events.clear()
    chromium.open(page)
    return chromium


def shown(browser: Browser, key: str) -> list[str]:
    """What a column of the list shows, as far as rows are made."""
    text = browser.run(
        f"""JSON.stringify((() => {{
        const list = lists.get("candidates"), at = list.columns.findIndex(c => c.key === "{key}");
        return [...list.body.rows].map(row => row.cells[at].textContent);
        }})())"""
    )
    return [str(value) for value in json.loads(text)]


def told(browser: Browser) -> str:
    return str(browser.run("document.querySelector('#candidates .told').textContent"))


def box_of(browser: Browser, selector: str) -> dict[str, float]:
    found = browser.run(f"JSON.stringify(document.querySelector('{selector}').getBoundingClientRect())")
    return dict(json.loads(found))


def test_it_opens_from_disk_and_asks_nobody(opened: Browser) -> None:
    assert told(opened) == f"{COUNT} of {COUNT}"
    assert float(opened.run("document.documentElement.dataset.ready")) < 5000
    # Only as many rows are made as are looked at.
    assert 20 < len(shown(opened, "id")) < COUNT
    opened.key("j")
    opened.key("Enter")
    opened.run("new Promise(r => setTimeout(r, 300))")
    asked = opened.asked()
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert opened.complaints() == []


def test_headings_sort(opened: Browser) -> None:
    button = "[...document.querySelectorAll('#candidates thead button')].find(b => b.textContent === 'DM')"
    for order, sign in (("descending", -1), ("ascending", 1)):
        opened.run(f"{button}.click()")
        assert opened.run(f"{button}.closest('th').getAttribute('aria-sort')") == order
        dms = [float(text.split("(")[0]) for text in shown(opened, "dm")]
        assert dms == sorted(dms, key=lambda dm: sign * dm)
    assert opened.run("document.querySelectorAll('#candidates th[aria-sort]').length") == 1


def test_filters_leave_what_they_ask_for(opened: Browser) -> None:
    opened.key("/")
    opened.type("dm=100..200 period<60")
    dms = [float(text.split("(")[0]) for text in shown(opened, "dm")]
    periods = [float(text.split("(")[0]) for text in shown(opened, "period")]
    assert 0 < len(dms) < COUNT
    assert all(100 <= dm <= 200 for dm in dms)
    assert all(period < 60 for period in periods)
    assert told(opened) == f"{len(dms)} of {COUNT}"
    opened.run("lists.get('candidates').input.value = 'nonsense>1'; lists.get('candidates').refresh()")
    assert told(opened) == "this filter is not understood"
    opened.key("Escape")
    assert told(opened) == f"{COUNT} of {COUNT}"


@pytest.mark.parametrize(
    ("text", "count"), [("known:B0531", 200), ("-known:B0531", 200), ("known=", 200), ("known!=", 200), ("c0001", 1)]
)
def test_words_of_filters(opened: Browser, text: str, count: int) -> None:
    opened.key("/")
    opened.type(text)
    assert told(opened) == f"{count} of {COUNT}"


def test_a_box_on_the_map_filters(opened: Browser) -> None:
    box = box_of(opened, "#candidates canvas")
    left, top = box["x"] + 0.4 * box["width"], box["y"] + 10
    opened.mouse("mousePressed", left, top)
    opened.mouse("mouseMoved", left + 200, top + 120, held=True)
    opened.mouse("mouseReleased", left + 200, top + 120)
    text = opened.run("lists.get('candidates').input.value")
    assert text.startswith("period=")
    assert " dm=" in text
    assert 0 < int(told(opened).split()[0]) < COUNT


def test_a_point_on_the_map_opens_its_sheet(opened: Browser) -> None:
    box = box_of(opened, "#candidates canvas")
    opened.run("window.map = new PointMap(lists.get('candidates'), 'period', 'period', true); map.draw()")
    x, y = json.loads(opened.run("JSON.stringify(map.place(map.list.view[0]))"))
    opened.mouse("mousePressed", box["x"] + x, box["y"] + y)
    opened.mouse("mouseReleased", box["x"] + x, box["y"] + y)
    assert opened.run("document.getElementById('sheet').hidden") is False


def test_keys_go_through_the_list_and_open_sheets(opened: Browser) -> None:
    for key in ("j", "j", "ArrowDown", "k", "Enter"):
        opened.key(key)
    second = shown(opened, "id")[1]
    assert opened.run("document.getElementById('sheet-title').textContent") == second
    assert opened.run("document.activeElement.textContent") == second
    assert opened.run("document.querySelector('tr[aria-current=true] .name').textContent") == second
    image = "document.querySelector('#sheet-picture img')"
    opened.run(f"new Promise(r => {image}.complete ? r(1) : {image}.onload = () => r(1))")
    assert opened.run(f"{image}.naturalWidth") >= 780
    assert second in opened.run(f"{image}.alt")
    assert opened.run("document.getElementById('say').textContent").startswith(f"2 of {COUNT}: {second}")
    opened.key("Enter")
    assert opened.run("document.body.className") == "open wide"
    opened.key("Escape")
    assert opened.run("document.getElementById('sheet').hidden") is True
    opened.key("End")
    assert opened.run("lists.get('candidates').current.place") == COUNT - 1
    opened.key("?")
    assert opened.run("document.getElementById('help').open") is True
    opened.key("Escape")
    assert opened.run("document.getElementById('help').open") is False


def test_a_sheet_has_a_pixel_for_each_of_the_screen(opened: Browser) -> None:
    for key in ("j", "Enter", "Enter"):
        opened.key(key)
    image = "document.querySelector('#sheet-picture img')"
    opened.run(f"new Promise(r => {image}.complete ? r(1) : {image}.onload = () => r(1))")
    assert opened.run(f"{image}.clientWidth") > 1200
    assert opened.run(f"{image}.naturalWidth >= {image}.clientWidth")


def test_sheets_side_by_side(opened: Browser) -> None:
    opened.run("lists.get('candidates').input.value = 'period<60'; lists.get('candidates').refresh()")
    listed, count = shown(opened, "id"), int(told(opened).split()[0])
    opened.key("j")
    # None is loaded for a list.
    assert [url for url in opened.asked() if url.endswith(".png")] == []
    opened.key("g")
    assert opened.run("document.querySelector('#candidates .tiles-button').getAttribute('aria-pressed')") == "true"
    tiles = json.loads(
        opened.run("JSON.stringify([...document.querySelectorAll('#candidates tr .tile')].map(t => t.offsetLeft))")
    )
    beside = tiles.index(tiles[0], 1)
    assert beside >= 3
    assert shown(opened, "id")[: len(listed)] == listed[: len(tiles)]
    opened.wait("[...document.querySelectorAll('.tile img')].some(image => image.naturalWidth)")
    # What is judged by the list of numbers is by the tiles, too: the same row, the same filter, the same order.
    for key, place in (("ArrowDown", beside), ("ArrowRight", beside + 1), ("k", beside), ("ArrowUp", 0), ("j", 1)):
        opened.key(key)
        assert opened.run("lists.get('candidates').current.place") == place
    opened.key("Enter")
    assert opened.run("document.getElementById('sheet-title').textContent") == listed[1]
    opened.key("g")
    assert opened.run("document.querySelectorAll('.tile').length") == 0
    assert opened.run("document.querySelector('tr[aria-current=true] .name').textContent") == listed[1]
    assert told(opened) == f"{count} of {COUNT}"
    assert opened.complaints() == []


def test_what_belongs_to_a_row_is_reached_from_it(opened: Browser) -> None:
    opened.key("j")
    opened.key("Enter")
    owner = opened.run("sheet.row.i")
    assert opened.run("document.querySelector('#sheet-more h3').textContent") == "2 that belong to it"
    opened.run("document.querySelector('#sheet-more td button').click()")
    assert opened.run("sheet.row.o") == owner
    opened.run("document.querySelector('#sheet-more p button').click()")
    assert opened.run("sheet.row.i") == owner
    opened.run("document.querySelector('.filter-all').click()")
    assert told(opened) == f"{3 * COUNT} of {3 * COUNT}"


def test_flags_stand_beside_the_numbers_with_a_sheet_open(opened: Browser) -> None:
    opened.key("j")
    opened.key("Enter")
    flags, sheet = box_of(opened, "#candidates th.flags"), box_of(opened, "#sheet")
    strength = box_of(opened, "#candidates th:nth-child(5)")
    assert strength["right"] <= flags["left"] + 1
    assert flags["right"] < sheet["left"]


def test_labels_go_to_whoever_keeps_them(page: Path) -> None:
    with Browser(1280, 800) as browser:
        browser.before(
            "window.kept = {}; window.pulsarLabels = { get: uid => kept[uid], set: (uid, v) => { kept[uid] = v; } };"
        )
        browser.open(page)
        for key in ("j", "p", "j", "k", "Enter", "u"):
            browser.key(key)
        first, second = (browser.run(f"lists.get('candidates').view[{i}].u") for i in (0, 1))
        # With labels k says "known": the arrows go back.
        assert json.loads(browser.run("JSON.stringify(kept)")) == {
            first: {"label": "pulsar"}, second: {"label": "unsure"}
        }  # fmt: skip
        assert [c.strip() for c in json.loads(labels_of(browser))][:3] == ["pulsar", "unsure", ""]
        assert browser.run("document.querySelector('#sheet-labels [aria-pressed=true]').textContent") == "unsure u"


def labels_of(browser: Browser) -> str:
    return str(
        browser.run("JSON.stringify([...document.querySelectorAll('#candidates td.label')].map(c => c.textContent))")
    )


def test_a_night_begins_with_its_best_candidate_and_tells_what_was_left_out(tmp_path: Path) -> None:
    product = read(write_product(tmp_path / "run.h5"))
    merged = merge([product, read(write_beam(tmp_path / "beam.h5", 2))], Target(tmp_path / "ALL.h5"), Config())
    page = write_report([merged], tmp_path / "out", workers=1)
    with Browser(1280, 800) as browser:
        browser.before("window.kept = []; window.pulsarLabels = { get: () => undefined, set: uid => kept.push(uid) };")
        browser.open(page)
        assert browser.run("[seen, document.getElementById('sheet-title').textContent].join()") == "candidates,c0001"
        assert browser.run("document.querySelector('#sheet-picture img') !== null")
        share = f"{100.0 * product.rfi['masked_fraction']:.1f} %"
        assert f"Of the data {share} were masked" in browser.run("document.getElementById('interference').textContent")
        # Nobody judges an observation.
        browser.run("location.hash = 'observations'")
        browser.wait("seen === 'observations'")
        for key in ("j", "p", "Enter"):
            browser.key(key)
        assert browser.run("kept.length") == 0
        assert browser.run("document.getElementById('sheet-picture').textContent") == ""
        assert browser.complaints() == []


@pytest.mark.parametrize(("width", "dark"), [(400, False), (400, True), (1280, True)])
def test_narrow_and_dark(page: Path, width: int, dark: bool) -> None:
    with Browser(width, 800, dark=dark) as browser:
        browser.open(page)
        assert browser.run("document.documentElement.scrollWidth") <= width
        ground = browser.run("getComputedStyle(document.body).backgroundColor")
        light: Any = [int(v) > 127 for v in ground.removeprefix("rgb(").removesuffix(")").split(",")]
        assert light == [not dark] * 3
        browser.run("location.hash = lists.get('candidates').view[0].i")
        browser.run("new Promise(r => setTimeout(r, 200))")
        assert box_of(browser, "#sheet")["right"] <= width + 1
        assert browser.complaints() == []


def test_markup_in_names_does_nothing(tmp_path: Path, chromium: Browser) -> None:
    report = write_report([read(hostile_product(tmp_path / "run.h5"))], tmp_path / "out")
    chromium.ask("Page.navigate", url="about:blank")
    chromium.events.clear()
    chromium.open(report)
    chromium.key("j")
    chromium.key("Enter")
    assert chromium.run("document.querySelectorAll('img[onerror], img[src=x]').length") == 0
    assert HOSTILE[:30] in chromium.run("document.getElementById('sheet-where').textContent")
    assert chromium.complaints() == []
    assert not [e for e in chromium.events if e.get("method") == "Page.javascriptDialogOpening"]
