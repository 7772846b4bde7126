"""Lists of units, shares of a machine, locks and the index: all that needs no search."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from batch.conftest import one_file, quick
from hypothesis import given
from hypothesis import strategies as st
from reference.processes import start
from reference.products import write_product
from typer.testing import CliRunner

from pulsar.batch.drive import BatchOutcome, init, retry
from pulsar.batch.local import Options, Room, least_memory, share
from pulsar.batch.records import Record, again, index_file, look, status, write_record
from pulsar.batch.units import Unit, log_file, product, read_batch
from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.data.unfinished import FileLock, Slots, is_held, only_one
from pulsar.errors import ConfigError, DataError
from pulsar.io.open import open_observation
from pulsar.pipeline.checkpoint import Checkpoint

GIB = 1 << 30


def test_one_line_a_unit_and_what_cannot_be_read_is_told(survey, tmp_path, monkeypatch):
    # Rates as they are without any learnt on this machine.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    night = tmp_path / "night"
    night.mkdir()
    for number in (0, 1):
        (night / f"s{number}.fil").symlink_to(survey / f"s{number}.fil")
    (night / "cut.fil").write_bytes((survey / "s2.fil").read_bytes()[:100])
    args = ["batch", "init", str(night), "--out", str(tmp_path / "out"), "--dm", "0", "60"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 3
    assert "cut.fil" in result.stderr
    head, *lines = map(json.loads, (tmp_path / "out" / "units.jsonl").read_text().splitlines())
    assert [Path(p).name for p in head["unreadable"]] == ["cut.fil"]
    assert {line["name"] for line in lines} == {"SRC0_20200531", "SRC1_20200601"}
    assert all(line["nbytes"] == (survey / "s0.fil").stat().st_size for line in lines)
    assert all(line["cpu"] > 0.5 and line["memory"] >= least_memory() for line in lines)
    found = status(tmp_path / "out")
    assert (found.units, found.left, found.done, found.failed) == (2, 2, 0, 0)
    assert json.loads(CliRunner().invoke(app, ["batch", "status", str(tmp_path / "out"), "--json"]).stdout)["left"] == 2


def test_lists_of_files(survey, tmp_path):
    names = tmp_path / "list.txt"
    names.write_text(f"# of May\n{survey / 's0.fil'}\n\n{survey / 's3.fil'}\n")
    batch = init([names], tmp_path / "out", quick())
    assert sorted(Path(u.inputs[0]).name for u in batch.units) == ["s0.fil", "s3.fil"]
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match="names none"):
        init([tmp_path / "empty.txt"], tmp_path / "other", quick())
    # One name that is wrong does not keep the others from being searched.
    (tmp_path / "one.txt").write_text(f"{survey / 's0.fil'}\nnosuch.fil\n")
    some = init([tmp_path / "one.txt"], tmp_path / "some", quick())
    assert [u.name for u in some.units] == ["SRC0_20200531"]
    told = f"nosuch.fil: no such file or folder ({tmp_path / 'one.txt'}, line 2)"
    assert told in some.problems
    assert told in some.unreadable
    (tmp_path / "none.txt").write_text("nosuch.fil\n")
    with pytest.raises(DataError, match="nothing that this list names is there"):
        init([tmp_path / "none.txt"], tmp_path / "other", quick())


def test_a_batch_grows_but_does_not_change(tmp_path):
    night, out = tmp_path / "night", tmp_path / "out"
    one_file(night, 0)
    init([night], out, quick())
    one_file(night, 1)
    assert len(init([night], out, quick()).units) == 2
    # Where it runs is no setting that results depend on.
    elsewhere = load_config(None, ["batch.jobs=7", "run.threads=2"]).batch
    assert init([night], out, quick().model_copy(update={"batch": elsewhere})).config.batch.jobs == 7
    with pytest.raises(ConfigError, match="other settings"):
        init([night], out, load_config(None, ["dedisp.dm_hi=61"]))
    name = next(u.name for u in read_batch(out).units if u.inputs[0].endswith("s0.fil"))
    product(out, name).write_bytes(b"finished")
    with (night / "s0.fil").open("ab") as file:
        file.write(b"\0" * 16)
    with pytest.raises(ConfigError, match="made of other files"):
        init([night], out, quick())


def test_the_time_of_attempts_that_failed_is_told(survey, tmp_path):
    out = tmp_path / "out"
    batch = init([survey], out, quick())
    names = [unit.name for unit in batch.units]
    write_record(out, Record(names[0], "done", cpu=60.0, earlier=240.0, lost=120.0))
    product(out, names[0]).write_bytes(b"finished")
    write_record(out, Record(names[1], "failed", kind="crash", cpu=30.0, lost=30.0))
    found = status(out)
    assert found.core_hours_taken == pytest.approx(330.0 / 3600.0)
    assert found.core_hours_failed == pytest.approx(150.0 / 3600.0)
    # What was stopped is no loss: it was gone on from.
    assert found.core_hours_done == pytest.approx(180.0 / 3600.0)
    shown = CliRunner().invoke(app, ["batch", "status", str(out)]).stdout
    assert "CPU time    5.5 core minutes taken (of these 2.5 core minutes in attempts that failed), about" in shown
    assert retry(out) == [names[1]]
    again = status(out)
    assert (again.failed, again.left) == (0, 5)
    assert (again.core_hours_taken, again.core_hours_failed) == (found.core_hours_taken, found.core_hours_failed)


@pytest.mark.parametrize(("kind", "kept"), [("input", False), ("time", True)])
def test_a_retry_goes_on_from_no_stage_of_files_that_have_changed(kind, kept, survey, tmp_path):
    batch = init([survey / "s0.fil"], tmp_path / "out", quick())
    name = batch.units[0].name
    parts = product(batch.folder, name).with_suffix(".h5.parts")
    Checkpoint(product(batch.folder, name), "mark", resume=False).save("statistics", a=np.zeros(1))
    write_record(batch.folder, Record(name, "failed", kind=kind))
    retry(batch.folder)
    assert parts.exists() is kept


def test_settings_that_are_gone_are_told_and_can_be_given_again(survey, tmp_path):
    out = tmp_path / "out"
    config = load_config(None, ["dedisp.dm_hi=300"])
    (unit,) = init([survey / "s0.fil"], out, config).units
    (out / "config.toml").unlink()
    for args in (["run", str(out), "-q"], ["run", str(out), "-q", "--set", "batch.jobs=2"]):
        result = CliRunner().invoke(app, ["batch", *args])
        assert result.exit_code == 2
        assert f"{out / 'config.toml'}: the settings of this batch are gone" in result.stderr
    assert status(out).left == 1
    # What is done tells of them, and what it tells is kept to.
    write_product(product(out, unit.name))
    with pytest.raises(ConfigError, match="other settings"):
        init([survey / "s0.fil"], out, quick())
    assert init([survey / "s0.fil"], out, config).config == config


@pytest.mark.parametrize("option", ["--memory", "--memory-limit"])
def test_a_size_that_is_none_names_its_option(option, survey, tmp_path):
    init([survey / "s0.fil"], tmp_path / "out", quick())
    result = CliRunner().invoke(app, ["batch", "run", str(tmp_path / "out"), option, "foo"])
    assert result.exit_code == 2
    assert result.stderr == f"pulsar: {option} = 'foo': expected a size such as 4GiB, 512MB or auto\n"


def test_files_of_the_settings_are_found_from_any_folder(survey, tmp_path, monkeypatch):
    (tmp_path / "lines.txt").write_text("50.0 0.1\n")
    monkeypatch.chdir(tmp_path)
    config = load_config(None, ["rfi.zaplist=lines.txt"])
    batch = init([survey / "s0.fil"], tmp_path / "out", config)
    assert batch.config.rfi.zaplist == str(tmp_path / "lines.txt")
    assert batch.config.known.catalogue == ""
    assert len(init([survey / "s0.fil"], tmp_path / "out", config).units) == 1


@pytest.mark.parametrize(
    "text", ["", "{}", "not json\n", '{"format": 1, "units": 2, "problems": [], "unreadable": []}']
)
def test_a_damaged_list_is_told(text, tmp_path):
    (tmp_path / "units.jsonl").write_text(text)
    with pytest.raises(DataError, match="damaged"):
        read_batch(tmp_path)


def test_no_batch_there(tmp_path):
    with pytest.raises(DataError, match="holds no batch"):
        read_batch(tmp_path)


@given(
    cores=st.integers(1, 128),
    memory=st.integers(100 << 20, 512 * GIB),
    threads=st.integers(0, 8),
    sizes=st.lists(st.integers(0, 40 * GIB), min_size=1, max_size=40),
)
def test_a_machine_is_never_given_twice(cores, memory, threads, sizes):
    room = Room(cores, memory, threads)
    waiting = [Unit(f"u{i}", (), 0, 10.0, size, size // 10) for i, size in enumerate(sizes)]
    running = []
    while waiting:
        taken = Room(
            cores - sum(g.threads for g in running), memory - sum(g.memory for g in running), threads
        )  # fmt: skip
        given_ = share(waiting[0], len(waiting), taken, room, Options())
        if given_ is None:
            # Something runs that will give room back.
            running.pop(0)
            continue
        running.append(given_)
        waiting.pop(0)
        assert sum(g.threads for g in running) <= cores
        # One unit alone is tried with the least, however small the machine.
        assert sum(g.memory for g in running) <= max(memory, least_memory())
        assert all(g.memory >= least_memory() for g in running)


def test_cores_are_used_by_few_units_and_by_many():
    room = Room(8, 64 * GIB)
    small = Unit("u", (), 0, 10.0, GIB, GIB // 10)
    assert share(small, 100, room, room, Options()).threads == 1
    assert share(small, 2, room, room, Options()).threads == 4
    assert share(small, 1, room, room, Options()).threads == 8
    # Where memory holds only two, they have four threads each.
    tight = Room(8, 2 * least_memory())
    assert share(small, 100, tight, tight, Options()).threads == 4
    own = share(small, 100, room, room, Options(time_limit=5.0))
    assert own.time_limit == 5.0
    assert own.memory_limit > 1.3 * own.memory


#: Holds a lock until it is killed. A process that tests spawn would import all that they do first.
HOLDING = """
import sys, time
from pathlib import Path
from pulsar.data.unfinished import only_one
with only_one(Path(sys.argv[1]), "batch run"):
    print("held", flush=True)
    time.sleep(300.0)
