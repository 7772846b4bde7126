"""From a file to the ranked product, as the command line does it."""

import io

import numpy as np
import pytest
from reference.interrupted import before_folding, stop

from pulsar.config.load import load_config
from pulsar.config.model import DedispConfig
from pulsar.constants import KDM
from pulsar.data.header import Header
from pulsar.dedisp.plan import make_plan
from pulsar.errors import ConfigError, DataError
from pulsar.io.open import open_observation
from pulsar.pipeline import detect as pipeline
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.ranges import STAGE
from pulsar.pipeline.searches import independent_dms
from pulsar.pipeline.start import fingerprint
from pulsar.run import search
from pulsar.synthesis.model import Pulsar, Rfi, Sky

PULSARS = (
    Pulsar(name="fast", period=0.0123456, dm=45.0, snr=25, duty=0.1, phase0=0.3),
    Pulsar(name="slow", period=0.3456789, dm=110.0, snr=30, duty=0.05, phase0=0.8),
)
SKY = Sky(
    nchans=64,
    fch1=1496.0,
    foff=-8.0,
    tsamp=256e-6,
    nsamps=60_000,
    seed=21,
    bandpass="rolloff",
    pulsars=PULSARS,
    rfi=(Rfi(kind="dead", freqs=(1010, 1030)), Rfi(kind="mains", rate=50.0, strength=0.05)),
)
# The mains are to be seen.
SETTINGS = [
    "dedisp.dm_hi=150", "ffa.p_max=1", "run.threads=2", "fold.ncands=12", "fold.nbins=64", "fold.nbands=16",
    "rfi.learn=false",
]  # fmt: skip
#: Of one search only.
SPECTRA = ["coherent.enabled=false", "ffa.enabled=false", "single_pulse.enabled=false"]


@pytest.fixture(scope="module")
def product(searched):
    return searched()


def test_every_pulsar_stands_above_everything_else(product):
    rows = product.rows("candidates")
    best = rows[: len(PULSARS)]
    for pulsar in PULSARS:
        near = best[
            np.abs(best["period"] / pulsar.period - 1) < np.maximum(1e-4, 3 * best["period_err"] / pulsar.period)
        ]
        assert len(near) == 1, (pulsar.name, best[["period", "dm", "snr"]])
        row = near[0]
        assert abs(row["dm"] - pulsar.dm) < 4 * row["dm_err"] + 0.5
        assert row["snr"] == pytest.approx(pulsar.snr, rel=0.2)
        assert row["score"] > 0.8
        assert row["harmonic_of"] == ""
        assert row["epoch"] == pytest.approx(SKY.tstart + 0.5 * SKY.nsamps * SKY.tsamp / 86400, abs=1e-9)


def test_mains_are_flagged_and_below(product):
    rows = product.rows("candidates")
    mains = rows[np.abs(rows["freq"] / 50 - np.round(rows["freq"] / 50)) < 1e-3]
    assert len(mains) >= 1
    assert (mains["rank"] > len(PULSARS)).all()
    # What is a harmonic of one is attached to that.
    flags = dict(zip(rows["uid"].tolist(), rows["rfi_flags"].tolist(), strict=True))
    for row in mains:
        told = str(flags[str(row["parent"] or row["uid"])]).split(",")
        assert "mains" in told or "dm0" in told


def test_lines_at_dm_zero_are_learnt_and_left_out(product, sky_file, tmp_path, monkeypatch):
    config = load_config(None, [*SETTINGS, "ffa.enabled=false", "rfi.learn=true", "rfi.birdies=[[7.0, 0.01]]"])
    out = tmp_path / "run.h5"
    before_folding(monkeypatch, search, sky_file, config, out)
    run = search(sky_file, config, out, resume=True)
    birdies = run.rows("rfi/birdies")
    assert any(abs(f - 50) < 0.2 and r == "learnt" for f, r in birdies[["freq", "reason"]])
    assert any(f == 7.0 and r == "given" for f, r in birdies[["freq", "reason"]])
    rows = run.rows("candidates")
    assert not np.any((np.abs(rows["freq"] - 50) < 0.1) & (rows["snr"] > 8))
    for before, after in zip(product.rows("candidates")[:2], rows[:2], strict=True):
        assert after["period"] == pytest.approx(before["period"], rel=1e-6)
        assert after["snr"] == pytest.approx(before["snr"], rel=0.03)


