"""`pulsar.view`: messages of a page in a notebook are answered, and what they judge is in the file of `pulsar view`."""

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reference.browser import Browser, find
from reference.many import many
from reference.products import write_product

import pulsar
from pulsar.errors import ConfigError
from pulsar.io.labels import beside, read_labels, uid_of
from pulsar.io.product.reader import Run, read

COUNT = 40


class Notebook:
    """In place of anywidget.AnyWidget: takes messages as a kernel does, and keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, list[bytes]]] = []

    def on_msg(self, callback: Callable[[Any, Any, list[bytes]], None]) -> None:
        self.take = callback

    def send(self, content: Any, buffers: list[bytes]) -> None:
        self.sent.append((content, buffers))

    def asked(self, path: str, body: str = "") -> tuple[int, bytes]:
        """Status and content of the answer to a message."""
        self.take(self, {"path": path, "body": body, "number": 7, "view": "a"}, [])
        told, (content,) = self.sent.pop()
        assert (told["path"], told["number"], told["view"]) == (path, 7, "a")
        return told["status"], content


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("widget")
    return many(read(write_product(folder / "run.h5")), folder / "many.h5", COUNT, belonging=1, pulses=0, folded=COUNT)


@pytest.fixture
def run(product: Path) -> Run:
    beside(product).unlink(missing_ok=True)
    return read(product)


@pytest.fixture
def notebook(run: Run, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(sys.modules, "anywidget", SimpleNamespace(AnyWidget=Notebook))
    return pulsar.view(run, by="ann")


def test_the_page_and_its_sheets_come_when_they_are_asked_for(notebook: Any) -> None:
    status, page = notebook.asked("")
    assert status == 200
    assert page.startswith(b"<!DOCTYPE html>")
    # The page itself holds none.
    assert b"data:image/png" not in page.split(b'id="interference"')[0]
    status, sheet = notebook.asked("sheets/c0001.png")
    assert status == 200
    assert sheet.startswith(b"\x89PNG")
    assert "S/N" in json.loads(notebook.asked("sheets/c0001.json")[1])["a"]
    assert notebook.asked("sheets/c9999.png")[0] == 404
    assert notebook.asked("../many.h5")[0] == 404


def test_a_judgement_is_in_the_file_when_it_is_answered(notebook: Any, run: Run) -> None:
    uid = uid_of(run.rows()[0])
    assert json.loads(notebook.asked("labels")[1]) == {"who": "ann", "labels": {}}
    status, told = notebook.asked("labels", json.dumps({"uid": uid, "label": "pulsar", "note": "bright"}))
    assert status == 200
    assert json.loads(told)["judged"]["label"] == "pulsar"
    (entry,) = read_labels(beside(run.path)).entries
    assert (entry.uid, entry.label, entry.note, entry.who) == (uid, "pulsar", "bright", "ann")
    rows = json.loads(notebook.asked(f"beside?uid={uid}")[1])["rows"]
    assert rows[0]["sheet"].startswith("others/")
    assert "pulsar fold" in json.loads(notebook.asked(f"cleaning?uid={uid}")[1])["commands"][0]
    status, told = notebook.asked("labels", json.dumps({"uid": uid, "label": "star"}))
    assert status == 400
    assert "star" in json.loads(told)["error"]
    assert len(read_labels(beside(run.path)).entries) == 1


def test_without_anywidget_it_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(ConfigError, match=r"pip install 'pulsar-search\[notebook\]'"):
        pulsar.view(run)


def test_of_a_run_in_memory_a_file_for_judgements_is_asked(notebook: Any, run: Run, tmp_path: Path) -> None:
    held = Run.in_memory(run.path)
    with pytest.raises(ConfigError, match="save it"):
        pulsar.view(held)
    for wrong in ([], "run.h5"):
        with pytest.raises(ConfigError, match="one Run at least"):
            pulsar.view(wrong)
    view: Any = pulsar.view([held, held], labels=tmp_path / "mine.ecsv", by="ann")
    uid = uid_of(run.rows()[0])
    view.asked("labels", json.dumps({"uid": uid, "label": "noise"}))
    assert read_labels(tmp_path / "mine.ecsv").label_text(uid) == "noise"


def test_anywidget_takes_it(run: Run) -> None:
    pytest.importorskip("anywidget", reason="anywidget is not installed: the widget was not made with it")
    view = pulsar.view(run, by="ann", height=300)
    assert "const HEIGHT = 300;" in view._esm
    assert "text/plain" in view._repr_mimebundle_()[0]


HARNESS = """<!DOCTYPE html><body style="margin: 0"><script type="module">
window.sent = [];
const model = { send: message => sent.push(message), on: (_name, take) => { window.take = take; }, off: () => {} };
const part = await import("data:text/javascript;base64,SCRIPT");
part.default.render({ model, el: document.body });
document.documentElement.dataset.ready = "1";
</script></body>"""


class Kernel:
    """Between a widget in a browser and Python: what the page asks, answered when a test says so."""

    def __init__(self, browser: Browser, notebook: Any) -> None:
        self._browser, self._notebook = browser, notebook
        self.asked: list[str] = []

    def answer(self, until: str) -> None:
        """Answer all that is asked, until a path has been."""
        while until not in self.asked:
            self.step()

    def step(self) -> None:
        """Wait for requests, and answer them."""
        self._browser.wait("sent.length")
        for message in json.loads(self._browser.run("JSON.stringify(sent.splice(0))")):
            self._notebook.take(self._notebook, message, [])
            told, (content,) = self._notebook.sent.pop()
            data = base64.b64encode(content).decode()
            self._browser.run(
                f"take({json.dumps(told)}, [Uint8Array.from(atob('{data}'), c => c.charCodeAt(0))]), undefined"
            )
            self.asked.append(message["path"])


@pytest.mark.skipif(find() is None, reason="no Chromium is installed: the widget was not shown in a browser")
def test_keys_in_a_notebook(notebook: Any, run: Run, tmp_path: Path) -> None:
    page, rows = tmp_path / "notebook.html", run.rows()
    page.write_text(HARNESS.replace("SCRIPT", base64.b64encode(notebook._esm.encode()).decode()))
    with Browser(1280, 800) as browser:
        browser.open(page)
        kernel = Kernel(browser, notebook)
        kernel.answer("labels")
        # Not by a click, which is lost before the frame is drawn.
        browser.run("document.querySelector('iframe').focus()")
        for key in ("j", "p", "Enter"):
            browser.key(key)
        # The sheet that is open, and the next one; no other.
        kernel.answer(f"sheets/{rows['id'][1]}.json")
        sheets = [path for path in kernel.asked if path.startswith("sheets/")]
        assert sheets == [f"sheets/{ident}.{kind}" for ident in rows["id"][:2] for kind in ("png", "json")]
        assert read_labels(beside(run.path)).label_text(uid_of(rows[0])) == "pulsar"
        # Of what is passed by while the kernel draws nothing is drawn: the third row, and then that where one stays.
        browser.key("j")
        browser.wait(f"sent.some(message => message.path === 'sheets/{rows['id'][2]}.png')")
        for _ in range(9):
            browser.key("j")
        # Keys are taken in their order: when this one asks, the others have been.
        browser.key("l")
        browser.wait("sent.some(message => message.path.startsWith('cleaning?'))")
        kernel.answer(f"sheets/{rows['id'][10]}.json")
        drawn = [path for path in kernel.asked if path.endswith(".png")]
        assert drawn[2:] == [f"sheets/{rows['id'][at]}.png" for at in (2, 10)]
        browser.key("Escape")
        browser.key("g")
        before = len(kernel.asked)
        kernel.answer(f"sheets/{rows['id'][9]}.json")
        assert len(kernel.asked) - before < COUNT
        assert browser.complaints() == []