"""


def test_the_second_is_told_who_is_the_first(tmp_path, monkeypatch):
    # How long it looks again is not asked.
    monkeypatch.setattr("pulsar.data.unfinished.PATIENCE", 0.1)
    other = start([sys.executable, "-c", HOLDING, str(tmp_path / "lock")])
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(ConfigError, match=f"process {other.pid} on .*, batch run since"),
        only_one(tmp_path / "lock", "x"),
    ):
        pass
    other.kill()
    other.wait()
    # Killed, it holds nothing any more.
    with only_one(tmp_path / "lock", "x"):
        assert is_held(tmp_path / "lock")
    assert not is_held(tmp_path / "lock")


def test_slots_bound_readers(tmp_path):
    first, second, third = (Slots(tmp_path / "slots", 2) for _ in range(3))
    with first(), first(), second():
        # A process counts once, however many of its threads read.
        assert [is_held(p) for p in sorted((tmp_path / "slots").iterdir())] == [True, True]
    with third():
        assert sum(is_held(p) for p in (tmp_path / "slots").iterdir()) == 1
    with Slots(tmp_path / "none", 0)():
        assert not (tmp_path / "none").exists()


def test_who_reads_has_a_slot(survey, tmp_path):
    (tmp_path / "slots").mkdir()
    obs = open_observation(survey / "s0.fil")
    obs.gate = Slots(tmp_path / "slots", 1)
    slot = tmp_path / "slots" / "000"
    with FileLock(slot) as lock:
        assert lock.acquire()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(obs.read, 0, 16)
            with pytest.raises(TimeoutError):
                reading.result(timeout=0.3)
            lock.release()
            assert reading.result(timeout=30.0).data.shape == (16, 16)
    assert not is_held(slot)
    obs.close()


def test_the_index_is_made_from_what_units_left(survey, tmp_path):
    batch = init([survey], tmp_path / "out", quick())
    names = [unit.name for unit in batch.units]
    product(batch.folder, names[0]).write_bytes(b"whole")
    write_record(batch.folder, Record(names[1], "failed", "no such thing", "input", 1))
    write_record(batch.folder, Record(names[2], "running"))
    write_record(batch.folder, Record(names[3], "running"))
    write_record(batch.folder, Record(names[4], "done"))  # its product has been removed since
    expected = ["done", "failed", "left", "running", "left", "left"]
    with FileLock(log_file(batch.folder, names[3])) as lock:
        assert lock.acquire()
        for damage in (b"", b"no index at all", None):
            if damage is not None:
                index_file(batch.folder).write_bytes(damage)
            found = look(batch, ours=True)
            assert [found[name].status for name in names] == expected
    assert look(batch, ours=True)[names[3]].status == "left"
    product(batch.folder, names[0]).unlink()
    assert look(batch, ours=True)[names[0]].status == "left"


def test_the_exit_code_says_what_is_wrong():
    record = Record("u", "failed")
    assert BatchOutcome(done=3).exit_code == 0
    assert BatchOutcome(done=3, left=1).exit_code == 1
    assert BatchOutcome(left=3, submitted=True).exit_code == 0
    assert BatchOutcome(done=3, unreadable=1).exit_code == 3
    assert BatchOutcome(failures=[replace(record, kind="crash"), replace(record, kind="input")]).exit_code == 3
    assert BatchOutcome(failures=[replace(record, kind="memory"), replace(record, kind="settings")]).exit_code == 2


def test_what_is_tried_again():
    crash = Record("u", "failed", kind="crash", attempts=2)
    assert again(crash, 2)
    assert not again(crash, 1)
    assert not again(replace(crash, kind="input"), 2)
    assert not again(replace(crash, status="done"), 2)