def test_the_product_tells_how_it_was_made(product, sky_file):
    assert product.observation.nchans == 64
    record = product.provenance
    assert {"statistics", "dedispersion", "search", "folding", "judging"} <= set(record["stages"])
    assert record["inputs"][0]["path"] == str(sky_file.absolute())
    rfi = product.rfi
    assert rfi["chan_mask"].sum() >= 2
    assert set(product.ids) == set(product.rows("candidates")["id"][: len(product.ids)])


def test_what_is_at_the_end_of_the_dms_is_told(sky_file, tmp_path):
    config = load_config(None, [*SETTINGS, *SPECTRA, "dedisp.dm_hi=107"])
    stream = io.StringIO()
    progress = Progress("quiet", stream=stream)
    with progress.clock("stage of another beam"):
        pass
    run = search(sky_file, config, tmp_path / "near.h5", progress=progress)
    assert "stage of another beam" not in run.provenance["stages"]
    ids = {row["id"]: row["dm_detected"] for row in run.rows("candidates") if row["score"] > 0.5}
    last = max(ids, key=lambda ident: ids[ident])
    assert ids[last] > 106
    (warning,) = [line for line in stream.getvalue().splitlines() if "end of the DMs" in line]
    assert f"{last}: at an end" in warning
    assert "0 to 107" in warning


def test_threads_memory_and_who_opens_the_file_change_nothing(product, sky_file, tmp_path):
    more = ["run.threads=1", "run.memory=480MiB", f"run.scratch={tmp_path}"]
    with open_observation(sky_file) as obs:
        run = search(obs, load_config(None, [*SETTINGS, *more]), tmp_path / "run.h5")
    ours, theirs = run.rows("candidates"), product.rows("candidates")
    assert len(ours) == len(theirs)
    for name in ("id", "period", "dm", "snr", "sigma", "score"):
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_series_goes_straight_to_the_search(tmp_path):
    n, dt = 40_000, 1e-3
    rng = np.random.default_rng(3)
    t = np.arange(n) * dt
    data = (rng.normal(size=n) + 0.8 * (np.mod(t / 0.2171, 1) < 0.05)).astype(np.float32)
    data.tofile(tmp_path / "x.dat")
    lines = [
        (" Data file name without suffix", "x"),
        (" Telescope used", "None"),
        (" Instrument used", "None"),
        (" Object being observed", "X"),
        (" J2000 Right Ascension (hh:mm:ss.ssss)", "00:00:00.0000"),
        (" J2000 Declination     (dd:mm:ss.ssss)", "00:00:00.0000"),
        (" Data observed by", "nobody"),
        (" Epoch of observation (MJD)", "59000.000000000000"),
        (" Barycentered?           (1=yes, 0=no)", "0"),
        (" Number of bins in the time series", str(n)),
        (" Width of each time series bin (sec)", str(dt)),
        (" Any breaks in the data? (1=yes, 0=no)", "0"),
        (" Type of observation (EM band)", "Radio"),
        (" Beam diameter (arcsec)", "10"),
        (" Dispersion measure (cm-3 pc)", "12.5"),
        (" Central freq of low channel (MHz)", "1400"),
        (" Total bandwidth (MHz)", "100"),
        (" Number of channels", "100"),
        (" Channel bandwidth (MHz)", "1"),
        (" Data analyzed by", "nobody"),
    ]
    (tmp_path / "x.inf").write_text("".join(f"{k:<40}=  {v}\n" for k, v in lines))
    run = search(tmp_path / "x.dat", load_config(None, []), tmp_path / "x.h5")
    row = run.rows("candidates")[0]
    assert row["period"] == pytest.approx(0.2171, rel=1e-4)
    assert row["dm"] == 12.5


def test_an_output_that_exists_is_not_touched(sky_file, tmp_path):
    out = tmp_path / "run.h5"
    out.write_text("precious")
    with pytest.raises(ConfigError, match=r"run\.h5.*exists"):
        search(sky_file, load_config(None, SETTINGS), out)
    assert out.read_text() == "precious"


def test_bad_input_leaves_nothing_behind(tmp_path):
    bad = tmp_path / "bad.fil"
    bad.write_text("this is no filterbank")
    with pytest.raises(DataError, match=r"bad\.fil"):
        search(bad, load_config(None, SETTINGS), tmp_path / "run.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.fil"]


