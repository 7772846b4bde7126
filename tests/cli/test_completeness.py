"""`pulsar completeness`: from files to recall, limits on flux densities and one product of all."""

import numpy as np
import pytest
from typer.testing import CliRunner

from pulsar.cli.app import app
from pulsar.config.load import load_config
from pulsar.io.product.reader import read
from pulsar.pipeline.run import search
from pulsar.synthesis import Sky, write_filterbank

#: Narrow and short: one place is searched within a second.
SKY = {"nchans": 16, "fch1": 1484.0, "foff": -32.0, "tsamp": 1024e-6, "nsamps": 8_000, "telescope": "FAST"}
FAST_ENOUGH = ["--dm", "0", "40", "--threads", "1", "-q", "--no-ffa"]


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["completeness", *map(str, args)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two observations of one source, a day apart."""
    folder = tmp_path_factory.mktemp("sky")
    return [
        write_filterbank(
            Sky(**SKY, source="J0000+00", tstart=59000.0 + i, seed=21 + i), folder / f"{name}.fil", threads=1
        )
        for i, name in enumerate("ab")
    ]


@pytest.fixture(scope="module")
def both(files, tmp_path_factory):
    """The product of both, and what was printed."""
    out = tmp_path_factory.mktemp("both") / "C.h5"
    code, text, told = run(*files, "--out", out, "--signals", "32", *FAST_ENOUGH)
    assert (code, told) == (0, "")
    return out, text


def test_several_observations_are_told_apart_and_together(both):
    out, text = both
    product = read(out)
    rows = product.rows("completeness/injected")
    counts = np.bincount(rows["obs"])
    assert len(counts) == 2
    assert counts.min() > 8
    assert len(product.observations) == 2
    # Each has signals of its own.
    assert len(set(rows["snr"].tolist())) == len(rows)
    for obs in (0, 1):
        with_one = read(product.rows("observations")["product"][obs]).rows("completeness/injected")
        np.testing.assert_array_equal(with_one["snr"], rows["snr"][rows["obs"] == obs])
        np.testing.assert_array_equal(with_one["found"], rows["found"][rows["obs"] == obs])
    pulsars = rows[rows["kind"] == "pulsar"]
    assert f"{int(pulsars['found'].sum())} of {len(pulsars)} injected pulsars are found" in text
    assert product.recall()["tried"].sum() == len(pulsars)


def test_what_is_done_is_kept_by_resume_and_refused_without(both, files, capsys):
    out, text = both
    before = {path.name: path.stat().st_mtime_ns for path in out.with_suffix(".runs").iterdir()}
    again = run(*files, "--out", out, "--signals", "32", *FAST_ENOUGH, "--resume")
    assert again[:2] == (0, text)
    assert {path.name: path.stat().st_mtime_ns for path in out.with_suffix(".runs").iterdir()} == before
    code, _, told = run(*files, "--out", out, "--signals", "32", *FAST_ENOUGH)
    assert code == 2
    assert "exists already" in told


def test_one_observation_is_what_a_search_with_completeness_tells(files, tmp_path):
    code, _, told = run(files[0], "--out", tmp_path / "C.h5", "--signals", "16", *FAST_ENOUGH)
    assert code == 0, told
    sets = ["dedisp.dm_lo=0", "dedisp.dm_hi=40", "run.threads=1", "ffa.enabled=false"]
    sets += ["completeness.enabled=true", "completeness.places=2"]
    plain = search(files[0], load_config(None, sets), tmp_path / "run.h5")
    for table in ("injected", "rows", "limits"):
        one, two = plain.rows(f"completeness/{table}"), read(tmp_path / "C.h5").rows(f"completeness/{table}")
        assert len(one) > 4
        for name in one.dtype.names:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)
