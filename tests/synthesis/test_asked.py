"""Tables of signals to be injected: what is read, and what is refused with its row and what was expected."""

import pytest

from pulsar.errors import ConfigError, DataError
from pulsar.synthesis.asked import MOST_TOLD, read_asked


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