def test_an_interrupted_run_goes_on(product, sky_file, tmp_path, monkeypatch):
    out = tmp_path / "run.h5"
    config = load_config(None, SETTINGS)
    stopped = before_folding(monkeypatch, search, sky_file, config, out)
    assert stopped.__notes__ == ["use --resume to go on"]
    assert not out.exists()
    assert (tmp_path / "run.h5.parts" / "detections.npz").exists()

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.TrialSearch, "search", stop)
        run = search(sky_file, config, out, resume=True)
    np.testing.assert_array_equal(run.rows("candidates")["period"], product.rows("candidates")["period"])
    np.testing.assert_array_equal(run.rows("single_pulses")["time"], product.rows("single_pulses")["time"])
    assert len(product.rows("single_pulses")) > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.h5"]


def test_a_run_interrupted_between_batches_goes_on(product, sky_file, tmp_path, monkeypatch):
    out = tmp_path / "run.h5"
    config = load_config(None, [*SETTINGS, "ffa.enabled=false"])
    monkeypatch.setattr("pulsar.dedisp.engine.TREE_DMS", 16)
    searched = []
    real = pipeline.BatchSearch.each

    def some(self, batch, *more):
        if len(searched) == 2:
            raise KeyboardInterrupt
        searched.append(batch.first)
        real(self, batch, *more)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.BatchSearch, "each", some)
        with pytest.raises(KeyboardInterrupt):
            search(sky_file, config, out)
    kept = sorted((tmp_path / "run.h5.parts").glob(f"{STAGE[:8]}*.npz"))
    ends = [int(np.load(path)["ranges"].max()) for path in kept]
    assert max(ends) > searched[-1] > 0

    def rest(self, batch, *more):
        searched.append(batch.first)
        real(self, batch, *more)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.BatchSearch, "each", rest)
        run = search(sky_file, config, out, resume=True)
    assert searched == sorted(set(searched))
    assert len(searched) > 3
    # Other batches round delays otherwise: the same candidates, not to the last digit.
    np.testing.assert_allclose(
        run.rows("candidates")["period"][:2], product.rows("candidates")["period"][:2], rtol=1e-5
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.h5"]


def test_a_run_knows_what_stands_beside_its_files():
    # The sampling time of a series is in its .inf: with another one it is another observation.
    header = Header(nchans=1, nsamps=4096, tsamp=1e-3, fch1=1400.0, foff=-1.0, tstart=55000.0, is_series=True)
    marks = [fingerprint([], load_config(), "1", header.with_(tsamp=tsamp)) for tsamp in (1e-3, 2e-3, 1e-3)]
    assert marks[0] == marks[2] != marks[1]


def test_other_settings_do_not_resume(sky_file, tmp_path, monkeypatch):
    out = tmp_path / "run.h5"
    sets = [*SETTINGS, *SPECTRA]
    before_folding(monkeypatch, search, sky_file, load_config(None, [*sets, "dedisp.dm_hi=20"]), out)
    other = load_config(None, [*sets, "dedisp.dm_hi=50"])
    before_folding(monkeypatch, search, sky_file, other, out, resume=True)
    with np.load(tmp_path / "run.h5.parts" / "detections.npz") as kept:
        assert kept["detections"]["dm"].max() > 20


@pytest.mark.parametrize(("step", "low", "high"), [(1e-4, 0.0, 0.1), (50.0, 0.95, 1.0)])
def test_independent_dms_between_one_and_all(step, low, high):
    freqs = np.linspace(1500.0, 1000.0, 128)
    plan = make_plan(
        Header(nchans=128, nsamps=100_000, tsamp=1e-4, fch1=1500.0, foff=-500 / 127, tstart=60000.0),
        DedispConfig(dm_hi=100 * step, dm_step=step, max_downsample=1),
    )
    share = (independent_dms(plan.stages[0], freqs) - 1) / (plan.stages[0].ndms - 1)
    assert low <= share <= high


def test_independent_dms_against_noise():
    """Runs of neighbouring exceedances in white noise dedispersed on a grid finer than it needs."""
    rng = np.random.default_rng(8)
    nchans, nsamps, tsamp = 32, 4096, 1e-3
    freqs = np.linspace(1500.0, 1100.0, nchans)
    dms = np.arange(40) * 1.0
    header = Header(nchans=nchans, nsamps=nsamps, tsamp=tsamp, fch1=1500.0, foff=-400 / 31, tstart=60000.0)
    plan = make_plan(header, DedispConfig(dm_hi=39.0, dm_step=1.0, max_downsample=1)).stages[0]
    phase = np.exp(
        2j
        * np.pi
        * np.fft.rfftfreq(nsamps, tsamp)[None, :, None]
        * (KDM * dms[:, None, None] * (freqs**-2.0 - freqs[0] ** -2.0))
    )
    threshold = 5.0
    above = starts = 0
    for _ in range(40):
        spectra = np.fft.rfft(rng.standard_normal((nchans, nsamps)), axis=1)
        series = np.einsum("cf,dfc->df", spectra, phase)
        hit = np.abs(series[:, 1:-1]) ** 2 / (nchans * nsamps) > threshold
        above += hit.sum()
        starts += hit[0].sum() + (hit[1:] & ~hit[:-1]).sum()
    assert starts / above == pytest.approx(independent_dms(plan, freqs, threshold) / plan.ndms, rel=0.05)


def test_a_calibration_scan_is_searched_only_when_forced(sky_file, tmp_path):
    path = tmp_path / "3C286_swiftcalibration-M01_0001.fil"
    path.symlink_to(sky_file)
    with pytest.raises(ConfigError, match="calibration scan by its name"):
        search(path, load_config(None, SETTINGS), tmp_path / "run.h5")
    quick = ["dedisp.dm_hi=2", "ffa.enabled=false", "single_pulse.enabled=false", "input.calibration=true"]
    search(path, load_config(None, [*SETTINGS, *quick]), tmp_path / "run.h5")


def test_why_tells_what_became_of_every_signal(product):
    from pulsar.report.why import Question, why

    rows = product.rows("candidates")
    for pulsar in PULSARS:
        told = why(product, Question(freq=1.0 / pulsar.period, dm=pulsar.dm))
        alone = rows[rows["parent"] == ""]
        own = alone[np.argmin(np.abs(alone["period"] / pulsar.period - 1))]
        assert told[1] == "detected at this frequency:"
        assert str(own["uid"]) in told[2]
        assert f"is row {own['rank']} ({own['id']})" in told[3]
        # What it leaves at its second harmonic belongs to it, with the numbers.
        second = "\n".join(why(product, Question(freq=2.0 / pulsar.period, dm=pulsar.dm)))
        assert f"belongs to row {own['rank']} ({own['id']})" in second
        assert "as harmonic 2" in second
        assert f"{own['uid']} leaves" in second
    nothing = "\n".join(why(product, Question(freq=77.7, dm=45.0)))
    assert "no search had a detection above its threshold" in nothing
    assert "fft: nothing above its threshold of 0 sigma" in nothing
    assert "ffa: searched periods from 0.76" in nothing
    assert "DM 400 was not searched: 0 to 150 were" in "\n".join(why(product, Question(freq=77.7, dm=400.0)))
    assert "above the Nyquist frequency" in "\n".join(why(product, Question(freq=2500.0)))


def test_why_of_pulses_and_wrong_questions(product):
    from pulsar.report.why import Question, why

    pulses = product.rows("single_pulses")
    assert "no pulse above S/N 7" in "\n".join(why(product, Question(time=1e-3, dm=149.0)))
    for row in pulses[:3]:
        assert str(row["id"]) in "\n".join(why(product, Question(time=float(row["time"]))))
    for wrong in (Question(), Question(freq=1.0, time=1.0), Question(freq=-1.0), Question(time=1e9)):
        with pytest.raises(ConfigError):
            why(product, wrong)


def test_every_detection_says_whose_it_is(product):
    rows, found = product.rows("candidates"), product.rows("detections")
    assert (found["uid"] != "").all()
    listed = set(rows["uid"].tolist())
    assert set(found["uid"].tolist()) <= listed
    parents = found["parent"][found["parent"] != ""]
    assert set(parents.tolist()) <= set(rows["uid"][rows["parent"] == ""].tolist())


def test_harmonics_stay_rows_of_their_own_on_request(product, sky_file, tmp_path):
    rows = search(sky_file, load_config(None, [*SETTINGS, "sift.harmonics=false"]), tmp_path / "r.h5").rows()
    assert (rows["parent"] == "").sum() > (product.rows()["parent"] == "").sum()
    assert not np.isin(rows["relation"], ["harmonic 2", "harmonic 1/2", "same"]).any()
