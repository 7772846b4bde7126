"""Pages that are made when the site is built (a hook of mkdocs): options, settings and tables, from the code.

Also taken over are CONTRIBUTING.md, CHANGELOG.md and benchmarks/README.md, whose links are those of the repository; the
notebooks of examples/ are run, and shown with what they draw.
"""

import html
import logging
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from notebooks import FOLDER, NOTEBOOKS, page

#: Its warnings fail a strict build.
log = logging.getLogger("mkdocs.hooks.made_pages")

ROOT = Path(__file__).resolve().parents[1]
#: Files outside docs/ that are pages of the site.
TAKEN = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
}


def cell(text: object) -> str:
    """Text as a cell of a Markdown table."""
    shown = re.sub(r"\s+", " ", str(text)).strip()
    return shown if shown.startswith("<code>") else shown.replace("|", "\\|").replace("<", "&lt;")


def code(text: str) -> str:
    """Text as code within a cell; a bar would end the cell even there."""
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def table(headings: list[str], rows: list[list[object]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell(c) for c in line) + " |" for line in lines) + "\n"


def options(command: Any, name: str) -> list[list[object]]:
    """Names and help of what a command takes, as its ``--help`` says them."""
    context = command.make_context(name, [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.params]
    return [[code(names), about.replace("\\[", "[")] for names, about in filter(None, records)]


def commands() -> str:
    """Every command with all its options."""
    from pulsar.cli.app import COMMANDS, command_of

    def walk(command: Any, name: str) -> Iterator[str]:
        if hasattr(command, "commands"):
            for inner, one in command.commands.items():
                yield from walk(one, f"{name} {inner}")
            return
        about = (command.help or "").replace("``", "`")
        yield f"## {name}\n\n{about}\n\n" + table(["option", "what it does"], options(command, name))

    text = "\n".join(part for name in COMMANDS for part in walk(command_of(name), f"pulsar {name}"))
    return f"# All options\n\nWhat `pulsar COMMAND --help` says; [cli.md](../cli.md) explains it.\n\n{text}"


def settings() -> str:
    """Every key of the configuration."""
    from pulsar.config.load import keys
    from pulsar.config.model import Config
    from pulsar.data.validated import expected

    parts = [
        "# All settings\n\nOf a TOML file, or `--set section.key=value`. `pulsar config show` prints them with their "
        "defaults, `pulsar config show --list` the presets.\n"
    ]
    found = list(keys())
    for section, field in Config.model_fields.items():
        about = (getattr(field.annotation, "__doc__", None) or "").strip().splitlines()
        rows: list[list[object]] = []
        for name, key, inner in found:
            if name == section:
                value = "" if inner.default is None else inner.default
                rows.append([f"`{key}`", expected(inner), value, inner.description or ""])
        parts.append(
            f"## {section}\n\n{about[0] if about else ''}\n\n" + table(["key", "value", "default", "what"], rows)
        )
    return "\n".join(parts)


def tables() -> str:
    """Every table of the product, the flags and the features."""
    from pulsar.data.flags import docs_table
    from pulsar.io.product.schema import FOLD_ARRAYS, FOLD_SCALARS, TABLES
    from pulsar.sources.features import FEATURES

    parts = ["# All tables\n\nOf the HDF5 product; [product.md](../product.md) explains them.\n"]
    for name, (columns, about) in TABLES.items():
        rows: list[list[object]] = [[f"`{c.name}`", c.dtype, c.unit, c.description] for c in columns]
        parts.append(
            f"## /{name}\n\n{about[0].upper()}{about[1:]}.\n\n" + table(["column", "type", "unit", "what"], rows)
        )
    for title, found in (("Arrays of a fold", FOLD_ARRAYS), ("Numbers of a fold", FOLD_SCALARS)):
        lines: list[list[object]] = [[f"`{key}`", unit, text] for key, (unit, text) in found.items()]
        parts.append(f"## {title}\n\n" + table(["name", "unit", "what"], lines))
    parts.append("## Flags\n\n" + docs_table())
    parts.append(
        "## Features\n\n" + table(["feature", "what"], [[f"`{name}`", what] for name, what in FEATURES.items()])
    )
    return "\n".join(parts)


def bench_fields() -> str:
    """Every field of the JSON of pulsar bench."""
    from pulsar.bench.figures import FORMAT_VERSION, BenchRun, Figure, StageFigure
    from pulsar.bench.limits import Limits

    titles = {BenchRun: "The run", Limits: "Each of limits", Figure: "Each of figures", StageFigure: "Each of stages"}
    types = {str: "string", int: "integer", float: "number", float | None: "number or null", dict[str, str]: "object"}
    parts = [
        f"# JSON of pulsar bench\n\nWhat `pulsar bench --json` writes, `format_version` {FORMAT_VERSION}; "
        "[The command line](../cli.md#speed) tells how it is measured. Rates are of all threads together, for each "
        "second of processor time of one.\n"
    ]
    for kind, title in titles.items():
        plain, told = get_type_hints(kind), get_type_hints(kind, include_extras=True)
        rows: list[list[object]] = [
            [f"`{name}`", types.get(plain[name], "list"), *get_args(told[name])[-2:]] for name in plain
        ]
        parts.append(f"## {title}\n\n" + table(["field", "type", "unit", "what"], rows))
    return "\n".join(parts)


@cache
def notebook(path: Path, _changed: float) -> tuple[str, dict[str, bytes]]:
    """A notebook as a page, and its pictures; run again only if its file has changed (`mkdocs serve`)."""
    log.info("running %s", path.name)
    return page(path)


def in_site(path: str) -> str | None:
    """The page, or picture, of the site that shows a file of the repository; None where there is none."""
    if path in TAKEN:
        return TAKEN[path]
    if path.startswith("docs/") and path.endswith((".md", ".png")):
        return path.removeprefix("docs/")
    if path.startswith("examples/") and path.endswith(".ipynb"):
        return f"notebooks/{path.removeprefix('examples/').removesuffix('.ipynb')}.md"
    if path.startswith("benchmarks/") and path.endswith(".png"):
        return path
    return None


def relinked(text: str, source: str, page: str) -> str:
    """Links of the repository's file `source` as those of `page`; what is no page of the site is named only."""

    def link(match: re.Match[str]) -> str:
        bang, words, target, anchor = match.groups()
        if re.match(r"[a-z]+:|#", target) or not target:
            return match[0]
        shown = in_site(posixpath.normpath(posixpath.join(posixpath.dirname(source), target)))
        if shown is None:
            if bang:
                log.warning("%s: the site has no picture %s", source, target)
            return words
        return f"{bang}[{words}]({posixpath.relpath(shown, posixpath.dirname(page) or '.')}{anchor or ''})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)", link, text)


