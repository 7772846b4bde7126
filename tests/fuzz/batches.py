"""Hostile files in the folder of a batch: its list, records, index and submissions, and what reads them."""

import contextlib
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batch.folders import make_batch
from fuzz import mutator

from pulsar.batch import slurm
from pulsar.batch.drive import retry
from pulsar.batch.local import Options
from pulsar.batch.records import index_file, record_file
from pulsar.batch.units import read_batch
from pulsar.cli import batch
from pulsar.config.resources import parse_size

#: What a value of JSON or of a row may be replaced by.
VALUES = (*mutator.INTS, *mutator.FLOATS, 1 << 63, 1 << 70, None, True, "", "x", "../../x", "/x", "1", [], {},
          [1], {"a": 1}, "\x1b[2J", "\u202ex", "x" * 5000, "done", "failed", "running", "a", "b", "\udcff",
          "a\0b")  # fmt: skip


def _folder(folder: Path) -> Path:
    out = folder / "out"
    if not out.exists():
        make_batch(out)
    return out


def lists(folder: Path) -> list[bytes]:
    return [(_folder(folder) / "units.jsonl").read_bytes()]


def records(folder: Path) -> list[bytes]:
    return [record_file(_folder(folder), name).read_bytes() for name in "bd"]


def indices(folder: Path) -> list[bytes]:
    return [index_file(_folder(folder)).read_bytes()]


def submissions(folder: Path) -> list[bytes]:
    made = read_batch(_folder(folder))
    slurm.slurm_folder(made.folder).mkdir(exist_ok=True)
    order = slurm.Submission((("a", "b"), ("c",)), Options(argv=("pulsar", "batch")), 1, 2, made.config.batch)
    return [json.dumps(slurm.adapter(slurm.Submission).dump_python(order)).encode()]


def arrays(folder: Path) -> list[bytes]:
    slurm.slurm_folder(_folder(folder)).mkdir(exist_ok=True)
    return [b'{"job": "17", "number": 3}']


def json_lines(rng: random.Random, data: bytes) -> bytes:
    """Values and keys of a line of JSON replaced, or the text as a text."""
    if rng.random() < 0.4:
        return mutator.mutate(rng, data, mutator.TEXT + mutator.PLAIN)
    lines = data.rstrip(b"\n").split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(lines))
        try:
            value = json.loads(lines[place])
        except ValueError:
            continue
        lines[place] = json.dumps(_changed(rng, value)).encode()
    if rng.random() < 0.1:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b"\n".join(lines)


def _changed(rng: random.Random, value: Any) -> Any:
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], _changed(rng, value[place]), *value[place + 1 :]]
    if not isinstance(value, dict) or not value:
        return rng.choice(VALUES)
    key, how = rng.choice(sorted(value)), rng.randrange(8)
    if how == 0:
        return {name: v for name, v in value.items() if name != key}
    if how == 1:
        return {**value, rng.choice(("more", "\x1b[2J", "")): rng.choice(VALUES)}
    if how == 2:
        return {**value, key: value[rng.choice(sorted(value))]}
    if how <= 4 and isinstance(value[key], dict | list):
        return {**value, key: _changed(rng, value[key])}
    if how == 5 and isinstance(value[key], list):
        return {**value, key: [*value[key], rng.choice(VALUES)]}
    return {**value, key: rng.choice(VALUES)}


def shown(action: Callable[[], Any]) -> str:
    """What an action prints."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        action()
    return text.getvalue()


def submission(path: Path) -> str:
    """What a job is told."""
    out = path.parent / "out"
    slurm.submission_file(out, 7).write_bytes(path.read_bytes())
    order = slurm.read_submission(out, 7)
    return f"{order.shares} {order.options.argv} {parse_size(order.config.memory)}"


def last_array(path: Path) -> str:
    """What the driver of jobs is told; where it is damaged a number that is free."""
    folder = path.parent / "out" / "slurm"
    (folder / "current.json").write_bytes(path.read_bytes())
    return slurm._current(folder).job


def used(name: str) -> Callable[[Path], str]:
    """What reads a batch in which this file is another; it is whole again afterwards."""

    def use(path: Path) -> str:
        out = path.parent / "out"
        kept = {file: file.read_bytes() for file in out.rglob("*") if file.is_file() and file.name != "lock"}
        try:
            (out / name).write_bytes(path.read_bytes())
            text = shown(lambda: batch.status(folder=out, as_json=True))
            json.loads(text, parse_constant=lambda constant: _refused(text, constant))
            text += shown(lambda: batch.status(folder=out))
            retry(out)
            return text + shown(lambda: batch.status(folder=out))
        finally:
            for file in out.rglob("*"):
                if file.is_file() and file not in kept and file.name != "lock":
                    file.unlink()
            for file, content in kept.items():
                file.write_bytes(content)

    return use


def _refused(text: str, constant: str) -> None:
    raise AssertionError(f"{constant} in what `status --json` prints: {text[:200]}")
