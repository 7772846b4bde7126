"""Times of arrival: errors as they scatter, pulses where they were put, and a pulsar over ten nights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference.command import run
from reference.pint_offline import pint_offline
from reference.products import make_fold, make_header

from pulsar.constants import DAY
from pulsar.data.fold import Fold, FoldParams
from pulsar.data.header import Header
from pulsar.errors import ConfigError, DataError
from pulsar.handover.timing import match, read_template, series_of, template_from, tim_text, toas_of, wideband_of
from pulsar.io.product.reader import read
from pulsar.sky.timing import TimingModel, read_par
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.signal import phase
from pulsar.synthesis.write import write_filterbank

NBINS = 64
WIDTH = 0.03
PAR = """PSR X
RAJ 05:34:31.92
DECJ +22:00:51.84
F0 10.000012345678
F1 -2e-12
PEPOCH 59000
DM 56.7
EPHEM builtin
UNITS TDB
CLK UTC(NIST)
"""


def pulse(late: float, height: float, nbins: int = NBINS) -> np.ndarray:
    """A pulse with its middle at phase 0.4, `late` turns later."""
    at = (np.arange(nbins) + 0.5) / nbins - 0.4 - late
    at -= np.round(at)
    shape = height * np.exp(-0.5 * (at / WIDTH) ** 2)
    return shape - shape.mean()


@pytest.mark.parametrize(("height", "nbins"), [(5.0, 64), (20.0, 64), (8.0, 128)])
def test_errors_are_those_that_shifts_have(height: float, nbins: int) -> None:
    rng = np.random.default_rng(1)
    template = template_from(1e3 * pulse(0.0, 1.0))
    late = rng.uniform(-0.5, 0.5, 400)
    found = np.array([match(pulse(x, height, nbins) + rng.normal(size=nbins), template) for x in late])
    missed = found[:, 0] - late
    pulls = (missed - np.round(missed)) / found[:, 1]
    assert np.std(pulls) == pytest.approx(1.0, abs=0.12)
    assert abs(np.mean(pulls)) < 0.2
    expected = height * np.sqrt(np.sum(pulse(0.0, 1.0, nbins) ** 2))
    assert np.mean(found[:, 2]) == pytest.approx(expected, rel=0.03)


def test_a_template_without_noise_is_found_where_it_is() -> None:
    template = template_from(1e4 * pulse(0.0, 1.0))
    assert template.phase == pytest.approx(0.4, abs=0.5 / NBINS)
    for late in (0.0, 0.013, -0.31, 0.499):
        assert match(pulse(late, 1.0), template)[0] == pytest.approx(late, abs=1e-5)


def test_series_do_not_depend_on_the_bins() -> None:
    np.testing.assert_allclose(series_of(pulse(0.1, 1.0, 64))[:20], series_of(pulse(0.1, 1.0, 128))[:20], atol=1e-9)


def night(model: TimingModel, start: float, rng: np.random.Generator) -> tuple[Fold, Header]:
    """Half an hour of a pulsar, folded with a frequency that is a little off: the fold of a real ephemeris."""
    header = replace(make_header(), tstart=start, nsamps=1_800_000, tsamp=1e-3)
    freq, fdot, fddot = model.topocentric(header)
    params = FoldParams(freq + 2e-6, fdot, 56.7, fddot)
    edges = np.linspace(0.0, header.tobs, 33)
    times = 0.5 * (edges[1:] + edges[:-1]) - 0.5 * header.tobs
    from pulsar.constants import KDM
    from pulsar.sky.barycentre import arrival_times

    late = KDM * model.dm * header.fch1**-2
    mid, _ = arrival_times(header.tmid - late / DAY, np.zeros(1), model.ra_deg, model.dec_deg, header.telescope)
    whole = (mid - model.epoch) * DAY
    turns = whole * (model.spin[0] + 0.5 * model.spin[1] * whole)
    # A pulse where the model is at a whole number; the fold counts from mid-observation.
    shift = -turns - 0.4 + 2e-6 * times
    rows = np.array([pulse(x, 6.0) + rng.normal(size=NBINS) for x in shift])
    profile = rows.sum(axis=0) / np.sqrt(len(rows))
    fold = replace(
        make_fold(1), before=params, after=params, time_phase=rows.astype(np.float32), time_edges=edges,
        profile=profile.astype(np.float32), tobs=header.tobs, epoch=header.tmid,
    )  # fmt: skip
    return fold, header


def test_a_pulsar_over_ten_nights_fits_its_ephemeris(tmp_path: Path) -> None:
    pytest.importorskip("pint", reason="PINT (pint-pulsar) is not installed")
    path = tmp_path / "x.par"
    path.write_text(PAR)
    model = read_par(path)
    rng = np.random.default_rng(7)
    template = template_from(1e4 * pulse(0.0, 1.0))
    lines = ["FORMAT 1"]
    for day in (0, 1, 2, 5, 9, 30, 31, 60, 61, 90):
        fold, header = night(model, 59000.25 + day, rng)
        text = tim_text(toas_of(fold, header, 8, template), header, "X")
        lines += text.splitlines()[1:]
    times = tmp_path / "x.tim"
    times.write_text("\n".join(lines) + "\n")
    with pint_offline("fast"):
        from pint.models import get_model
        from pint.residuals import Residuals
        from pint.toa import get_TOAs

        fitted = get_model(str(path))
        toas = get_TOAs(str(times), model=fitted, include_bipm=False, planets=False, ephem="builtin")
        residuals = Residuals(toas, fitted)
    assert toas.ntoas == 80
    # 79 degrees of freedom: a constant is taken off.
    assert 79 - 3 * np.sqrt(2 * 79) < residuals.chi2 < 79 + 3 * np.sqrt(2 * 79)


def test_pulses_of_a_file_arrive_when_they_were_put_there(tmp_path: Path) -> None:
    pulsar = Pulsar(period=0.1, dm=30.0, snr=120.0, duty=0.06, phase0=0.3)
    sky = Sky(nchans=16, fch1=1500.0, foff=-20.0, tsamp=5e-4, tobs=20.0, tstart=58999.25, seed=2, pulsars=(pulsar,))
    path = tmp_path / "a.fil"
    write_filterbank(sky, path)
    words = ("--period", 0.1, "--dm", 30, "--out", tmp_path / "f.h5", "-q")
    code, _, err = run("fold", path, *words, "--toas", tmp_path / "x.tim", "--ntoas", 4)
    assert code == 0, err
    lines = [line.split() for line in (tmp_path / "x.tim").read_text().splitlines()[1:]]
    assert len(lines) == 4
    header = read(tmp_path / "f.h5").observation
    seconds = np.array([(float(line[2]) - header.tstart) * DAY for line in lines])
    missed = phase(header, pulsar, seconds)
    missed = (missed - np.round(missed)) * 0.1
    errors = np.array([1e-6 * float(line[3]) for line in lines])
    # The middle of the best box is that of the pulse to a quarter of a bin of 128.
    assert abs(missed.mean()) < 0.1 / 128
    assert np.all(np.abs(missed - missed.mean()) < 4 * errors)
    assert [line[4] for line in lines] == ["k"] * 4
    assert 1e-5 < errors.max() < 1e-3
    # The same by its profile as a template, and as a list of the product.
    run("export", tmp_path / "f.h5", "--id", "c0001", "--csv", "--tim", "-q")
    template = ("--template", tmp_path / "f_c0001.csv")
    code, _, err = run("fold", path, *words, "--overwrite", "--toas", tmp_path / "y.tim", *template)
    assert code == 0, err
    other = [line.split() for line in (tmp_path / "y.tim").read_text().splitlines()[1:]]
    given = [line.split() for line in (tmp_path / "f_c0001.tim").read_text().splitlines()[1:]]
    assert len(other) == len(given) == 8
    apart = [(float(a[2]) - float(b[2])) * DAY for a, b in zip(other, given, strict=True)]
    assert np.ptp(apart) < 2 * errors.max()
    # Or one time with the DM.
    code, _, err = run("fold", path, *words, "--overwrite", "--toas", tmp_path / "z.tim", *template, "--wideband")
    assert code == 0, err
    (line,) = (tmp_path / "z.tim").read_text().splitlines()[1:]
    flags = dict(zip(line.split()[5::2], map(float, line.split()[6::2]), strict=True))
    assert abs(flags["-pp_dm"] - 30.0) < 5 * flags["-pp_dme"]
    assert 1200.0 < float(line.split()[1]) < 1500.0


def test_a_wideband_time_goes_into_a_file(tmp_path: Path) -> None:
    code, out, err = run("fold", tmp_path / "a.fil", "--period", 1, "--dm", 3, "--out", tmp_path / "f.h5", "--wideband")
    assert (code, out) == (2, "")
    assert "--wideband: goes with --toas" in err


def test_where_no_dm_will_be_measured_wideband_times_are_refused_before_anything_is_folded(tmp_path: Path) -> None:
    words = ("--period", 1, "--dm", 3, "--out", tmp_path / "f.h5", "--toas", tmp_path / "x.tim", "--wideband")
    code, _, err = run("fold", tmp_path / "none.fil", *words, "--no-refine")
    assert (code, "it does not go with --no-refine" in err) == (2, True)
    write_filterbank(Sky(nchans=1, fch1=1500.0, foff=-20.0, tsamp=1e-3, tobs=4.0), tmp_path / "a.fil")
    code, _, err = run("fold", tmp_path / "a.fil", *words)
    assert (code, "a.fil: --wideband tells a DM, which one band does not measure" in err) == (2, True)
    assert not (tmp_path / "f.h5").exists()


def test_noise_gives_no_times() -> None:
    fold = make_fold(1)
    rng = np.random.default_rng(4)
    noise = rng.normal(size=fold.time_phase.shape).astype(np.float32)
    assert toas_of(replace(fold, time_phase=noise), make_header(), 8) == []


@pytest.mark.parametrize(
    "text", ["phase,intensity\n0,1\n", "phase,intensity\n" + "0,1\n" * 20, "a\nb,c\n" * 9, "a\n" + ",\n" * 9]
)
def test_what_is_no_template_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"t\.csv: expected"):
        read_template(path)


def test_without_a_time_there_are_none() -> None:
    with pytest.raises(ConfigError, match="time of the observation"):
        toas_of(replace(make_fold(1), epoch=float("nan")), make_header())


def test_a_wideband_time_is_told_where_it_does_not_depend_on_the_dm() -> None:
    fold, header = make_fold(1), make_header()
    profile = pulse(0.0, 20.0).astype(np.float32)
    heights = np.array([1.0, 1.0, 4.0, 8.0])
    bands = (heights[:, None] * profile).astype(np.float32)
    freqs = np.array([1500.0, 1400.0, 1300.0, 1200.0])
    fold = replace(fold, profile=profile, freq_phase=bands, band_freqs=freqs)
    toa = toas_of(fold, header, 1)[0]
    moved = wideband_of(toa, fold, header)
    weights = heights**2
    assert moved.freq**-2 == pytest.approx(weights @ freqs**-2 / weights.sum(), rel=1e-3)
    # The same pulse at another frequency.
    late = float(moved.mjd - toa.mjd) * DAY
    assert late == pytest.approx(fold.after.dm / 2.41e-4 * (moved.freq**-2 - header.fch1**-2), rel=1e-6)
    assert (moved.error, moved.snr) == (toa.error, toa.snr)


def test_a_dm_that_noise_has_moved_leaves_the_time_of_its_bands() -> None:
    """Time and DM of a straight line through delays of bands, whose errors are independent where we tell the time."""
    rng = np.random.default_rng(3)
    heights, freqs = np.array([2.0, 3.0, 5.0, 9.0]), np.array([1500.0, 1400.0, 1300.0, 1200.0])
    fold = replace(make_fold(1), freq_phase=(heights[:, None] * pulse(0.0, 9.0)).astype(np.float32), band_freqs=freqs)
    fold = replace(fold, profile=pulse(0.0, 20.0).astype(np.float32))
    toa = toas_of(fold, make_header(), 1)[0]
    at = wideband_of(toa, fold, make_header()).freq ** -2
    x = freqs**-2
    delays = rng.normal(size=(4000, 4)) / heights
    w = heights**2
    mean = (w @ x) / w.sum()
    slope = delays @ (w * (x - mean)) / (w @ (x - mean) ** 2)
    # The profile is the plain sum of bands that were aligned by that slope: so is its delay, by heights.
    aligned = delays - slope[:, None] * (x - at)
    late = aligned @ heights / heights.sum()
    assert abs(np.corrcoef(late, slope)[0, 1]) < 4 / np.sqrt(4000)


@pytest.mark.parametrize("changes", [{"dm_err": float("nan")}, {"freq_phase": np.zeros((8, 64), np.float32)}])
def test_without_a_measured_dm_there_is_no_wideband_time(changes: dict[str, object]) -> None:
    fold = make_fold(1)
    toa = toas_of(fold, make_header(), 1)[0]
    with pytest.raises(ConfigError, match="has measured no DM"):
        wideband_of(toa, replace(fold, **changes), make_header())


def test_pint_reads_times_and_dms_together(tmp_path: Path) -> None:
    pytest.importorskip("pint", reason="PINT (pint-pulsar) is not installed")
    pulsar = Pulsar(period=0.1, dm=30.0, snr=120.0, duty=0.06, phase0=0.3)
    sky = {"nchans": 16, "fch1": 1500.0, "foff": -20.0, "tsamp": 5e-4, "tobs": 20.0, "telescope": "FAST"}
    path = tmp_path / "a.fil"
    write_filterbank(Sky(**sky, tstart=58999.25, seed=2, pulsars=(pulsar,)), path)
    place = ("--set", "input.ra_deg=83.633", "--set", "input.dec_deg=22.0144")
    code, _, err = run("fold", path, "--period", 0.1, "--dm", 30, "--out", tmp_path / "f.h5", "-q", *place)
    assert code == 0, err
    code, out, err = run("export", tmp_path / "f.h5", "--id", "c0001", "--par", "--tim", "--wideband", "-q")
    assert code == 0, err
    par, tim = out.splitlines()
    with pint_offline("fast"):
        from pint.models import get_model
        from pint.residuals import WidebandTOAResiduals
        from pint.toa import get_TOAs

        model = get_model(par)
        toas = get_TOAs(tim, model=model, include_bipm=False, planets=False, ephem="builtin")
        assert toas.is_wideband()
        residuals = WidebandTOAResiduals(toas, model)
        (late,) = residuals.dm.resids.to_value("pc / cm3")
        (error,) = residuals.dm.get_data_error().to_value("pc / cm3")
        phase = model.phase(toas).frac.value[0]
    fold = read(tmp_path / "f.h5").fold("c0001")
    assert toas.ntoas == 1
    assert error == pytest.approx(fold.dm_err, rel=1e-3)
    # What was told of the DM as an ephemeris and as a flag is the same, and so is the time, at another frequency.
    assert abs(late) < 1e-6
    assert abs(phase - round(phase)) < 0.02
