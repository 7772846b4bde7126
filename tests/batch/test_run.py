"""A batch on this machine: searched, told, tried again, merged."""

import json
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import pytest
from batch.conftest import candidates, command, left_behind, one_file, quick
from reference.processes import environment, processes, start, wait_until
from typer.testing import CliRunner

from pulsar.batch.drive import Request, init, merged, retry, run_batch
from pulsar.batch.local import Options, run_unit
from pulsar.batch.records import again, read_record, record_file, set_aside, status
from pulsar.batch.units import log_file, product, read_batch
from pulsar.cli.app import app
from pulsar.data.unfinished import FileLock
from pulsar.errors import ConfigError
from pulsar.io.product.reader import read
from pulsar.run import search


@pytest.fixture(autouse=True)
def found_by_units(monkeypatch):
    """The processes of units import what is tested."""
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])


def test_one_bad_file_costs_nothing_else(survey, tmp_path):
    night = tmp_path / "night"
    one_file(night, 1)
    whole = one_file(night, 2)
    batch = init([night], tmp_path / "out", quick())
    whole.unlink()  # gone since
    result = CliRunner().invoke(app, ["batch", "run", str(batch.folder), "-q", "--cores", "1"])
    assert result.exit_code == 3
    assert "1 units done, 1 failed, 0 left" in result.stdout
    assert "s2.fil: no such file" in result.stderr
    found = status(batch.folder)
    assert (found.done, found.failed, found.left) == (1, 1, 0)
    assert found.failures[0].kind == "input"
    assert found.core_hours_done > 0
    assert "no such file" in log_file(batch.folder, found.failures[0].name).read_text()
    # It would fail again: it is not tried, but by request.
    assert CliRunner().invoke(app, ["batch", "run", str(batch.folder), "-q"]).exit_code == 3
    assert read_record(batch.folder, found.failures[0].name).attempts == 1
    shutil.copy2(survey / "s2.fil", whole)
    assert CliRunner().invoke(app, ["batch", "retry", str(batch.folder)]).exit_code == 2
    with pytest.raises(ConfigError, match="no unit of this name"):
        retry(batch.folder, ["SRC1_20200601"])
    assert CliRunner().invoke(app, ["batch", "retry", str(batch.folder), "--failed"]).exit_code == 0
    assert run_batch(batch.folder).exit_code == 0
    found = status(batch.folder)
    assert found.core_hours_taken == pytest.approx(found.core_hours_done + found.core_hours_failed)
    assert found.core_hours_failed > 0.0
    # One list over both, as of products searched one by one.
    run = merged(batch.folder)
    assert [o.source for o in run.observations] == ["SRC1", "SRC2"]
    alone = search([whole], quick(), tmp_path / "alone.h5")
    own = read(batch.folder / "products" / "SRC2_20200602.h5")
    assert own.rows("candidates").tobytes() == alone.rows("candidates").tobytes()
    assert own.provenance["fingerprint"] == alone.provenance["fingerprint"]


def test_a_product_that_was_cut_short_is_made_again(finished, tmp_path):
    batch = read_batch(shutil.copytree(finished, tmp_path / "out"))
    undisturbed = candidates(batch)
    path = batch.folder / "products" / "SRC1_20200601.h5"
    whole = path.read_bytes()
    for size in (0, 30, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:size])
        # A list over the others is made all the same, and says so.
        result = CliRunner().invoke(app, ["batch", "merge", str(batch.folder), "--overwrite"])
        assert result.exit_code == 3
        run = read(batch.folder / "ALL.h5")
        assert [o.source for o in run.observations] == ["SRC2"], size
        assert any(told.startswith("SRC1_20200601: is not in this list") for told in run.problems)
        assert "1 products cannot be read and are passed over: SRC1_20200601" in result.stderr
        # What a run begins with.
        aside = path.with_name("SRC1_20200601.h5.damaged")
        assert set_aside(batch.folder, [unit.name for unit in batch.units]) == [aside]
        assert aside.stat().st_size == size
        assert status(batch.folder).left == 1
    path.write_bytes(whole[:-100])
    result = CliRunner().invoke(app, ["batch", "run", str(batch.folder)])
    assert result.exit_code == 0
    assert "cut short" in result.stderr
    assert candidates(batch) == undisturbed


