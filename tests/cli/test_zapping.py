"""Folds of a product without some sub-integrations and bands: what is left is measured as the fold was."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from reference.command import run
from reference.products import write_product

from pulsar.data.fold import Fold, zapped
from pulsar.errors import ConfigError
from pulsar.followup.folding import measured, touched
from pulsar.io.product.reader import read
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank
from pulsar.triage.site import Site

PERIOD, DM = 0.0523, 40.0
NCHANS, NSAMPS, TSAMP = 16, 1 << 15, 1e-3
PLAIN = ("--set", "rfi.enabled=false", "--set", "rfi.clip=0", "--set", "fold.nbands=16", "--set", "run.threads=1", "-q")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pulsar in even noise, the same with impulses from 8 to 10 s and a band that has gone mad, and their folds."""
    path = tmp_path_factory.mktemp("zap")
    pulsar = Pulsar(period=PERIOD, dm=DM, snr=25.0, duty=0.06)
    sky = Sky(nchans=NCHANS, foff=-16.0, fch1=1500.0, nsamps=NSAMPS, tsamp=TSAMP, seed=5, pulsars=[pulsar])
    write_filterbank(sky, path / "clean.fil")
    content = (path / "clean.fil").read_bytes()
    head = len(content) - NCHANS * NSAMPS
    samples = np.frombuffer(content[head:], dtype=np.uint8).reshape(NSAMPS, NCHANS).astype(np.int64)
    rng = np.random.default_rng(1)
    samples[8000:10000][np.repeat(rng.random(200) < 0.1, 10)] += 120
    samples[:, 5] += 120 * np.repeat(rng.random(NSAMPS // 16) < 0.1, 16)
    (path / "dirty.fil").write_bytes(content[:head] + np.clip(samples, 0, 255).astype(np.uint8).tobytes())
    for name in ("clean", "dirty"):
        args = ("--period", PERIOD, "--dm", DM, "--out", path / f"{name}.h5", *PLAIN)
        code, _, err = run("fold", path / f"{name}.fil", *args)
        assert code == 0, err
    return path


ZAP = ("--zap-time", "8:10", "--zap-freq", "1413:1427")


def same(first: Fold, second: Fold) -> bool:
    names = ("profile", "time_phase", "freq_phase", "dm_snr", "p_pdot")
    arrays = all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)
    return arrays and (first.snr, first.after, first.freq_err) == (second.snr, second.after, second.freq_err)


def test_a_fold_that_is_measured_again_is_the_same(folder: Path) -> None:
    product = read(folder / "dirty.h5")
    cube, lines = product.cube("c0001")
    assert same(measured(cube, lines, fit=True, search_dm=True), product.fold("c0001"))


def test_without_the_interference_the_snr_is_that_of_clean_data_less_what_is_left_out(
    folder: Path, tmp_path: Path
) -> None:
    out, picture = tmp_path / "out.h5", tmp_path / "out.png"
    code, text, err = run("fold", folder / "dirty.h5", *ZAP, "--out", out, "--plot", picture)
    assert code == 0, err
    clean, dirty, product = (read(path) for path in (folder / "clean.h5", folder / "dirty.h5", out))
    fold = product.fold("c0001")
    # Sub-integrations of 1.024 s, bands of 16 MHz.
    left = (1 - 3 / 32) * (1 - 1 / 16)
    assert dirty.fold("c0001").snr < 0.75 * clean.fold("c0001").snr
    assert fold.snr == pytest.approx(clean.fold("c0001").snr * np.sqrt(left), rel=0.05)
    assert f"-> {fold.snr:.1f} without 3 of 32 sub-integrations and 1 of 16 bands" in err
    assert "does not count what you tried" in err
    assert f"{fold.snr:.1f}" in text
    assert np.flatnonzero(~fold.time_phase.any(axis=1)).tolist() == [7, 8, 9]
    assert np.flatnonzero(~fold.freq_phase.any(axis=1)).tolist() == [5]
    # The row is that of what is left, the pulsar where it was; nothing else of the product is lost.
    row = product.candidate("c0001")
    assert (row["snr"], row["rank"]) == (pytest.approx(fold.snr), 1)
    assert row["period"] == pytest.approx(PERIOD, abs=4 * row["period_err"])
    assert product.files_of(0) == dirty.files_of(0)
    assert repr(product.observation) == repr(dirty.observation)
    assert picture.stat().st_size > 10_000
    assert zapped(fold) == "8:10 s, 1413:1427 MHz"


def test_it_is_the_snr_of_data_that_never_had_these(folder: Path, tmp_path: Path) -> None:
    # Zapped before folding and after it: a whole band is a channel here.
    before, after = tmp_path / "before.h5", tmp_path / "after.h5"
    args = ("--period", PERIOD, "--dm", DM, "--zap", "1413:1427", "--out", before, "--set", "fold.nbands=16")
    code, _, err = run("fold", folder / "dirty.fil", *args, "--set", "rfi.clip=0", "--set", "run.threads=1", "-q")
    assert code == 0, err
    assert run("fold", folder / "dirty.h5", "--zap-freq", "1413:1427", "--out", after, "-q")[0] == 0
    first, second = (read(path).fold("c0001") for path in (before, after))
    assert second.snr == pytest.approx(first.snr, rel=0.1)


def test_the_flux_density_is_of_what_is_left(folder: Path, tmp_path: Path) -> None:
    fold = read(folder / "dirty.h5").fold("c0001")
    sets = ("--set", "telescope.gain=1", "--set", "telescope.tsys=20")
    units = []
    for first in (0.5, 0.97):
        path = tmp_path / f"{first}.h5"
        times = f"{fold.start + first * fold.tobs + 1e-3}:1e9"
        assert run("fold", folder / "dirty.h5", "--zap-time", times, "--out", path, "-q", *sets)[0] == 0
        left, row = read(path).fold("c0001"), read(path).rows("candidates")[0]
        share = np.mean(np.any(left.time_phase != 0.0, axis=1))
        # By the radiometer equation, over the time that is left.
        units.append(row["flux"] / (left.snr * np.sqrt(left.width / (1.0 - left.width) / share)))
    assert units[0] == pytest.approx(units[1], rel=0.01)


def test_the_flux_density_is_of_the_band_that_is_not_masked(folder: Path, tmp_path: Path) -> None:
    sets = ("--set", "telescope.gain=1", "--set", "telescope.tsys=20", *PLAIN[4:])
    units = []
    # Half of the band, left out before the fold, after it, or not.
    half = "1260:1372"
    for name, band, zap, later in (("all", 1, (), ()), ("half", 0.5, ("--zap", half), ()), ("late", 1, (), (half,))):
        path, left = tmp_path / f"{name}.h5", tmp_path / f"{name}_left.h5"
        args = ("--period", PERIOD, "--dm", DM, "--out", path, *sets)
        assert run("fold", folder / "clean.fil", *args, *zap)[0] == 0
        cleaned = ("--zap-time", "0:1", *(word for span in later for word in ("--zap-freq", span)))
        assert run("fold", path, *cleaned, "--out", left, "-q", *sets[:4])[0] == 0
        for product, share in ((path, band), (left, 0.5 * 31 / 32 if name != "all" else 31 / 32)):
            fold, row = read(product).fold("c0001"), read(product).candidate("c0001")
            # By the radiometer equation, over the band and the time that are left.
            units.append(row["flux"] / fold.snr / np.sqrt(fold.width / (1.0 - fold.width) / share))
    assert units == pytest.approx([units[0]] * 6, rel=0.01)


def test_one_sub_integration_may_be_all_that_is_left(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    code, _, err = run("fold", folder / "clean.h5", "--zap-time", "1.1:1e9", "--out", out, "-q")
    assert code == 0, err
    fold = read(out).fold("c0001")
    assert np.count_nonzero(fold.time_phase.any(axis=1)) == 1
    # What one does beside its pulse nothing tells.
    assert fold.extra["noise_scale"] == 1.0
    assert fold.snr == pytest.approx(read(folder / "clean.h5").fold("c0001").snr / np.sqrt(32), rel=0.3)


def test_the_whole_fold_stays_and_is_had_on_request(folder: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once.h5", tmp_path / "twice.h5"
    assert run("fold", folder / "dirty.h5", "--id", "c0001", *ZAP, "--out", once, "-q")[0] == 0
    made, left = read(folder / "dirty.h5").fold("c0001"), read(once)
    assert same(left.fold("c0001", whole=True), made)
    assert not same(left.fold("c0001"), made)
    assert left.ids == ("c0001",)
    assert same(read(folder / "dirty.h5").fold("c0001", whole=True), made)
    # What was cleaned before begins with the whole again.
    assert run("fold", once, "--zap-time", "8:10", "--out", twice, "-q")[0] == 0
    assert np.count_nonzero(~read(twice).fold("c0001").freq_phase.any(axis=1)) == 0
    texts = {}
    for product, more in ((folder / "dirty.h5", ()), (once, ()), (once, ("--whole",))):
        out = tmp_path / "x.csv"
        code, _, err = run("export", product, "--id", "c0001", "--csv", "--out", out, "--overwrite", "-q", *more)
        assert code == 0, err
        texts[product.name, *more] = out.read_text()
    assert texts["once.h5", "--whole"] == texts["dirty.h5",]
    assert texts["once.h5",] != texts["dirty.h5",]
    code, _, err = run("export", once, "--id", "c0001", "--par", "--out", tmp_path / "x.par", "-q")
    assert code == 0, err
    assert "without 8:10 s, 1413:1427 MHz" in (tmp_path / "x.par").read_text()


def test_a_fold_without_refinement_is_not_refined(folder: Path, tmp_path: Path) -> None:
    given, out = tmp_path / "given.h5", tmp_path / "out.h5"
    args = ("--period", PERIOD * 1.00001, "--dm", DM + 1.0, "--no-refine", "--out", given, *PLAIN)
    assert run("fold", folder / "dirty.fil", *args)[0] == 0
    assert run("fold", given, *ZAP, "--out", out, "-q")[0] == 0
    fold = read(out).fold("c0001")
    assert fold.after == fold.before == read(given).fold("c0001").after
    assert np.isnan(fold.freq_err)


def test_what_a_range_touches_is_left_out(folder: Path) -> None:
    cube, _ = read(folder / "dirty.h5").cube("c0001")
    subints, bands = touched(cube, [(1.024, 2.048)], [(1500.0, 1500.0 + 1.0)])
    assert np.flatnonzero(subints).tolist() == [1]
    assert np.flatnonzero(bands).tolist() == [0]
    subints, bands = touched(cube, [(1.0, 2.1), (30.0, 31.0)], [])
    assert np.flatnonzero(subints).tolist() == [0, 1, 2, 29, 30]
    assert not bands.any()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("dirty.h5", "--zap-time", "10"), "--zap-time 10: expected two times in s from the start, the lower first"),
        (("dirty.h5", "--zap-freq", "9:8"), "--zap-freq 9:8: expected two frequencies in MHz"),
        (("dirty.h5", "--zap-time", "40:50"), "--zap-time 40:50: touches nothing of the fold, which is from 0 to 32.7"),
        (("dirty.h5", "--zap-time", "0:40"), "leave nothing of the fold"),
        (("dirty.h5", "--zap-time", "1:2", "--id", "c9"), "no fold 'c9'"),
        (("dirty.h5", "--zap-time", "1:2", "--period", 1), "--period are of folding samples"),
        (("dirty.h5", "--zap-time", "1:2", "--no-refine"), "--no-refine are of folding samples"),
        (("dirty.fil", "--zap-time", "1:2"), "pulsar fold FOLD.h5 --zap-time LO:HI"),
        (("dirty.h5", "clean.h5", "--zap-time", "1:2"), "clean a fold of one product"),
    ],
)
def test_what_cannot_be_left_out_is_told(folder: Path, tmp_path: Path, args: tuple[str, ...], message: str) -> None:
    given = [folder / arg if str(arg).endswith((".h5", ".fil")) else arg for arg in args]
    code, _, err = run("fold", *given, "--out", tmp_path / "out.h5")
    assert code == 2
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_the_command_of_the_page_cleans_the_fold(folder: Path, tmp_path: Path) -> None:
    site = Site([read(folder / "dirty.h5")], "ann")
    told = site.cleaning(next(iter(site.rows)))
    assert told is not None
    assert [(name, zapped) for name, _, zapped in told["spans"]] == [("time", ""), ("freq", "")]
    (line,) = told["commands"]
    code, _, err = run(*shlex.split(line)[1:], *ZAP, "--out", tmp_path / "out.h5", "-q")
    assert code == 0, err
    assert zapped(read(tmp_path / "out.h5").fold("c0001")) == "8:10 s, 1413:1427 MHz"
    # What is left out is where more is typed.
    site = Site([read(tmp_path / "out.h5")], "ann")
    again = site.cleaning(next(iter(site.rows)))
    assert again is not None
    assert [told for *_, told in again["spans"]] == ["8:10", "1413:1427"]
    assert site.cleaning("none") is None


