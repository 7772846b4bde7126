"""Nights of files: folded, connected, and fitted by PINT."""

from pathlib import Path

import numpy as np
import pytest
from reference.command import run
from reference.pint_offline import pint_offline

from pulsar.constants import DAY, KDM
from pulsar.io.product.reader import read
from pulsar.sky.barycentre import arrival_times
from pulsar.sky.timing import TimingModel, read_par
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank

PAR = """PSR X
RAJ 05:34:31.92
DECJ +22:00:51.84
F0 10.000012345678
F1 -2e-12
PEPOCH 59000
DM 56.7
UNITS TDB
"""


def observe(model: TimingModel, start: float, path: Path, seed: int, snr: float = 160.0) -> float:
    """Write forty seconds of a pulsar; its topocentric period at mid-observation."""
    sky = Sky(
        nchans=16, fch1=1500.0, foff=-20.0, tsamp=5e-4, tobs=40.0, tstart=start, seed=seed, ra_deg=model.ra_deg,
        dec_deg=model.dec_deg,
    )  # fmt: skip
    header = sky.header
    freq, fdot, _ = model.topocentric(header)
    late = KDM * model.dm * header.fch1**-2
    middle, _ = arrival_times(header.tmid - late / DAY, np.zeros(1), model.ra_deg, model.dec_deg, header.telescope)
    seconds = (middle - model.epoch) * DAY
    turns = seconds * (model.spin[0] + 0.5 * model.spin[1] * seconds)
    pulsar = Pulsar(
        period=1.0 / freq, pdot=-fdot / freq**2, dm=model.dm, snr=snr, duty=0.06, phase0=turns - np.floor(turns)
    )
    write_filterbank(sky.model_copy(update={"pulsars": (pulsar,)}), path)
    return 1.0 / freq


def fold(model: TimingModel, days: tuple[float, ...], folder: Path, snr: float = 160.0) -> list[Path]:
    """Fold nights, each by a period that is off by less than its error."""
    products = []
    for seed, day in enumerate(days):
        period = observe(model, 59000.25 + day, folder / f"{seed}.fil", seed, snr)
        product = folder / f"{seed}.h5"
        words = ("--period", repr(period * (1 + 1e-7)), "--dm", 56.7, "--out", product, "-q")
        code, _, err = run("fold", folder / f"{seed}.fil", *words)
        assert code == 0, err
        products.append(product)
    return products


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[TimingModel, list[Path]]:
    """Three folds of half a day."""
    folder = tmp_path_factory.mktemp("nights")
    (folder / "true.par").write_text(PAR)
    model = read_par(folder / "true.par")
    return model, fold(model, (0.0, 0.06, 0.4), folder)


def missed(path: Path, model: TimingModel) -> tuple[float, float]:
    """By how many errors F0 and F1 of a file depart from a model."""
    found = read_par(path)
    lines = {line.split()[0]: line.split() for line in path.read_text().splitlines() if not line.startswith("#")}
    seconds = (found.epoch - model.epoch) * DAY
    freq = model.spin[0] + model.spin[1] * seconds
    return (found.spin[0] - freq) / float(lines["F0"][3]), (found.spin[1] - model.spin[1]) / float(lines["F1"][3])


def turns_between(tim: Path, model: TimingModel) -> list[int]:
    """Turns by a model from the first time of one night to that of the next, of three nights of eight times."""
    mjds = [float(line.split()[2]) for line in tim.read_text().splitlines()[1:]][::8]
    seconds = (np.array(mjds) - 59000.0) * DAY
    first, after = arrival_times(59000.0, seconds, model.ra_deg, model.dec_deg, "FAST")
    return np.rint(np.diff(model.rotation(first, after))).astype(int).tolist()


