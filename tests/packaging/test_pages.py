"""Pages of the repository: their commands are taken, their code runs, what they link to and name is there.

Links from page to page of the site are those that `mkdocs build --strict` looks at.
"""

import hashlib
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import matplotlib as mpl
import numpy as np
import pytest
from reference.command import run

import pulsar
from pulsar.cli.app import command_of
from pulsar.config.load import load_config

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: Folders of pages; what is ignored beside them (an environment, a site that was built) has pages of others.
PAGES = [page for folder in (ROOT, ROOT / "benchmarks", ROOT / ".github") for page in sorted(folder.glob("*.md"))]
PAGES += sorted(DOCS.rglob("*.md"))
#: What stands at the top of the repository, and is named in pages by its path.
TOPS = ("pulsar", "kernels", "tests", "docs", "benchmarks", "configs", "examples", ".ci", ".github")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """Blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands_of(line: str) -> list[list[str]]:
    """Words of each ``pulsar …`` of a line of the shell, without the name of the program."""
    found, words = [], []
    for word in [*shlex.split(line.replace("...", ""), comments=True), "&&"]:
        if word not in ("&&", ";", "|"):
            words.append(word)
            continue
        if len(words) > 1 and Path(words[0]).name == "pulsar" and re.fullmatch("[a-z]+", words[1]):
            found.append(words[1:])
        words = []
    return found


def shown(page: Path) -> list[list[str]]:
    """Commands of the blocks of a page."""
    return [words for block in blocks(page, "sh") for words in commands_in(block)]


def commands_in(block: str) -> list[list[str]]:
    """Commands of a block of the shell."""
    return [words for line in block.replace("\\\n", " ").splitlines() for words in commands_of(line)]


def named(page: Path) -> list[tuple[str, str]]:
    """Commands within the sentences of a page, and in the lines of usage: the name, and the rest of the text."""
    spans = [match.split(maxsplit=1) for match in re.findall(r"`pulsar ([a-z][^`]*)`", prose(page))]
    usages = re.findall(r"^    pulsar ([a-z]+)(.*(?:\n     +.*)*)", prose(page), re.MULTILINE)
    return [(name, " ".join(rest)) for name, *rest in [*spans, *usages]]


def command_in(name: str, arguments: list[str]) -> Any:
    """A command, or the one of a group that the arguments begin with, which is taken from them."""
    command: Any = command_of(name)
    grouped = getattr(command, "commands", {})
    return grouped[arguments.pop(0)] if arguments and arguments[0] in grouped else command


def parse(name: str, *arguments: str) -> None:
    """Parse a command; nothing is run, and no file has to be there."""
    left = list(arguments)
    command = command_in(name, left)
    context = command.make_context(name, [], resilient_parsing=True)
    context.resilient_parsing = False
    command.make_parser(context).parse_args(left)


@pytest.mark.parametrize("page", [page for page in PAGES if shown(page)], ids=name_of)
def test_commands_are_taken(page: Path) -> None:
    for words in shown(page):
        parse(*words)


def test_commands_are_found_and_wrong_ones_are_refused() -> None:
    assert ["demo"] in shown(ROOT / "README.md")
    assert ["batch", "run", "S"] in shown(ROOT / "README.md")
    with pytest.raises(Exception, match="--nothing"):
        parse("search", "a.fil", "--nothing")
    with pytest.raises(Exception, match="requires 2 arguments"):
        parse("search", "a.fil", "--dm", "0")


def test_options_that_are_named_are_those_of_their_commands() -> None:
    # The changelog names what is gone, too.
    told = [(name_of(page), *usage) for page in PAGES for usage in named(page) if page.name != "CHANGELOG.md"]
    assert len(told) > 150
    strange = []
    for page, name, text in told:
        command = command_in(name, text.split())
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        used = set(re.findall(r"(?<![\w-])--[a-z][\w-]*\b(?!-?…)", re.sub("#.*", "", text)))
        strange += [f"{page}: pulsar {name} {text}: {option}" for option in sorted(used - options - {"--help"})]
    assert strange == []


LINKS = [(page, target) for page in PAGES for target in re.findall(r"\[[^\]]*\]\(([^)\s]*)\)", prose(page))]


def in_docs(path: Path) -> bool:
    return path.is_relative_to(DOCS)


def headings(page: Path) -> set[str]:
    """Anchors of the headings of a page."""
    found = re.findall(r"^#+ +(.*?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", title)).lower().replace(" ", "-") for title in found}


def test_links_lead_somewhere() -> None:
    lost, followed = [], 0
    for page, target in LINKS:
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            parts = urlsplit(target)
            if parts.scheme not in ("https", "mailto") or (parts.scheme == "https" and "." not in parts.netloc):
                lost.append(f"{name_of(page)}: {target}")
            continue
        file = Path(os.path.normpath(page.parent / path)) if path else page
        if in_docs(page) and in_docs(file):
            continue
        followed += 1
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in headings(file)):
            lost.append(f"{name_of(page)}: {target}")
    assert followed > 80
    assert lost == []


def test_files_that_are_named_are_there() -> None:
    named = {
        (name_of(page), path)
        for page in PAGES
        for path in re.findall(r"`([\w./-]+/[\w./-]*\w)`", prose(page))
        if path.split("/")[0] in TOPS
    }
    assert len(named) > 80
    assert [pair for pair in sorted(named) if not (ROOT / pair[1]).exists()] == []


def test_the_paper_has_what_the_journal_asks_for() -> None:
    text = (DOCS / "paper" / "paper.md").read_text(encoding="utf-8")
    entries = re.findall(
        r"^@\w+\{(\w+),\n(.*?)^\}", (DOCS / "paper" / "paper.bib").read_text(), re.DOTALL | re.MULTILINE
    )
    assert set(re.findall(r"@(\w+\d{4})", text)) == {key for key, _ in entries}
    assert all(re.search(r"^  doi = \{10\.\d{4,}/\S+\}$", entry, re.MULTILINE) for _, entry in entries)
    needed = ["Summary", "Statement of need", "State of the field", "Software design", "Research impact statement"]
    assert re.findall(r"^# (.*)$", text, re.MULTILINE)[:6] == [*needed, "AI usage disclosure"]
    assert 750 <= len(text.split()) <= 1750
    (figure,) = re.findall(r"\]\((\S+\.png)\)", text)
    assert (DOCS / "paper" / figure).is_file()
    # Figures of comparisons are those of the README.
    field = text[text.index("# State of the field") : text.index("# Software design")]
    shares = re.findall(r"\d+ %|\d+\.\d\d(?= and| s)", field)
    assert len(shares) == 5
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [share for share in shares if share not in readme] == []


@pytest.mark.parametrize("page", ["cli.md", "howto/batch.md"])
def test_settings_that_are_shown_are_read(tmp_path: Path, page: str) -> None:
    (text,) = blocks(DOCS / page, "toml")
    path = tmp_path / "shown.toml"
    path.write_text(text)
    assert load_config(str(path)) != load_config(None)


@pytest.fixture
def observation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, ...]:
    """Two files of one observation, a_0001.fits and a_0002.fits, in the current folder."""
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    signal = {"period": 0.0123456, "dm": 56.7, "snr": 40}
    band = {"nchans": 64, "fch1": 1496.0, "foff": -7.8125, "tsamp": 256e-6, "tobs": 8, "seed": 1}
    return pulsar.simulate("a.fits", pulsars=[signal], **band, output={"nsblk": 512, "rows_per_file": 31})  # type: ignore[return-value]


@pytest.mark.filterwarnings("ignore:rfi.zap")
def test_code_of_readme_product_and_masks_runs(observation: tuple[Path, ...]) -> None:
    names: dict[str, Any] = {"pulsar": pulsar}
    assert [path.name for path in observation] == ["a_0001.fits", "a_0002.fits"]
    exec(blocks(ROOT / "README.md", "python")[1], names)
    assert names["run"].sources["period"][0].to_value("s") == pytest.approx(0.0123456, rel=1e-4)
    assert names["fold"].dm == pytest.approx(56.7, abs=1.0)
    assert Path("report/index.html").is_file()
    exec(blocks(DOCS / "product.md", "python")[0], names)
    assert Path("c0001.png").is_file()
    Path("a.mask.h5").unlink()
    (masks,) = blocks(DOCS / "masks.md", "python")
    exec(masks, names)
    assert names["made"].mask.fraction_lost > 0


def test_code_of_product_for_other_programs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas", reason="pandas is not here")
    monkeypatch.chdir(tmp_path)
    pulses = np.random.default_rng(1).standard_normal(20_000)
    pulses[::97] += 4
    pulsar.search(pulsar.TimeSeries(pulses, tsamp=1e-3), out="run.h5")
    names: dict[str, Any] = {}
    exec(blocks(DOCS / "product.md", "python")[1], names)
    assert names["profile"].ndim == 1
    assert len(names["merged"]) == len(names["table"]) > 0


def test_code_of_completeness_runs(observation: tuple[Path, ...]) -> None:
    settings = pulsar.load_config("default", ["completeness.enabled=true", "completeness.places=2"])
    pulsar.search(pulsar.open(*observation), config=settings, dm=(0, 60), out="run.h5")
    names: dict[str, Any] = {"pulsar": pulsar}
    (code,) = blocks(DOCS / "completeness.md", "python")
    exec(code, names)
    assert names["run"].recall()["tried"].sum() > 0


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = [block for block in blocks(DOCS / "tutorial.md", "sh") if "curl" not in block]
    printed = {tuple(words): run(*words) for block in made for words in commands_in(block)}
    assert [words for words, (code, _, _) in printed.items() if code] == []
    assert "c0001" in printed["candidates", "first.h5", "--top", "10"][1]
    assert len(pulsar.read("first.h5").sources) == 1
    (best,) = pulsar.read("fold.h5").sources
    assert best["period"].to_value("s") == pytest.approx(0.0893, rel=1e-4)
    assert Path("report/index.html").is_file()


def test_real_observations_of_the_tutorial_show_what_it_prints(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fetched = [block for block in blocks(DOCS / "tutorial.md", "sh") if "curl" in block]
    for block in fetched:
        for digest, name in re.findall(r"'(\w{64})  (\S+)'", block):
            (file,) = shared_data.rglob(name)
            assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
            shutil.copy(file, name)
    printed = {tuple(words): run(*words) for block in fetched for words in commands_in(block)}
    assert [words for words, (code, _, _) in printed.items() if code] == []
    tables = [out for words, (_, out, _) in printed.items() if words[0] == "candidates"]
    for out, table in zip(tables, blocks(DOCS / "tutorial.md", "text"), strict=True):
        assert len(out.splitlines()) >= len(table.splitlines()) > 1
        # The last digits are the processor's.
        for line, told in zip(out.splitlines(), table.splitlines(), strict=False):
            assert re.sub(r"[\d.]+", "0", line) == re.sub(r"[\d.]+", "0", told)
            values, expected = ([float(n) for n in re.findall(r"\b\d[\d.]*", text)] for text in (line, told))
            assert values == pytest.approx(expected, rel=0.01, abs=0.05)
    assert "info" in {words[0] for words in printed}