def test_products_with_sums_only_say_how_to_get_a_fold_that_can_be_cleaned(tmp_path: Path) -> None:
    product = write_product(tmp_path / "run.h5")
    code, _, err = run("fold", product, "--zap-time", "1:2", "--out", tmp_path / "out.h5")
    assert code == 2
    assert "holds 2 folds: name the one to be cleaned: --id ID" in err
    with pytest.raises(ConfigError, match=r"pulsar fold FILE --candidates .*run.h5 --id c0001 --out FOLD.h5"):
        read(product).cube("c0001")


def test_of_a_series_times_are_left_out(folder: Path, tmp_path: Path) -> None:
    series, fold, out = tmp_path / "s.dat", tmp_path / "s.h5", tmp_path / "out.h5"
    code, _, err = run("dedisperse", folder / "clean.fil", "--dm", DM, "--no-rfi", "--out", series, "-q")
    assert code == 0, err
    code, _, err = run("fold", series, "--period", PERIOD, "--dm", DM, "--out", fold, "-q")
    assert code == 0, err
    assert run("fold", fold, "--zap-time", "0:16.3", "--out", out, "-q")[0] == 0
    whole, left = read(out).fold("c0001", whole=True), read(out).fold("c0001")
    assert left.snr == pytest.approx(whole.snr * np.sqrt(0.5), rel=0.1)
    code, _, err = run("fold", fold, "--zap-freq", "1:2", "--out", tmp_path / "x.h5")
    assert code == 2
    assert "one band only" in err