def test_nights_become_an_ephemeris_that_pint_fits(nights: tuple[TimingModel, list[Path]], tmp_path: Path) -> None:
    model, products = nights
    par, tim = tmp_path / "x.par", tmp_path / "x.tim"
    code, text, err = run("connect", *reversed(products), "--out", par, "--tim", tim)
    assert code == 0, err
    assert "every turn is counted" in err
    rows = [line.split() for line in text.splitlines()]
    assert rows[0][:3] == ["MJD", "TOAs", "turns"]
    assert [int(row[2]) for row in rows[2:4]] == turns_between(tim, model)
    assert np.max(np.abs(missed(par, model))) < 4.0
    with pint_offline("fast"):
        from pint.fitter import WLSFitter
        from pint.models import get_model
        from pint.residuals import Residuals
        from pint.toa import get_TOAs

        fitted = get_model(str(par))
        assert fitted.free_params == ["F0", "F1"]
        toas = get_TOAs(str(tim), model=fitted, include_bipm=False, planets=False, ephem="builtin")
        before = Residuals(toas, fitted).chi2
        fitter = WLSFitter(toas, fitted)
        fitter.fit_toas()
    assert toas.ntoas == 24
    assert before == pytest.approx(fitter.resids.chi2, rel=0.01)
    assert 21 - 3 * np.sqrt(42) < fitter.resids.chi2 < 21 + 3 * np.sqrt(42)
    for key, order in (("F0", 0), ("F1", 1)):
        own = float(next(line for line in par.read_text().splitlines() if line.startswith(key)).split()[3])
        assert getattr(fitter.model, key).uncertainty_value == pytest.approx(own, rel=0.05), order


def test_times_of_arrival_of_a_file_give_the_same(nights: tuple[TimingModel, list[Path]], tmp_path: Path) -> None:
    products = nights[1]
    par, tim = tmp_path / "x.par", tmp_path / "x.tim"
    assert run("connect", *products, "--out", par, "--tim", tim)[0] == 0
    (tmp_path / "start.par").write_text(PAR.replace("678", "6"))
    code, text, err = run("connect", tim, "--par", tmp_path / "start.par", "--out", tmp_path / "y.par")
    assert code == 0, err
    first, second = read_par(par), read_par(tmp_path / "y.par")
    assert second.spin[0] == pytest.approx(first.spin[0], abs=1e-9)
    assert second.name == "X"
    assert "position: that given, kept" in text
    code, _, err = run("connect", tim, "--out", tmp_path / "z.par")
    assert code == 2
    assert "needs --par" in err


def test_an_ephemeris_folds_another_night(nights: tuple[TimingModel, list[Path]], tmp_path: Path) -> None:
    model, products = nights
    par = tmp_path / "x.par"
    assert run("connect", *products, "--out", par)[0] == 0
    observe(model, 59000.25 + 0.55, tmp_path / "n.fil", 9)
    code, _, err = run("fold", tmp_path / "n.fil", "--par", par, "--out", tmp_path / "n.h5", "--no-refine", "-q")
    assert code == 0, err
    assert read(tmp_path / "n.h5").fold("c0001").snr > 120.0
    code, _, err = run("connect", *products, tmp_path / "n.h5", "--out", tmp_path / "y.par", "--par", par)
    assert code == 0, err


def test_of_several_candidates_the_one_of_all_nights_counts(
    nights: tuple[TimingModel, list[Path]], tmp_path: Path
) -> None:
    model, products = nights
    (tmp_path / "a.par").write_text(PAR)
    (tmp_path / "b.par").write_text(PAR.replace("10.0000", "7.3000").replace("PSR X", "PSR Y"))
    several = []
    for k, path in enumerate(products):
        file, out = path.with_suffix(".fil"), tmp_path / f"{k}.h5"
        pars = ("--par", tmp_path / "b.par", "--par", tmp_path / "a.par")
        code, _, err = run("fold", file, *pars, "--out", out, "-q")
        assert code == 0, err
        several.append(out)
    code, _, err = run("connect", *several[:2], products[2], "--out", tmp_path / "x.par")
    assert code == 0, err
    assert np.max(np.abs(missed(tmp_path / "x.par", model))) < 4.0
    code, _, err = run("connect", *several, "--id", "c0001", "--id", "c0002", "--out", tmp_path / "y.par")
    assert code == 2
    assert "2 --id for 3 products" in err