def test_a_unit_that_was_killed_between_its_product_and_its_record_is_whole(survey, finished, tmp_path):
    batch = init([survey / "s1.fil"], tmp_path / "out", quick())
    (name,) = (unit.name for unit in batch.units)
    for path in (product, record_file, log_file):
        shutil.copy2(path(finished, name), path(batch.folder, name))
    whole = read_record(batch.folder, name)
    assert whole.candidates > 0
    for text in ('{"name": "' + name + '", "status": "running", "attempts": 1, "earlier": 7.0}', "damaged", None):
        parts = product(batch.folder, name).with_name(f"{name}.h5.parts")
        parts.mkdir()
        (parts / "fingerprint").write_text("f")
        (parts / "mask.npz").write_bytes(b"a stage")
        record_file(batch.folder, name).unlink()
        if text is not None:
            record_file(batch.folder, name).write_text(text)
        with FileLock(log_file(batch.folder, name)) as lock:
            # As long as its process lives it is for that to say.
            assert lock.acquire()
            assert status(batch.folder).done == 1
            assert parts.exists()
        for _ in range(2):
            found = status(batch.folder)
            assert (found.done, found.candidates) == (1, whole.candidates)
        assert not left_behind(batch.folder)
        record = read_record(batch.folder, name)
        assert (record.status, record.candidates, record.pulses) == ("done", whole.candidates, whole.pulses)
    # What its product has of it cannot be told, and is asked for once.
    product(batch.folder, name).write_bytes(b"damaged")
    record_file(batch.folder, name).unlink()
    assert (status(batch.folder).done, status(batch.folder).candidates) == (1, 0)


def test_a_file_that_is_another_since_the_list_was_made(tmp_path):
    path = one_file(tmp_path / "night", 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # still being copied
    batch = init([path], tmp_path / "out", quick())
    path.write_bytes(whole)
    outcome = run_batch(batch.folder)
    assert outcome.exit_code == 3
    assert f"{len(whole)} bytes, {len(whole) // 2} when the list of units was made" in outcome.failures[0].reason
    init([path], tmp_path / "out", quick())
    assert retry(batch.folder) == ["SRC1_20200601"]
    assert run_batch(batch.folder).exit_code == 0


def test_staged_inputs_are_the_same_observation(survey, tmp_path):
    batch = init([survey / "s3.fil"], tmp_path / "out", quick())
    stage = tmp_path / "stage"
    stage.mkdir()
    left = stage / f"pulsar-batch-{batch.ident}-killed"
    left.mkdir()
    (left / "copy.fil").write_bytes(b"of a process that was killed")
    with pytest.raises(ConfigError, match="no such folder"):
        run_batch(batch.folder, Request(options=Options(stage_in=str(tmp_path / "nowhere"))))
    request = Request(cores=1, options=Options(stage_in=str(stage), io_slots=1))
    assert run_batch(batch.folder, request).exit_code == 0
    assert not list(stage.iterdir())
    staged = read(batch.folder / "products" / f"{batch.units[0].name}.h5")
    assert str(staged.rows("observation/files")["path"][0]) == str(survey / "s3.fil")
    alone = search([survey / "s3.fil"], quick(), tmp_path / "alone.h5")
    assert staged.rows("candidates").tobytes() == alone.rows("candidates").tobytes()
    assert staged.provenance["fingerprint"] == alone.provenance["fingerprint"]


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        (Request(retries=1, options=Options(time_limit=0.3)), "time", "limit of 0.3 s"),
        (Request(retries=1, options=Options(memory_limit=20 << 20)), "memory", "limit of 20 MiB"),
    ],
)
def test_limits(request_, kind, words, survey, tmp_path):
    batch = init([survey / "s0.fil"], tmp_path / "out", quick())
    outcome = run_batch(batch.folder, request_)
    assert outcome.exit_code == 1
    assert [(f.kind, f.attempts) for f in outcome.failures] == [(kind, 2)]
    assert words in outcome.failures[0].reason
    # What attempts that were ended have taken is known from the system, in ticks of 10 ms, and told.
    assert outcome.failures[0].earlier > 0.0
    found = status(batch.folder)
    assert found.core_hours_taken == found.core_hours_failed > 0.0 == found.core_hours_done
    assert len(json.dumps(asdict(outcome.failures[0]))) < 1024


