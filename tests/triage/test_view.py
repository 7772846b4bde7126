"""`pulsar view` as it is used: started, judged in a browser by key, shot down, started again."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from reference.browser import Browser, find
from reference.command import run
from reference.many import many
from reference.products import write_beam, write_product

from pulsar.cli.products import products_of
from pulsar.io.labels import Label, Sidecar, beside, read_labels, uid_of
from pulsar.io.product.reader import read
from pulsar.triage.site import Site

browser_only = pytest.mark.skipif(find() is None, reason="no Chromium is installed: nothing was judged in a browser")


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return many(read(write_product(tmp_path / "run.h5")), tmp_path / "many.h5", 40, belonging=1, pulses=0, folded=4)


@contextmanager
def viewed(*args: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of `pulsar view`, and the link that it prints."""
    command = [sys.executable, "-m", "pulsar", "view", *map(str, args)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def judge(link: str, uid: str, label: str) -> int:
    parts = urlsplit(link)
    with closing(http.client.HTTPConnection("127.0.0.1", parts.port, timeout=20)) as connection:
        headers = {"Origin": f"http://{parts.netloc}", "Content-Type": "application/json"}
        connection.request("POST", f"{parts.path}labels", json.dumps({"uid": uid, "label": label}), headers)
        return connection.getresponse().status


def test_what_was_answered_survives_a_kill(product: Path) -> None:
    uids = [uid_of(row) for row in read(product).rows()[:6]]
    for start in (0, 3):
        with viewed(product, "--by", "ann") as (process, link):
            for uid in uids[start : start + 3]:
                assert judge(link, uid, "noise") == 200
            os.kill(process.pid, signal.SIGKILL)
    entries = read_labels(beside(product)).entries
    assert [(e.uid, e.label, e.who) for e in entries] == [(uid, "noise", "ann") for uid in uids]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_ends_when_it_is_told_to(product: Path, number: int, code: int) -> None:
    with viewed(product) as (process, link):
        assert link.startswith("http://127.0.0.1:")
        process.send_signal(number)
        assert process.wait(10) == code


def cells(browser: Browser) -> list[str]:
    script = "JSON.stringify([...document.querySelectorAll('#candidates td.label')].map(c => c.textContent))"
    return [str(text) for text in json.loads(browser.run(script))]


def text_of(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector('{selector}').textContent"))


def saved(browser: Browser) -> None:
    browser.run("triage.queue")


@browser_only
def test_by_key_over_a_kill(product: Path) -> None:
    with Browser(1280, 800) as browser:
        with viewed(product, "--by", "ann") as (process, link):
            browser.visit(link)
            browser.wait("document.documentElement.dataset.labels")
            assert text_of(browser, "#triage-progress") == "0 of 40 judged"
            # pulsar; next, interference; known, and on by itself; noise, taken back.
            for key in ("j", "p", "j", "i", "x", "K", "n", "z"):
                browser.key(key)
            saved(browser)
            assert cells(browser)[:5] == ["pulsar", "interference", "known", "", ""]
            assert text_of(browser, "#triage-progress") == "3 of 40 judged"
            browser.key("Home")
            browser.key("c")
            browser.type("<img src=x onerror=alert(1)> & co")
            browser.key("Enter")
            saved(browser)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            # What is not kept is not shown as if it were.
            browser.key("j")
            browser.key("u")
            saved(browser)
            assert text_of(browser, "#triage-problem").startswith("Not kept: the server has ended")
            assert cells(browser)[:4] == ["pulsar", "interference", "known", ""]
        with viewed(product, "--by", "ann") as (_, link):
            browser.ask("Page.navigate", url="about:blank")
            browser.events.clear()
            browser.visit(link)
            browser.wait("document.documentElement.dataset.labels === '3'")
            assert cells(browser)[:5] == ["pulsar", "interference", "known", "", ""]
            browser.key("x")
            assert browser.run("lists.get('candidates').current.place") == 3
            browser.key("Home")
            browser.key("Enter")
            browser.wait("document.querySelector('#sheet-facts dt') && sheet.row.d")
            assert browser.run("document.querySelector('#sheet-labels input').value") == (
                "<img src=x onerror=alert(1)> & co"
            )
            image = "document.querySelector('#sheet-picture img')"
            browser.run(f"new Promise(r => {image}.complete ? r(1) : {image}.onload = () => r(1))")
            assert browser.run(f"{image}.naturalWidth") >= 780
            browser.run("lists.get('candidates').input.value = 'label=pulsar'; lists.get('candidates').refresh()")
            assert text_of(browser, "#candidates .told") == "1 of 40"
            browser.key("b")
            browser.wait("document.querySelectorAll('#triage-beside figure').length === 1")
            # Browsers ask every server for an icon.
            assert [c for c in browser.complaints() if "/favicon.ico" not in c] == []
    labels = read_labels(beside(product))
    rows = read(product).rows()
    assert [labels.label_text(uid_of(row)) for row in rows[:4]] == ["pulsar", "interference", "known", ""]
    assert labels.of(uid_of(rows[0]))["ann"].note == "<img src=x onerror=alert(1)> & co"


@browser_only
def test_a_key_shows_the_command_that_cleans_a_fold(product: Path) -> None:
    with viewed(product) as (_, link), Browser(1280, 800) as browser:
        browser.visit(link)
        browser.wait("document.documentElement.dataset.labels")
        browser.key("j")
        browser.key("Enter")
        browser.key("l")
        browser.wait("document.querySelectorAll('#triage-beside input').length === 2")
        fold = read(product).fold("c0001")
        text = text_of(browser, "#triage-beside label")
        assert text == f"Leave out times, of 0 to {fold.time_edges.max():.6g} s "
        # The first field has the focus.
        browser.type("8:10 55.5:60")
        browser.key("Tab")
        browser.type("1410:1430")
        first, second = text_of(browser, "#triage-beside pre").splitlines()
        assert first.endswith(f"--candidates {product} --id c0001 --out many_c0001.h5")
        zaps = "--zap-time 8:10 --zap-time 55.5:60 --zap-freq 1410:1430"
        assert second == f"pulsar fold many_c0001.h5 {zaps} --out many_c0001_clean.h5"
        browser.type(" ; rm x")
        assert text_of(browser, "#triage-beside pre") == ";: expected two numbers, LO:HI"
        # Keys that are typed there judge nothing, and Escape leaves the sheet open.
        browser.key("Escape")
        browser.wait("!document.getElementById('triage-beside').open")
        assert browser.run("document.getElementById('sheet').hidden") is False
        assert text_of(browser, "#triage-progress") == "0 of 40 judged"
        # One without a fold.
        browser.key("End")
        browser.key("l")
        browser.wait("document.getElementById('triage-beside').open")
        assert "It was not folded" in text_of(browser, "#triage-beside")
        assert [c for c in browser.complaints() if "/favicon.ico" not in c] == []


@browser_only
def test_what_others_say_is_seen(product: Path) -> None:
    rows = read(product).rows()
    told = {"when": "2026-01-02T03:04:05Z", "who": "bob"}
    Sidecar(beside(product)).add([Label(uid_of(rows[0]), label="noise", note="<b>weak</b>", **told)])
    with viewed(product, "--by", "ann") as (_, link), Browser(1280, 800) as browser:
        browser.visit(link)
        browser.wait("document.documentElement.dataset.labels === '1'")
        assert cells(browser)[0] == "noise"
        for key in ("j", "Enter", "p"):
            browser.key(key)
        saved(browser)
        assert cells(browser)[0] == "pulsar (ann), noise (bob)"
        assert "bob: noise (<b>weak</b>)" in text_of(browser, "#sheet-labels")
        assert text_of(browser, "#triage-progress") == "1 of 40 judged"


@browser_only
def test_a_dense_screen_gets_twice_the_pixels(product: Path) -> None:
    with viewed(product) as (_, link), Browser(1280, 800) as browser:
        browser.ask("Emulation.setDeviceMetricsOverride", width=1280, height=800, deviceScaleFactor=2, mobile=False)
        browser.visit(link)
        for key in ("j", "Enter", "Enter"):
            browser.key(key)
        browser.wait("sheet.row.d")
        image = "document.querySelector('#sheet-picture img')"
        assert browser.run(f"{image}.clientWidth") > 1200
        assert browser.run(f"{image}.naturalWidth >= 2 * {image}.clientWidth")
        # For those who do not see it the numbers are told, too.
        assert "S/N" in browser.run(f"{image}.alt")


def test_lists_and_the_report_say_it(product: Path, tmp_path: Path) -> None:
    rows = read(product).rows()
    first: Any = {"when": "2026-01-02T03:04:05Z", "label": "pulsar"}
    Sidecar(beside(product)).add([Label(uid_of(rows[1]), who="ann", **first)])
    other = tmp_path / "other.ecsv"
    Sidecar(other).add([Label(uid_of(rows[1]), who="bob", **(first | {"label": "noise"}))])
    code, out, _ = run("candidates", product, "--label", "pulsar")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()[:2]] == ["id", str(rows[1]["id"])]
    assert "pulsar" in out
    assert run("candidates", product, "--label", "none", "--format", "csv")[1].count("\n") == 40
    assert run("candidates", product, "--label", "disputed")[1].startswith("No candidates")
    code, out, _ = run("candidates", product, "--label", "disputed", "--labels", other, "--format", "json")
    assert [row["label"] for row in json.loads(out)] == ["pulsar (ann), noise (bob)"]
    assert "pulsar" in run("candidates", product, "--label", "pulsar", "--format", "ecsv")[1].splitlines()[-1]
    code, out, _ = run("report", product, "--out", tmp_path / "report", "--top", 1, "--quiet")
    assert code == 0
    assert '"labels":{"' + uid_of(rows[1]) + '":"pulsar"}' in (tmp_path / "report" / "index.html").read_text()


def test_files_of_several_people_are_merged(tmp_path: Path) -> None:
    ann, bob, both = (tmp_path / f"{name}.ecsv" for name in ("ann", "bob", "both"))
    Sidecar(ann).add([Label("1", label="pulsar", who="ann", when="2026-01-02T03:04:05Z", product="a.h5", id="c0001")])
    Sidecar(bob).add([Label("1", label="noise", who="bob", when="2026-01-02T03:04:06Z")])
    code, out, err = run("view", "--merge", ann, bob, "--out", both)
    assert code == 0
    assert "1 rows judged by 2: ann, bob" in out
    assert "disputed: a.h5 c0001 (1): pulsar (ann), noise (bob)" in err
    assert read_labels(both).label_text("1") == "pulsar (ann), noise (bob)"
    assert run("view", "--merge", ann, bob, "--out", both)[0] == 2
    assert run("view", "--merge", ann, bob)[0] == 2
    assert run("view", "--merge", ann, tmp_path / "none.ecsv", "--out", both, "--overwrite")[0] == 3


def test_a_merged_list_carries_them(tmp_path: Path) -> None:
    product = many(read(write_product(tmp_path / "run.h5")), tmp_path / "m.h5", 5, belonging=0, pulses=0, folded=1)
    uid = uid_of(read(product).rows()[2])
    told = {"who": "ann", "when": "2026-01-02T03:04:05Z"}
    Sidecar(beside(product)).add([Label(uid, label="pulsar", **told), Label("gone", label="noise", **told)])
    merged = tmp_path / "ALL.h5"
    assert run("sift", product, "--out", merged, "--quiet")[0] == 0
    assert {e.uid: e.label for e in read_labels(beside(merged)).entries} == {uid: "pulsar", "gone": "noise"}
    # What was said of the list itself stays when it is made again, and nothing is said twice.
    Sidecar(beside(merged)).add([Label(uid, label="noise", who="bob", when="2026-01-02T03:04:06Z")])
    assert run("sift", product, "--out", merged, "--quiet", "--overwrite")[0] == 0
    assert len(read_labels(beside(merged)).entries) == 3
    assert "pulsar (ann), noise (bob)" in run("candidates", merged, "--label", "disputed")[1]


def test_what_was_said_of_another_beam_is_said_of_the_source(tmp_path: Path) -> None:
    beams = [write_beam(tmp_path / f"M{beam:02d}.h5", beam) for beam in (1, 2)]
    told = {"who": "ann", "when": "2026-01-02T03:04:05Z"}
    Sidecar(beside(beams[1])).add([Label("2a", label="pulsar", note="look", **told)])
    merged = tmp_path / "ALL.h5"
    assert run("sift", *beams, "--out", merged, "--quiet")[0] == 0
    rows = read(merged).rows()
    assert "1a" in rows["uid"]
    assert "2a" not in rows["uid"]
    assert {e.uid: (e.label, e.note) for e in read_labels(beside(merged)).entries} == {
        "1a": ("pulsar", "look"), "2a": ("pulsar", "look")
    }  # fmt: skip
    # Of the folder the list is shown, not its parts; they stand beside its rows.
    (tmp_path / "mask.h5").write_bytes(b"something else")
    runs = products_of([tmp_path])
    assert [run.path.name for run in runs] == ["ALL.h5"]
    found = Site(runs, "ann").beside("1a")
    assert found is not None
    assert ["beam 1" in found["rows"][0]["told"], "beam 2" in found["rows"][1]["told"]] == [True, True]
    assert all(row["sheet"] for row in found["rows"])


def test_usage(tmp_path: Path, product: Path) -> None:
    code, _, err = run("view", tmp_path / "none.h5")
    assert code == 3
    assert "no such file" in err
    (tmp_path / "empty").mkdir()
    code, _, err = run("view", tmp_path / "empty")
    assert code == 2
    assert "no product" in err
    assert run("view", product, "--out", "x")[0] == 2
    code, _, err = run("view", product, "--labels", tmp_path / "no" / "x.ecsv")
    assert code == 2
    assert "give another --labels" in err
    beside(product).write_text("something else")
    code, _, err = run("view", product)
    assert code == 3
    assert "does not begin with" in err