def test_two_nights_are_too_few(nights: tuple[TimingModel, list[Path]], tmp_path: Path) -> None:
    code, _, err = run("connect", *nights[1][:2], "--out", tmp_path / "x.par")
    assert code == 2
    assert "2 nights with times of arrival: from three" in err
    assert not (tmp_path / "x.par").exists()


def test_nights_too_far_apart_are_unsure(nights: tuple[TimingModel, list[Path]], tmp_path: Path) -> None:
    model, products = nights
    far = fold(model, (40.0,), tmp_path)
    par = tmp_path / "x.par"
    code, text, err = run("connect", *products, *far, "--out", par)
    assert code == 0, err
    assert "UNSURE: not unique" in text
    assert "UNSURE" in err
    assert any(line.startswith("# UNSURE") for line in par.read_text().splitlines())
    assert [line.split()[6] for line in text.splitlines()[1:5]] == ["1", "1", "1", "2"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("x 1400 59000.1 10", "line 3: expected name"),
        ("x 0.001 59000.3 10 k", "line 3: expected name"),
        ("x 1400 nan 10 k", "line 3: expected name"),
        ("x -1 59000.1 10 k", "line 3: expected name"),
        ("JUMP", "line 3: expected name"),
        ("x 1400 59000.1 10 nowhere", "line 3: the telescope 'nowhere'"),
        ("x 1400 59000.5 10 k", "no two times are within an hour"),
    ],
)
def test_lines_that_are_no_times_are_told(line: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "x.par").write_text(PAR)
    (tmp_path / "x.tim").write_text(f"FORMAT 1\nx 1400 59000.2 10 k -f a\n{line}\n")
    code, _, err = run("connect", tmp_path / "x.tim", "--par", tmp_path / "x.par", "--out", tmp_path / "y.par")
    assert code == 3
    assert told in err


def write_times(path: Path, model: TimingModel, days: tuple[float, ...], error: float) -> None:
    """Four times of arrival a night at 1400 MHz, as PINT's own conventions have them: of delay and Doppler shift."""
    rng, lines = np.random.default_rng(3), ["FORMAT 1"]
    for day in days:
        start, at = 59000.0 + np.floor(day), (day % 1.0) * DAY + 400.0 * np.arange(4)
        for _ in range(5):
            around = np.concatenate([at, at + 1.0])
            first, after = arrival_times(start, around, model.ra_deg, model.dec_deg, "FAST")
            rate = after[4:] - after[:4]
            seconds = (first - model.epoch) * DAY + after[:4] - KDM * model.dm * (1400.0 / rate) ** -2
            turns = seconds * (model.spin[0] + 0.5 * model.spin[1] * seconds)
            at = at - (turns - np.rint(turns)) / model.spin[0]
        at = at + error * rng.normal(size=4)
        lines += [f"x 1400.0 {int(start)}.{f'{x / DAY:.15f}'[2:]} {1e6 * error:.3f} k" for x in at]
    path.write_text("\n".join(lines) + "\n")