def test_a_folder_that_cannot_be_written_is_told(survey, tmp_path):
    batch = init([survey / "s0.fil"], tmp_path / "out", quick())
    (batch.folder / "records").rmdir()
    record = run_unit(batch.folder, batch.units[0], Options())
    assert (record.status, record.kind, record.attempts) == ("stopped", "storage", 0)
    assert "records" in record.reason
    assert not again(record, 5)
    (batch.folder / "records").mkdir()
    assert status(batch.folder).left == 1


def test_settings_that_results_depend_on_stay(survey, tmp_path):
    batch = init([survey / "s0.fil"], tmp_path / "out", quick())
    with pytest.raises(ConfigError, match=r"only settings of \[batch\] and \[run\]"):
        run_batch(batch.folder, Request(sets=("dedisp.dm_hi=30",)))
    with pytest.raises(ConfigError, match="no unit is done"):
        merged(batch.folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_told_to_end_it_ends(number, survey, tmp_path, monkeypatch):
    batch = init([survey], tmp_path / "out", quick())
    driver = start(command(batch.folder, "-q"), f"ends-{tmp_path.name}")
    assert wait_until(lambda: any((batch.folder / "records").iterdir()))
    with monkeypatch.context() as patch:
        # How long a second one looks again is not asked.
        patch.setattr("pulsar.data.unfinished.PATIENCE", 0.1)
        second = CliRunner().invoke(app, ["batch", "run", str(batch.folder)])
    assert second.exit_code == 2
    assert f"process {driver.pid} on" in second.stderr
    assert status(batch.folder).holder.startswith(f"process {driver.pid} on")
    driver.send_signal(number)
    _, told = driver.communicate(timeout=20.0)
    assert driver.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], told
    assert not processes(f"ends-{tmp_path.name}")
    found = status(batch.folder)
    assert found.done + found.left == 6
    assert found.failed == 0


def test_a_unit_taken_for_lost_is_waited_for(survey, tmp_path):
    batch = init([survey / "s0.fil"], tmp_path / "out", quick())
    with FileLock(log_file(batch.folder, batch.units[0].name)) as lock:
        assert lock.acquire()
        outcome = run_batch(batch.folder, Request(retries=0, options=Options(time_limit=3.0)))
    assert [f.kind for f in outcome.failures] == ["time"]
    assert run_batch(batch.folder, Request(retries=1)).exit_code == 0
    assert not left_behind(batch.folder)


@pytest.mark.slow
def test_real_observations_one_of_them_cut(shared_data, tmp_path):
    night = tmp_path / "night"
    night.mkdir()
    for name in ("burst/28.fil", "bits/synthetic_2bit.fil", "series/lovell_psr0.dat", "series/lovell_psr0.inf"):
        shutil.copy2(shared_data / name, night)
    (night / "cut.fil").write_bytes((shared_data / "burst/28.fil").read_bytes()[:200])
    (night / "short.fil").write_bytes((shared_data / "bits/parkes_8bit_1.fil").read_bytes()[:100_000])
    out = str(tmp_path / "out")
    begun = CliRunner().invoke(app, ["batch", "init", str(night), "--out", out, "--dm", "0", "600"])
    assert begun.exit_code == 3
    assert "cut.fil" in begun.stderr
    done = CliRunner().invoke(app, ["batch", "run", out, "-q"])
    assert done.exit_code == 3
    assert "3 units done, 1 failed, 0 left" in done.stdout
    assert [Path(f.reason.partition(":")[0]).name for f in status(out).failures] == ["short.fil"]
    listed = CliRunner().invoke(app, ["batch", "merge", out])
    assert listed.exit_code == 0
    run = read(tmp_path / "out" / "ALL.h5")
    assert min(abs(run.rows("candidates")["period"] - 0.2265362)) < 1e-5
    assert min(abs(run.rows("candidates")["period"] - 0.24999)) < 1e-4
    assert min(abs(run.rows("single_pulses")["dm"] - 474.8)) < 4.0
    assert any("cut.fil" in problem for problem in run.problems)
    assert any("short.fil" in problem for problem in run.problems)
