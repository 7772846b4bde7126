"""Lists of candidates of other programs, folded: each says where its frequency holds, and in which frame."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from astropy.time import Time
from reference.command import run

from pulsar.config.load import load_config
from pulsar.confirm.window import of_list
from pulsar.constants import DAY, C
from pulsar.data.header import Header
from pulsar.errors import ConfigError, DataError
from pulsar.followup.folding import fold_files
from pulsar.io.lists import read_list
from pulsar.io.open import open_observation
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.pipeline.ephemerides import Ephemeris, ephemerides_of, ephemerides_of_list
from pulsar.sky.barycentre import motion_of
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank

CONFIG = load_config(None, ["rfi.enabled=false", "rfi.clip=0", "run.threads=1", "fold.nbands=8"])
# Six bins of 1/T of drift: half of that from the start to the middle.
PERIOD, DM, ACCEL, TOBS = 0.0123, 40.0, 5155.0, 65.536
FREQ, FDOT = 1.0 / PERIOD, -ACCEL / C / PERIOD
START = 59000.25
MIDDLE = START + 0.5 * TOBS / DAY


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "a.fil"
    pulsar = Pulsar(period=PERIOD, dm=DM, snr=30.0, duty=0.08, accel=ACCEL)
    place = {"telescope": "Parkes", "ra_deg": 150.0, "dec_deg": -20.0, "tstart": START}
    write_filterbank(
        Sky(nchans=8, foff=-32.0, fch1=1500.0, nsamps=1 << 16, tsamp=1e-3, seed=3, pulsars=[pulsar], **place), path
    )
    return path


@pytest.fixture(scope="module")
def header(observed: Path) -> Header:
    with open_observation(observed) as obs:
        return obs.header


def snr_of(observed: Path, ephemerides: list[Ephemeris], tmp_path: Path) -> float:
    made = fold_files([observed], ephemerides, CONFIG, Target(tmp_path / "f.h5", overwrite=True), fit=False)
    (row,) = made.rows("candidates")
    return float(row["snr"])


def inf(start: float, tobs: float = TOBS, barycentred: int = 0) -> str:
    return (
        " Data file name without suffix          =  a_DM40.00\n"
        f" Epoch of observation (MJD)             =  {start:.15f}\n"
        f" Barycentered?           (1 yes, 0 no)  =  {barycentred}\n"
        f" Number of bins in the time series      =  {round(tobs / 1e-3)}\n"
        " Width of each time series bin (sec)    =  0.001\n"
        " Dispersion measure (cm-3 pc)           =  40\n"
        " Any additional notes:\n    none\n"
    )


def accelsearch(r: float, z: float, series: str, w: float | None = None) -> str:
    """A text as accelsearch leaves it; a jerk search has one column more."""
    jerk, cell = ("", "") if w is None else ("     FFT 'w'   ", f" {w:.2f}(5.0)  ")
    return (
        "             Summed  Coherent  Num        Period          Frequency         FFT 'r'        Freq Deriv    "
        f"   FFT 'z'    {jerk}     Accel                           \n"
        "Cand  Sigma  Power    Power    Harm        (ms)             (Hz)             (bin)           (Hz/s)      "
        "   (bins)         (m/s^2)             Notes        \n"
        f"{'-' * 150}\n"
        f"1     33.05  579.50  2140.00    4       12.3000(1)        81.301(1)      {r:.3f}(18)     -4.2(1)x10^-3     "
        f"{z:.2f}(13)  {cell} -8.6(1.1)x10^2                        \n\n\n"
        "                        Power /          Raw           FFT 'r'          Pred 'r'       FFT 'z'     Pred 'z'\n"
        "Cand   Harm  Sigma      Loc Pow         Power           (bin)             (bin)         (bins)      (bins)\n"
        f"{'-' * 150}\n"
        " 1     1     30.43      467(31)       5.07e+07       10656.273(18)      10656.25      -4.31(13)      -4.00\n"
        "       2     17.94      165(18)       2.77e+07       21312.546(30)      21312.50      -8.62(23)      -8.00\n"
        "\n\n"
    ) + series


def sifted(r: float, z: float) -> str:
    """What ACCEL_sift.py prints, with the DMs of its hits and what the program tells of its way."""
    return (
        "\nReading candidates from 2 files....\n Read 1 of 2 files (1 cands)\n\n"
        f"#{'file:candnum':^66}{'DM':^9}{'SNR':^8}{'sigma':^8}{'numharm':^9}{'ipow':^9}{'cpow':^9}{'P(ms)':^14}"
        f"{'r':^12}{'z':^8}{'numhits':^9}\n"
        f"{'a_DM40.00_ACCEL_20:1':<65}     40.00   30.11   33.05    4        579.5   2140.0     12.300000"
        f"  {r:10.2f}  {z:8.2f}  (2)\n  DM= 40.00 SNR=30.11 Sigma=33.05   ***********\n"
    )


R, Z = FREQ * TOBS, FDOT * TOBS**2
#: Another zero-padded series of the same: its mean frequency is that of a later middle.
LONGER = 1.25 * TOBS
R_LONGER = (FREQ + FDOT * 0.5 * (LONGER - TOBS)) * LONGER
KINDS = {
    "csv": f"name,P0,DM,Accel\nJ1,{PERIOD!r},40,{ACCEL}\n",
    "periods change": f"id,p,pdot,dm\nJ1,{PERIOD!r},{-FDOT * PERIOD**2!r},40\n",
    "at the start": f"id,Frequency,F1,DM,epoch\n1,{FREQ - 0.5 * FDOT * TOBS!r},{FDOT!r},40,{START}\n",
    "ecsv": "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: Period, unit: ms, datatype: float64}\n"
    "# - {name: dm, datatype: float64}\n# - {name: a, unit: km / s2, datatype: float64}\n"
    f"Period dm a\n{1e3 * PERIOD!r} 40.0 {ACCEL / 1e3}\n",
    "accelsearch": accelsearch(R, Z, inf(START)),
    "padded": accelsearch(R_LONGER, FDOT * LONGER**2, inf(START, LONGER)),
    "later": accelsearch((FREQ + FDOT * 10.0) * TOBS, Z, inf(START + 10.0 / DAY)),
    "jerk": accelsearch(R + 24.0 / 24.0, Z, inf(START), w=24.0),
    "sifted": sifted(R, Z),
    "PulsarX": f"#id dm acc F0 F1 F2 S/N\n1 40 0 {FREQ!r} {FDOT!r} 0 30\n",
    "PulsarX, acceleration": f"1\t40\t{ACCEL}\t{FREQ!r}\t0\t30\n",
    "PulsarX, its own": f"#Source_name X\n#Pepoch {START}\n#id dm_old dm_new f0_old f0_new f1_new acc_old acc_new\n"
    f"1 41 40 80 {FREQ - 0.5 * FDOT * TOBS!r} {FDOT!r} 0 {ACCEL}\n",
}


@pytest.fixture(scope="module")
def best(observed: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """The S/N of the pulsar, beside which a frequency of the start, taken for that of the middle, leaves little."""
    folder = tmp_path_factory.mktemp("best")
    snr = snr_of(observed, [Ephemeris(PERIOD, DM, ACCEL)], folder)
    assert snr_of(observed, [Ephemeris(1.0 / (FREQ - 0.5 * FDOT * TOBS), DM, ACCEL)], folder) < 0.6 * snr
    return snr


@pytest.mark.parametrize("kind", KINDS)
def test_a_fold_has_the_snr_of_the_pulsar_whatever_list_it_is_in(
    observed: Path, best: float, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / ("list.ecsv" if kind == "ecsv" else "list.txt")
    path.write_text(KINDS[kind])
    (tmp_path / "a_DM40.00.inf").write_text(inf(START))
    ephemerides = ephemerides_of_list(path)
    # A second derivative of 24 bins, which these data do not have, moves the ends by half a turn: it is left out here.
    ephemerides = [Ephemeris(e.period, e.dm, e.accel, e.epoch, barycentric=e.barycentric) for e in ephemerides]
    assert snr_of(observed, ephemerides, tmp_path) == pytest.approx(best, rel=0.03)


def test_a_list_of_barycentred_series_is_folded_at_the_telescope(
    observed: Path, header: Header, best: float, tmp_path: Path
) -> None:
    motion = motion_of(header)
    assert motion is not None
    freq, fdot = motion.freq(FREQ), motion.fdot(FREQ, FDOT)
    assert motion.topocentric(freq, fdot) == pytest.approx((FREQ, FDOT), rel=1e-12)
    path = tmp_path / "b_DM40.00_ACCEL_20"
    path.write_text(accelsearch(freq * TOBS, fdot * TOBS**2, inf(motion.mjd_tdb - 0.5 * TOBS / DAY, barycentred=1)))
    (given,) = ephemerides_of_list(path)
    assert given.barycentric
    # 0.45 bins of 1/T between the frames.
    assert abs(freq - FREQ) * TOBS > 0.4
    assert given.params(header).freq == pytest.approx(FREQ, abs=0.02 / TOBS)
    assert snr_of(observed, [given], tmp_path) == pytest.approx(best, rel=0.03)
    with pytest.raises(ConfigError, match=r"b_DM40.00_ACCEL_20: line 4: .* --telescope, --ra and --dec"):
        given.params(header.with_(telescope=""))


def test_periods_at_the_telescope_are_folded_in_barycentred_series(observed: Path, best: float, tmp_path: Path) -> None:
    series, product = tmp_path / "bary.dat", tmp_path / "a.h5"
    assert run("dedisperse", observed, "--dm", DM, "--no-rfi", "--bary", "--out", series, "-q")[0] == 0
    args = ("--period", PERIOD, "--dm", DM, "--accel", ACCEL, "--no-refine", "--out", product)
    assert run("fold", observed, *args, "-q")[0] == 0
    path = tmp_path / "a_DM40.00_ACCEL_20"
    path.write_text(accelsearch(R, Z, inf(START)))
    with open_observation(series) as obs:
        header = obs.header
    assert header.barycentric
    for given in (*ephemerides_of_list(path), *ephemerides_of(read(product), read(product).rows("candidates"))):
        assert snr_of(series, [given], tmp_path) == pytest.approx(best, rel=0.03)
        with pytest.raises(ConfigError, match=r"that at the telescope: .* --telescope, --ra and --dec"):
            given.params(header.with_(telescope=""))


def test_what_presto_has_found_at_the_telescope_is_followed_from_there(tmp_path: Path) -> None:
    path = tmp_path / "a_DM40.00_ACCEL_20"
    path.write_text(accelsearch(R, Z, inf(START)))
    (sought,) = of_list(path, MIDDLE + 1.0 / DAY)
    assert not sought.barycentric
    assert sought.freq == pytest.approx(FREQ + FDOT, abs=0.01 / TOBS)
    assert sought.accel == pytest.approx(ACCEL, rel=1e-3)
    # A table has periods at the barycentre there.
    table = tmp_path / "list.csv"
    table.write_text("P,DM\n0.5,3\n")
    assert of_list(table, MIDDLE)[0].barycentric


def test_a_second_derivative_of_a_jerk_search_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x_ACCEL_20_JERK_40"
    path.write_text(accelsearch(R, Z, inf(START), w=24.0))
    (entry,) = read_list(path)
    assert entry.fddot == pytest.approx(24.0 / TOBS**3)
    # The mean of r0 + z0 u + w u^2 / 2 over the data is w/24 above its value in the middle.
    assert entry.freq == pytest.approx((round(R, 3) - 1.0) / TOBS)
    assert entry.epoch == pytest.approx(MIDDLE, abs=1e-9)


def test_our_own_tables_are_lists(observed: Path, tmp_path: Path) -> None:
    product, again = tmp_path / "a.h5", tmp_path / "again.h5"
    assert run("fold", observed, "--period", PERIOD, "--dm", DM, "--accel", ACCEL, "--out", product, "-q")[0] == 0
    row = read(product).candidate("c0001")
    for form in ("csv", "ecsv"):
        code, text, _ = run("candidates", product, "--format", form)
        assert code == 0
        path = tmp_path / f"list.{form}"
        path.write_text(text)
        code, _, err = run("fold", observed, "--candidates", path, "--no-refine", "--out", again, "--overwrite", "-q")
        assert code == 0, err
        made = read(again).candidate("c0001")
        assert made["snr"] == pytest.approx(row["snr"], rel=0.01)
        assert made["period"] == pytest.approx(row["period"], rel=1e-12)


def test_riptide_and_names(tmp_path: Path) -> None:
    path = tmp_path / "candidates.csv"
    path.write_text("period,freq,width,ducy,dm,snr\n0.5,2.0,8,0.03,12.5,11.2\n0.7,1.428571429,8,0.03,30,9.1\n")
    first, second = read_list(path)
    assert (first.ident, first.freq, first.dm, first.fdot) == ("c0001", 2.0, 12.5, 0.0)
    assert [entry.ident for entry in read_list(path, ["c0002"])] == [second.ident]
    with pytest.raises(ConfigError, match="holds no candidate c0009"):
        read_list(path, ["c0009"])


WRONG = [
    ("P,snr\n0.1,3\n", ConfigError, r"expected the columns P \(or F0\) and DM, has P, snr"),
    ("dm,snr\n0.1,3\n", ConfigError, r"expected the columns P \(or F0\) and DM, has dm, snr"),
    ("P0,dm\n0.1,3\n,4\n", ConfigError, r"row 2: expected a period above 0 s .* \(columns P0, dm\)"),
    ("P0,dm\n0.1,3\n0.2,\n", ConfigError, r"row 2: expected a period above 0 s .* \(columns P0, dm\)"),
    ("P0,dm\n0.1,3\n0.2,x7\n", ConfigError, r"row 2: column dm: expected a number, found 'x7'"),
    ("#id dm acc F0 F1 S/N\n1 3 0 2\n", ConfigError, r"line 2: expected 6 or 7 columns \(no orbit\), found 4"),
    ("1 3 0 2 0 9\n2 3 0 2 9\n", ConfigError, r"line 2: expected 6 columns \(id dm acc f0 f1 snr\), found 5"),
    ("1 3 0 2 0 9\n2 3 zero 2 0 9\n", ConfigError, "line 2: column acc: expected a number, found 'zero'"),
    ("#id dm_new f0_new dm_new\n1 3 2 3\n", ConfigError, "several columns have the same name"),
    (accelsearch(R, Z, inf(START)).replace("(13)", "x10^-"), ConfigError, "line 4: column z: expected a number"),
    (accelsearch(R, Z, ""), DataError, r"list.txt.inf is not beside the list: length and start"),
    (accelsearch(R, Z, inf(START)).replace("65536", "many"), ConfigError, "`number of bins`: expected a number"),
    (sifted(R, Z), DataError, r"line 6: a_DM40.00.inf is not beside the list"),
    (sifted(R, Z).replace("(2)", "").replace(f"{Z:8.2f}", ""), ConfigError, "line 6: column z is missing"),
    (accelsearch(0.3, 0.0, inf(START)), ConfigError, "line 4: expected r of 1 bin"),
]


@pytest.mark.parametrize(("text", "error", "words"), WRONG)
def test_what_is_wrong_is_named_with_its_row_and_column(
    tmp_path: Path, text: str, error: type[Exception], words: str
) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(error, match=words) as raised:
        read_list(path)
    assert str(path) in str(raised.value)


def test_times_of_astropy_are_epochs_and_columns_of_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.ecsv"
    table = Table({"P0": [0.1, 0.2], "DM": [3.0, 4.0], "epoch": Time([59000.5, 59001.25], format="mjd")})
    table.write(path)
    assert [entry.epoch for entry in read_list(path)] == [59000.5, 59001.25]
    Table({"P0": [0.1, 0.2], "DM": np.ones((2, 3))}).write(path, overwrite=True)
    with pytest.raises(ConfigError, match="column DM: expected one number in a row"):
        read_list(path)


def test_a_list_on_the_command_line(observed: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "list.csv", tmp_path / "f.h5"
    path.write_text("name,P0,DM\nslow,90.0,3\nPSR A/1,0.0123,40\n")
    code, _, err = run("fold", observed, "--candidates", path, "--out", out)
    assert code == 2
    assert f"{path}: row 1: period 90 s is longer than the data" in err
    code, _, err = run("fold", observed, "--candidates", path, "--id", "PSR A/1", "--out", out)
    assert code == 0, err
    assert read(out).ids == ("PSR-A-1",)
    assert run("fold", observed, "--candidates", path, "--all", "--out", tmp_path / "g.h5")[0] == 2
    binary = tmp_path / "x_ACCEL_0.cand"
    binary.write_bytes(b"\0" * 88)
    code, _, err = run("fold", observed, "--candidates", binary, "--out", tmp_path / "g.h5")
    assert code == 3
    assert "give the text beside it, x_ACCEL_0" in err