def out_of_lists(text: str) -> list[int]:
    """Lines that a list of the site loses, though that of GitHub has them: indented by less than four spaces."""
    lines, inside = [], False
    before = "text"
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = not inside
        elif not inside and re.match(r" +```| {1,3}([-*+]|\d+\.) " if before else r" +```| {1,3}\S", line):
            lines.append(number)
        before = line.strip()
    return lines


def checked(text: str, source: str) -> str:
    """The text, with a warning where the site would show it otherwise than GitHub."""
    for number in out_of_lists(text):
        log.warning("%s, line %d: indent what stands in a list by four spaces, code by none", source, number)
    return text


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {
        "reference/commands.md": commands,
        "reference/settings.md": settings,
        "reference/tables.md": tables,
        "reference/bench.md": bench_fields,
    }
    for name, make in made.items():
        files.append(File.generated(config, name, content=make()))
    for source, name in TAKEN.items():
        text = checked((ROOT / source).read_text(encoding="utf-8"), source)
        files.append(File.generated(config, name, content=relinked(text, source, name)))
    for name in NOTEBOOKS:
        path = FOLDER / f"{name}.ipynb"
        text, pictures = notebook(path, path.stat().st_mtime)
        files.append(File.generated(config, f"notebooks/{name}.md", content=text))
        for file, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{file}", content=content))
    for picture in (ROOT / "benchmarks").glob("*.png"):
        files.append(File.generated(config, f"benchmarks/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from docs/ to other files of the repository."""
    uri = page.file.src_uri
    made = uri in TAKEN.values() or uri.startswith(("reference/", "notebooks/"))
    return markdown if made else relinked(checked(markdown, f"docs/{uri}"), f"docs/{uri}", uri)