def test_over_months_the_position_is_fitted_where_times_ask_for_it(tmp_path: Path) -> None:
    (tmp_path / "true.par").write_text(PAR)
    model = read_par(tmp_path / "true.par")
    write_times(tmp_path / "x.tim", model, (0.1, 0.2, 0.6, 1.5, 4.1, 10.2, 25.3, 50.1, 80.2, 120.4, 170.1, 230.2), 2e-4)
    # 41" to the east, 50" to the south.
    (tmp_path / "off.par").write_text(PAR.replace("05:34:31.92", "05:34:34.92").replace("+22:00:51.84", "+22:00:01.84"))
    par = tmp_path / "x.par"
    words = ("connect", tmp_path / "x.tim", "--par", tmp_path / "off.par", "--overwrite", "--out", par)
    code, text, err = run(*words, "--position-err", 60)
    assert code == 0, err
    assert "every turn is counted" in err
    assert "position: fitted" in text
    found = read_par(par)
    lines = {line.split()[0]: line.split() for line in par.read_text().splitlines() if not line.startswith("#")}
    errors = 15.0 * float(lines["RAJ"][3]), float(lines["DECJ"][3])
    assert max(errors) < 5.0
    assert abs(found.ra_deg - model.ra_deg) * 3600 < 4.0 * errors[0]
    assert abs(found.dec_deg - model.dec_deg) * 3600 < 4.0 * errors[1]
    assert np.max(np.abs(missed(par, model))) < 4.0
    assert lines["POSEPOCH"][1] == lines["PEPOCH"][1]
    assert 0.5 < float(lines["CHI2R"][1]) < 1.6
    # Where the position is right it stays.
    code, text, err = run(*words[:3], tmp_path / "true.par", *words[4:], "--position-err", 5)
    assert code == 0, err
    assert "position: that given, kept" in text
    assert read_par(par).ra_deg == pytest.approx(model.ra_deg, abs=1e-9)


def test_counts_that_another_position_allows_are_listed_with_it(tmp_path: Path) -> None:
    (tmp_path / "x.par").write_text(PAR)
    write_times(tmp_path / "x.tim", read_par(tmp_path / "x.par"), (0.1, 0.2, 0.6, 1.5, 4.1, 15.2, 40.3, 100.1), 2e-4)
    words = ("connect", tmp_path / "x.tim", "--par", tmp_path / "x.par", "--overwrite", "--out", tmp_path / "y.par")
    code, text, err = run(*words, "--position-err", 75)
    assert code == 0, err
    assert "UNSURE" in text
    assert "the best alone fits if the position given is exact" in text
    heading = next(line for line in text.splitlines() if "east arcsec" in line)
    first, *others = text.splitlines()[text.splitlines().index(heading) + 1 :]
    assert abs(float(first.split()[3])) < 20
    assert others
    assert all(abs(float(row.split()[3])) > 60 for row in others)
    code, text, err = run(*words)
    assert code == 0, err
    assert "UNSURE" not in text


def test_a_pulsar_with_an_orbit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.par").write_text(PAR + "BINARY ELL1\nPB 1.5\nA1 2\nTASC 59000\n")
    (tmp_path / "x.tim").write_text("FORMAT 1\n" + "".join(f"x 1400 59000.{k} 10 k\n" for k in (20, 21, 5, 51, 9)))
    code, _, err = run("connect", tmp_path / "x.tim", "--par", tmp_path / "x.par", "--out", tmp_path / "y.par")
    assert code == 2
    assert "has an orbit" in err


def test_without_a_telescope_nights_are_refused(tmp_path: Path) -> None:
    pulsar = Pulsar(period=0.1, dm=56.7, snr=80.0, duty=0.06)
    sky = Sky(nchans=16, fch1=1500.0, foff=-20.0, tsamp=5e-4, tobs=20.0, telescope="nowhere", pulsars=(pulsar,))
    write_filterbank(sky, tmp_path / "a.fil")
    words = ("--period", 0.1, "--dm", 56.7, "--out", tmp_path / "a.h5", "-q")
    assert run("fold", tmp_path / "a.fil", *words)[0] == 0
    code, _, err = run("connect", *[tmp_path / "a.h5"] * 3, "--out", tmp_path / "y.par")
    assert code == 2
    assert "cannot be carried to the barycentre" in err


def test_years_between_lose_no_digits(tmp_path: Path) -> None:
    (tmp_path / "x.par").write_text(PAR)
    days = (0.2, 0.21, 0.5, 0.51, 1.1, 1.11, 3.1, 3.11)
    lines = [f"x 1400 {59000 - back + day:.6f} 100 k" for back in (0, 50000) for day in days]
    (tmp_path / "x.tim").write_text("FORMAT 1\n" + "\n".join(lines) + "\n")
    code, text, err = run("connect", tmp_path / "x.tim", "--par", tmp_path / "x.par", "--out", tmp_path / "y.par")
    assert code == 0, err
    assert "UNSURE" in text
