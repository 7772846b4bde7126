"""What a batch has left, read back after others had it in their hands."""

import json
import os
import sqlite3
from pathlib import Path

import pytest
from batch.folders import make_batch
from typer.testing import CliRunner

from pulsar.batch import job, slurm
from pulsar.batch.records import read_record, record_file
from pulsar.batch.status import BatchStatus, status
from pulsar.batch.unit import Options
from pulsar.batch.units import Batch, read_batch
from pulsar.cli.app import app
from pulsar.data.locks import FileLock
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
    json.dumps(found.values(), allow_nan=False)


def _sql(*orders: str) -> "object":
    def change(path: Path) -> None:
        db = sqlite3.connect(path)
        with db:
            for order in orders:
                db.execute(order)
        db.close()

    return change


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


_NEW = "CREATE TABLE units (name TEXT PRIMARY KEY, status TEXT, stamp INTEGER, record TEXT)"
_RECORD = '{"name": "a", "status": "done"'
DAMAGES = {
    "no json": _sql("UPDATE units SET record = '{'"),
    "a key too many": _sql("UPDATE units SET record = json_set(record, '$.more', 1)"),
    "a key too few": _sql("UPDATE units SET record = json_remove(record, '$.name')"),
    "a number that is none": _sql("UPDATE units SET record = replace(record, '\"cpu\": 60.0', '\"cpu\": NaN')"),
    "a text for a number": _sql("UPDATE units SET record = json_set(record, '$.cpu', 'x')"),
    "another unit's": _sql("UPDATE units SET record = (SELECT record FROM units WHERE name = 'a')"),
    "null": _sql("UPDATE units SET record = NULL"),
    "a blob": _sql("UPDATE units SET record = x'ff00'"),
    "a status of its own": _sql("UPDATE units SET status = 'finished'"),
    "a time that is a text": _sql("UPDATE units SET stamp = 'x'"),
    "bad UTF-8": _sql("UPDATE units SET record = CAST(x'ff80' AS TEXT)"),
    "bad UTF-8 in a name": _sql("UPDATE units SET name = CAST(x'ff80' AS TEXT) WHERE name = 'a'"),
    "a view": _sql("ALTER TABLE units RENAME TO old", "CREATE VIEW units AS SELECT * FROM old"),
    "an endless view": _sql(
        "DROP TABLE units",
        "CREATE VIEW units AS WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) "
        "SELECT 'a' AS name, 'done' AS status, n AS stamp, '{}' AS record FROM x",
    ),
    "a trigger": _sql("CREATE TRIGGER t AFTER INSERT ON units BEGIN DELETE FROM units; END"),
    "a schema that no message can show": _sql(
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = CAST(sql || x'ff80' AS TEXT) WHERE name = 'units'",
    ),
    "other columns": _sql("DROP TABLE units", "CREATE TABLE units (name TEXT, other TEXT)"),
    "no facts": _sql("DROP TABLE facts"),
    "facts that are none": _sql("UPDATE facts SET value = '[]'"),
    "facts of no time": _sql("UPDATE facts SET value = '{\"engine\": \"local\", \"begun\": NaN}'"),
    "a long text": _sql("UPDATE units SET record = printf('%.*c', 100000, ' ') WHERE name = 'a'"),
    "more units than there are": _sql(
        "INSERT INTO units WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 100) "
        f"SELECT 'x' || n, 'done', 1, '{_RECORD}}}' FROM x"
    ),
    "large": lambda path: os.truncate(path, 1 << 40),
    "a link": _link,
    "a pipe": _pipe,
    "a folder": _folder,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("held", [False, True])
def test_an_index_is_made_anew_whatever_is_wrong_with_it(damage: str, held: bool, batch: Batch) -> None:
    DAMAGES[damage](batch.folder / "ledger.sqlite")
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
    ledger = batch.folder / "ledger.sqlite"
    victim = batch.folder.with_name("victim")
    victim.write_bytes(b"")
    ledger.unlink()
    ledger.symlink_to(victim)
    assert counts(status(batch.folder)) == WHOLE
    assert victim.read_bytes() == b""
    assert not ledger.is_symlink()


def test_sums_are_finite_whatever_lines_say(batch: Batch) -> None:
    path = batch.folder / "units.jsonl"
    head, *lines = path.read_text().splitlines()
    units = [{**json.loads(line), "cpu": 1e12 if n else 5e-324} for n, line in enumerate(lines)]
    path.write_text("\n".join([head, *map(json.dumps, units)]))
    json.dumps(status(batch.folder).values(), allow_nan=False)


def test_submissions_that_are_damaged_are_told(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = slurm.slurm_folder(batch.folder)
    folder.mkdir()
    order = slurm.Submission((("a", "e"),), Options(), 1, 2, batch.config.batch)
    whole = slurm._SUBMISSION.dump_json(order)
    path = slurm.submission_file(batch.folder, 7)
    path.write_bytes(whole)
    assert slurm.read_submission(batch.folder, 7) == order
    assert slurm._current(folder) == slurm.Current(number=7)
    (folder / "current.json").write_text('{"job": "12; rm", "number": 7}')
    assert slurm._current(folder) == slurm.Current(number=7)
    (folder / "current.json").write_text('{"job": "12", "number": 6}')
    assert slurm._current(folder) == slurm.Current("12", 6)
    with pytest.raises(DataError, match="has no share 1"):
        job.main(batch.folder, 7, 1)
    for text in (whole[:-1], whole.replace(b'"threads":1', b'"threads":"1"'), whole.replace(b'"a"', b"1"), b""):
        path.write_bytes(text)
        with pytest.raises(DataError, match=r"0007\.json: is damaged.*submit anew"):
            job.main(batch.folder, 7, 0)
