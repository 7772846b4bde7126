"""Signals to be injected: those that are drawn, and tables of them, whose faults are told with row and reason."""

import numpy as np
import pytest

from pulsar.errors import ConfigError, DataError
from pulsar.synthesis.model import Sky
from pulsar.synthesis.population import DUTY, MOST_TOLD, Ranges, draw_burst, draw_pulsar, duty_of, read_asked


def written(folder, text, name="table.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_what_a_table_leaves_out_is_left_to_be_drawn(tmp_path):
    path = written(
        tmp_path, "# mine\nkind, period, dm, snr, width, accel\n\npulsar, 0.1, 20,, 0.004, -3\nburst,,0,12,,\n"
    )
    pulsar, burst = read_asked(path)
    assert (pulsar.kind, pulsar.period, pulsar.dm, pulsar.snr, pulsar.width, pulsar.accel) == (
        "pulsar", 0.1, 20.0, None, 0.004, -3.0,
    )  # fmt: skip
    assert pulsar.duty is None
    assert pulsar.flux is None
    assert pulsar.where == f"{path}: line 4"
    assert (burst.kind, burst.period, burst.dm, burst.snr, burst.width) == ("burst", None, 0.0, 12.0, None)


def test_rows_without_a_kind_are_pulsars(tmp_path):
    (one,) = read_asked(written(tmp_path, "Period\n0.5\n"))
    assert (one.kind, one.period) == ("pulsar", 0.5)


def test_units_of_an_ecsv_are_converted(tmp_path):
    from astropy.table import QTable

    table = QTable({"period": [33.0], "flux": [0.002], "dm": [56.7]}, units={"period": "ms", "flux": "Jy"})
    table.write(tmp_path / "table.ecsv")
    (one,) = read_asked(tmp_path / "table.ecsv")
    assert one.period == pytest.approx(0.033)
    assert one.flux == pytest.approx(2.0)
    assert one.dm == pytest.approx(56.7)
    assert one.where.endswith("row 1")


def test_a_wrong_unit_of_an_ecsv_is_told(tmp_path):
    from astropy.table import QTable

    QTable({"period": [33.0]}, units={"period": "Hz"}).write(tmp_path / "table.ecsv")
    with pytest.raises(ConfigError, match="column period has the unit Hz, expected s"):
        read_asked(tmp_path / "table.ecsv")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("period,dmm\n1,2\n", "column 'dmm' is not known, did you mean dm.; expected some of kind, period, dm"),
        ("period,period\n1,2\n", "column 'period' is there twice"),
        ("period,dm\n1\n", "line 2: 1 cells, expected 2"),
        ("period\n", "holds no signals"),
        ("", "holds no signals"),
        ("kind\npulsr\n", "line 2: kind 'pulsr': expected pulsar or burst"),
        ("period\n-1\n", r"line 2: period = -1: expected more than 0 \[s\]"),
        ("period\ninf\n", "line 2: period = inf: expected more than 0"),
        ("dm\n2x\n", "line 2: dm = 2x: expected 0 or more"),
        ("duty\n1.5\n", "line 2: duty = 1.5: expected more than 0 and below 1"),
        ("accel\nfast\n", "line 2: accel = fast: expected a number"),
        ("kind,period\nburst,1\n", "line 2: period = 1: a burst has none; leave it empty"),
        ("snr,flux\n10,1\n", "line 2: snr and flux are given"),
        ("width,duty\n1,0.1\n", "line 2: width and duty are given"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_line(tmp_path, text, told):
    with pytest.raises(ConfigError, match=told):
        read_asked(written(tmp_path, text))


def test_all_faults_are_told_at_once_but_not_too_many(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_asked(written(tmp_path, "period\n" + "-1\n" * (MOST_TOLD + 5)))
    lines = str(caught.value).splitlines()
    assert len(lines) == MOST_TOLD + 1
    assert lines[-1] == "… and 5 rows more"


def test_a_table_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="a table of signals"):
        read_asked(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read as ECSV"):
        read_asked(written(tmp_path, "# %ECSV 1.0\n# ---\n# datatype: {\n", "broken.ecsv"))


HEADER = Sky(nchans=64, fch1=1500.0, foff=-4.0, tsamp=256e-6, tobs=30.0).header
RANGES = Ranges(periods=(2e-3, 5.0), dms=(0.0, 200.0), snrs=(6.0, 20.0), accel=10.0, drift=50.0)


def test_pulsars_are_drawn_evenly_in_the_logarithm_of_the_period():
    rng = np.random.default_rng(1)
    drawn = [draw_pulsar(rng, HEADER, RANGES, 20.0, (k % 4, 4)) for k in range(400)]
    kept = [one for one in drawn if one is not None]
    parts = np.histogram(np.log([one.period for one in kept]), np.linspace(np.log(2e-3), np.log(5.0), 5))[0]
    # What is smeared by more than 0.3 turns is left out: the fastest.
    assert parts[1:].tolist() == [100, 100, 100]
    assert 50 < parts[0] <= 100
    assert all(6.0 <= one.snr <= 20.0 for one in kept)
    assert all(abs(one.accel) <= min(10.0, 50.0 * 299_792_458.0 * one.period / 900.0) for one in kept)
    duties = np.array([one.duty for one in kept])
    assert np.median(np.log(duties / [duty_of(one.period) for one in kept])) == pytest.approx(0.0, abs=0.1)
    assert duties.min() >= DUTY[0]
    assert duties.max() <= DUTY[1]


def test_the_law_of_widths():
    assert duty_of(1.0) == pytest.approx(4.9 / 360.0)
    assert duty_of(0.01) == pytest.approx(4.9 / 360.0 * 10**0.6)


def test_bursts_are_whole_within_the_observation():
    rng = np.random.default_rng(2)
    drawn = [draw_burst(rng, HEADER, RANGES, 200.0) for _ in range(200)]
    kept = [one for one in drawn if one is not None]
    assert len(kept) == 200
    delay = float(HEADER.delays(200.0)[-1])
    assert all(one.time > one.width for one in kept)
    assert all(one.time + delay + one.width < HEADER.tobs for one in kept)
    assert draw_burst(rng, HEADER, RANGES, 1e5) is None
