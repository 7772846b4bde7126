"""What a batch has left, read back after others had it in their hands."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from batch.folders import make_batch
from typer.testing import CliRunner

from pulsar.batch import slurm
from pulsar.batch.local import Options
from pulsar.batch.records import BatchStatus, index_file, read_record, record_file, status
from pulsar.batch.units import Batch, read_batch
from pulsar.cli.app import app
from pulsar.data.unfinished import FileLock
from pulsar.errors import DataError


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return make_batch(tmp_path / "out")


def counts(found: BatchStatus) -> tuple[int, ...]:
    return found.done, found.failed, found.stopped, found.left, found.candidates


WHOLE = (1, 2, 1, 2, 12)


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", ".hidden", "", "a/b", "a\u202eb", "a\nb", "x" * 250])
def test_a_unit_that_leads_elsewhere_is_refused(name: str, batch: Batch) -> None:
    path = batch.folder / "units.jsonl"
    lines = path.read_text().splitlines()
    lines[3] = json.dumps({**json.loads(lines[3]), "name": name})
    path.write_text("\n".join(lines))
    for command in (["status"], ["status", "--json"], ["run", "-q"], ["retry", "--failed"], ["merge"]):
        result = CliRunner().invoke(app, ["batch", command[0], str(batch.folder), *command[1:]])
        assert result.exit_code == 3, result.output
        assert f"{path}: line 4: is damaged: name = " in result.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("inputs", "/data/a.fil"), ("inputs", [1]), ("nbytes", "1"), ("nbytes", -1), ("cpu", None), ("cpu", -1.0),
        ("cpu", float("nan")), ("memory", 1.5), ("ra_deg", 400.0), ("dec_deg", "x"), ("more", 1), ("name", 7),
    ],
)  # fmt: skip
def test_a_unit_of_other_types_is_refused(key: str, value: object, batch: Batch) -> None:
    path = batch.folder / "units.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), key: value})
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"units.jsonl: line 3: is damaged.*make it again with `pulsar batch init`"):
        read_batch(batch.folder)


def test_a_unit_that_is_there_twice_is_refused(batch: Batch) -> None:
    path = batch.folder / "units.jsonl"
    lines = path.read_text().splitlines()
    lines[5] = lines[2]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match="line 3: is damaged: b is in line 6, too"):
        read_batch(batch.folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "finished"), ("reason", 1), ("attempts", "3"), ("attempts", -1), ("cpu", float("nan")), ("cpu", "x"),
        ("cpu", float("inf")), ("lost", None), ("since", []), ("peak", 1.5), ("host", {}), ("more", 1), ("name", "a"),
    ],
)  # fmt: skip
def test_a_damaged_record_counts_as_none(key: str, value: object, batch: Batch) -> None:
    path = record_file(batch.folder, "d")
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert read_record(batch.folder, "d") is None
    found = status(batch.folder)
    assert counts(found) == (1, 1, 1, 3, 12)
    json.dumps(asdict(found), allow_nan=False)


def _row(**values: object) -> "object":
    """Other values in the record of unit d, whose record says the same."""

    def change(path: Path) -> None:
        rows = json.loads(path.read_text())
        rows["d"][1] |= values
        path.write_text(json.dumps(rows))

    return change


def _put(name: str, row: object) -> "object":
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: row}))

    return change


def _other(path: Path) -> None:
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(dict.fromkeys(rows, rows["a"])))


def _lacking(path: Path) -> None:
    rows = json.loads(path.read_text())
    del rows["a"][1]["name"]
    path.write_text(json.dumps(rows))


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").touch()


DAMAGES = {
    "nothing": lambda path: path.write_bytes(b""),
    "a part": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "a list": lambda path: path.write_text("[]"),
    "lists without an end": lambda path: path.write_text("[" * 100_000),
    "a key too many": _row(more=1),
    "a key too few": _lacking,
    "a number that is none": _row(cpu=float("nan")),
    "a text for a number": _row(cpu="x"),
    "a status of its own": _row(status="finished"),
    "another unit's": _other,
    "null": _put("d", None),
    "no record": _put("d", [1, None]),
    "a time that is a text": _put("d", ["x", {"name": "d", "status": "done"}]),
    "a long time": _put("d", [1 << 70, {"name": "d", "status": "done"}]),
    "bad UTF-8": lambda path: path.write_bytes(path.read_bytes().replace(b'"a"', b'"\xff\x80"')),
    "a name that is none": _put("\udcff", [1, {"name": "\udcff", "status": "done"}]),
    "a long text": _row(reason="x" * 100_000),
    "more units than there are": lambda path: path.write_text(
        json.dumps(
            json.loads(path.read_text()) | {f"x{n}": [1, {"name": f"x{n}", "status": "done"}] for n in range(100)}
        )
    ),
    "large": lambda path: os.truncate(path, 1 << 40),
    "a link": _link,
    "a pipe": _pipe,
    "a folder": _folder,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("held", [False, True])
def test_an_index_is_made_anew_whatever_is_wrong_with_it(damage: str, held: bool, batch: Batch) -> None:
    DAMAGES[damage](index_file(batch.folder))
    with FileLock(batch.folder / "lock") as lock:
        # Who may not write it goes by products and records.
        assert not held or lock.acquire()
        result = CliRunner().invoke(app, ["batch", "status", str(batch.folder), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout, parse_constant=pytest.fail)
    assert tuple(found[key] for key in ("done", "failed", "stopped", "left", "candidates")) == WHOLE
    shown = CliRunner().invoke(app, ["batch", "status", str(batch.folder)])
    assert shown.exit_code == 0, shown.output


def test_what_is_linked_to_is_left_alone(batch: Batch) -> None:
    index = index_file(batch.folder)
    victim = batch.folder.with_name("victim")
    victim.write_bytes(b"")
    index.unlink()
    index.symlink_to(victim)
    assert counts(status(batch.folder)) == WHOLE
    assert victim.read_bytes() == b""
    assert not index.is_symlink()


def test_sums_are_finite_whatever_lines_say(batch: Batch) -> None:
    path = batch.folder / "units.jsonl"
    head, *lines = path.read_text().splitlines()
    units = [{**json.loads(line), "cpu": 1e12 if n else 5e-324} for n, line in enumerate(lines)]
    path.write_text("\n".join([head, *map(json.dumps, units)]))
    json.dumps(asdict(status(batch.folder)), allow_nan=False)


def test_submissions_that_are_damaged_are_told(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = slurm.slurm_folder(batch.folder)
    folder.mkdir()
    order = slurm.Submission((("a", "e"),), Options(), 1, 2, batch.config.batch)
    whole = slurm.adapter(slurm.Submission).dump_json(order)
    path = slurm.submission_file(batch.folder, 7)
    path.write_bytes(whole)
    assert slurm.read_submission(batch.folder, 7) == order
    assert slurm._current(folder) == slurm.Current(number=7)
    (folder / "current.json").write_text('{"job": "12; rm", "number": 7}')
    assert slurm._current(folder) == slurm.Current(number=7)
    (folder / "current.json").write_text('{"job": "12", "number": 6}')
    assert slurm._current(folder) == slurm.Current("12", 6)
    with pytest.raises(DataError, match="has no share 1"):
        slurm.main(batch.folder, 7, 1)
    for text in (whole[:-1], whole.replace(b'"threads":1', b'"threads":"1"'), whole.replace(b'"a"', b"1"), b""):
        path.write_bytes(text)
        with pytest.raises(DataError, match=r"0007\.json: is damaged.*submit anew"):
            slurm.main(batch.folder, 7, 0)
