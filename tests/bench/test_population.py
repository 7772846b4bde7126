"""The random skies of the population benchmark are what they say, and its judgement is right."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import population
import population_sky as skies
import pytest
import recall
from programs import presto_plan, read_listing
from shared import reliability_table

import pulsar
from pulsar.data.candidate import CANDIDATE_COLUMNS, DETECTION_COLUMNS, SINGLE_PULSE_COLUMNS, empty_table

SCRIPT = Path(population.__file__)


def small(environment: str, seed: int) -> "skies.Sky":
    """A sky of 4 s in 32 channels."""
    whole = skies.sky(environment, seed)
    return replace(whole, nchans=32, foff=whole.foff * 4, nsamps=10_000)


def shape_by_samples(one, observed, channel):
    """The shape that a channel records: means over the sample and the channel, one by one, at 512 phases."""
    profile = skies.intrinsic(one)
    phases = np.arange(len(profile)) / len(profile)
    if one.scatter:
        tail = one.scatter * (observed.freqs[channel] / np.median(observed.freqs)) ** -4.0
        # The tail of all turns before, summed as a geometric series.
        response = np.exp(-phases / tail) / (1 - np.exp(-1 / tail))
        profile = np.fft.irfft(np.fft.rfft(profile) * np.fft.rfft(response)) / response.sum()
    at = np.arange(512) / 512
    middle = observed.freqs[channel]
    parts = (np.arange(16) - 7.5) / 16
    late = 4149.377593 * one.dm * ((middle + observed.foff * parts) ** -2.0 - middle**-2.0)
    turns = (observed.tsamp * parts - late[:, None]) / one.period
    # One look into the profile for all of them: each sorts its phases anew.
    return np.interp((at + turns[..., None]) % 1.0, phases, profile, period=1.0).mean(axis=(0, 1))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A sky of six pulsars in clean noise, and its file."""
    observed, path = skies.sky("clean", 3), tmp_path_factory.mktemp("clean") / "a.fil"
    skies.write(observed, path)
    return observed, path


def test_stated_snr_is_that_of_a_fold_at_the_truth(clean):
    observed, path = clean
    header = pulsar.open(path).header
    assert header.nsamps == observed.nsamps
    assert header.tsamp == observed.tsamp
    data = np.fromfile(path, np.uint8)[-observed.nsamps * observed.nchans :]
    data = np.ascontiguousarray(data.reshape(observed.nsamps, observed.nchans).T, dtype=np.float32)
    data = (data - data.mean(axis=1, keepdims=True)) / data.std(axis=1, keepdims=True)
    pulls = []
    for one in observed.pulsars:
        period, dm = one.period, one.dm
        series = np.zeros(observed.nsamps)
        for c, freq in enumerate(observed.freqs):
            shift = round(4149.377593 * dm * (freq**-2.0 - observed.fch1**-2.0) / observed.tsamp)
            series[: observed.nsamps - shift] += data[c, shift:]
        series /= np.sqrt(observed.nchans)
        shape = np.mean([shape_by_samples(one, observed, c) for c in range(0, observed.nchans, 16)], axis=0)
        turns = (np.arange(observed.nsamps) + 0.5) * observed.tsamp / period + one.phase
        template = np.interp(turns % 1.0, np.arange(512) / 512, shape, period=1.0)
        template -= template.mean()
        # Delays rounded to a sample, channels of the other phase and those that end early cost 3 % at most.
        pulls.append(series @ template / np.sqrt(template @ template) - 0.985 * one.snr)
    # The noise of a matched filter is 1; 1.5 % of S/N 30 is 0.45.
    assert np.abs(pulls).max() < 3.5
    assert abs(np.mean(pulls)) < 0.45 + 3 / np.sqrt(len(pulls))


def test_a_fold_at_a_wrong_dm_or_period_finds_less(clean):
    observed, path = clean
    one = min(observed.pulsars, key=lambda p: p.period * p.width)
    right = skies.dedispersed(observed, path, one.dm)
    away = one.dm + 3 * population.width_in_dm(one, observed) + 2.0
    wrong = skies.dedispersed(observed, path, away)
    turns = (np.arange(observed.nsamps) + 0.5) * observed.tsamp / one.period + one.phase
    template = skies.Signal(one, observed).template[(turns % 1.0 * skies.FINE).astype(int)]
    template /= np.sqrt(template @ template)
    late = (np.arange(observed.nsamps) + 0.5) * observed.tsamp * (one.freq + 2 / observed.tobs) + one.phase
    other = skies.Signal(one, observed).template[(late % 1.0 * skies.FINE).astype(int)]
    assert right @ template > 0.8 * one.snr
    assert wrong @ template < 0.5 * one.snr
    assert right @ other / np.sqrt(other @ other) < 0.5 * one.snr


@pytest.mark.parametrize("environment", skies.ENVIRONMENTS)
def test_a_seed_makes_one_file(tmp_path, environment):
    for name, seed in (("a", 5), ("b", 5), ("c", 9)):
        skies.write(small(environment, seed), tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert len(a) - len(skies.header(small(environment, 5))) == 32 * 10_000


def test_environments_hold_what_they_say(tmp_path):
    drawn = {}
    for environment in skies.ENVIRONMENTS:
        drawn[environment] = set(skies.write(small(environment, 2), tmp_path / "a").interference)
    parts = {"red", "impulses", "mains"}
    assert drawn == {"clean": set(), "all": parts} | {name: {name} for name in parts}


def test_the_level_drifts_in_red_noise_only(tmp_path):
    spread = {}
    for environment in ("clean", "red"):
        observed = replace(skies.sky(environment, 2), nchans=64)
        skies.write(observed, tmp_path / "a")
        series = skies.dedispersed(observed, tmp_path / "a", 0.0)
        means = series[: len(series) // 2000 * 2000].reshape(-1, 2000).mean(axis=1)
        spread[environment] = means.std() * np.sqrt(2000)
    assert spread["clean"] < 2  # white noise: 1, and six pulsars
    assert spread["red"] > 10


@pytest.mark.parametrize("environment", ["clean", "mains"])
def test_pulsars_are_drawn_as_stated(environment):
    pulsars = []
    for seed in range(40):
        observed = skies.sky(environment, seed)
        pulsars += observed.pulsars
        assert len(observed.pulsars) == skies.PER_FILE
        for n, one in enumerate(observed.pulsars):
            assert skies.PERIOD[0] <= one.period <= min(skies.PERIOD[1], observed.tobs / skies.FEWEST_TURNS)
            for other in observed.pulsars[:n]:
                for m in range(1, 5):
                    for d in range(1, 5):
                        assert abs(m * one.freq - d * other.freq) * observed.tobs > 2
    assert min(p.period for p in pulsars) < 5e-3
    assert max(p.period for p in pulsars) > 3
    assert {p.shape for p in pulsars} == {"gaussian", "vonmises", "double"}
    assert 0.1 < np.mean([p.scatter > 0 for p in pulsars]) < 0.4
    assert 0.25 < np.mean([p.modulation > 0 for p in pulsars]) < 0.55
    assert all(12 <= p.snr <= 30 and 5 <= p.dm <= 300 and 0.015 <= p.duty <= 0.25 for p in pulsars)


def listed(*rows):
    """A table of candidates: (frequency, DM, flags, id of the owner), in the order of the ranks."""
    table = empty_table(CANDIDATE_COLUMNS, len(rows))
    for n, (freq, dm, flags, owner) in enumerate(rows):
        table[n]["rank"], table[n]["id"] = n + 1, f"c{n + 1:04d}"
        table[n]["freq"], table[n]["period"], table[n]["dm"] = freq, 1 / freq, dm
        table[n]["dm_err"], table[n]["period_err"] = 0.1, 0.0
        table[n]["rfi_flags"], table[n]["harmonic_of"] = flags, owner
    return table


def detections(*rows):
    """A table of detections: (frequency, DM, sigma)."""
    table = empty_table(DETECTION_COLUMNS, len(rows))
    for n, (freq, dm, sigma) in enumerate(rows):
        table[n]["freq"], table[n]["dm"], table[n]["sigma"], table[n]["sigma_single"] = freq, dm, sigma, sigma
        table[n]["kind"] = "fft"
    return table


@pytest.fixture
def two():
    """A sky with two narrow fast pulsars."""
    whole = skies.sky("clean", 0)
    base = replace(whole.pulsars[0], duty=0.05, width=0.05, scatter=0.0, snr=20.0)
    pulsars = (replace(base, period=0.0371, dm=50.0), replace(base, period=0.2113, dm=120.0))
    return replace(whole, pulsars=pulsars)


def test_rows_are_told_apart(two):
    a, b = (p.freq for p in two.pulsars)
    rows = listed((17.123, 200.0, "", ""), (a, 50.2, "", ""), (3 * a, 50.0, "", ""), (b, 120.0, "dm0", ""))
    fates, false, chance = population.judge(rows, detections(), two)
    assert len(false) == 1
    assert false[0].startswith("#1 ")
    assert 0 <= chance < 1
    first, second = fates
    assert first.once
    assert (first.rank, first.flags, first.false_above) == (2, "", 1)
    assert [text.split(":")[0] for text in first.duplicates] == ["3/1"]
    assert second.once
    assert (second.rank, second.flags, second.false_above) == (4, "dm0", 1)


def test_a_pulsar_listed_twice_or_only_as_a_harmonic_is_not_listed_once(two):
    a, b = (p.freq for p in two.pulsars)
    rows = listed(
        (a, 50.2, "", ""), (a + 0.1 / two.tobs, 50.0, "", ""), (b, 120.0, "", "c0001"), (b / 2, 120.0, "", "")
    )
    fates, false, _ = population.judge(rows, detections(), two)
    assert not false
    assert fates[0].listed
    assert not fates[0].once
    assert [text.split(":")[0] for text in fates[0].duplicates] == ["again"]
    assert not fates[1].listed
    assert [text.split(":")[0] for text in fates[1].duplicates] == ["1/2"]
    assert any("harmonic of c0001" in text for text in fates[1].nearest)


def test_a_row_a_turn_away_or_at_another_dm_is_not_the_pulsar(two):
    a, b = (p.freq for p in two.pulsars)
    rows = listed((a + 0.5 / two.tobs, 50.0, "", ""), (b, 190.0, "", ""))
    fates, false, _ = population.judge(rows, detections(), two)
    assert len(false) == 2
    assert not any(fate.listed for fate in fates)


def test_detections_are_the_pulsars_only_where_its_dm_is_best(two):
    a, b = (p.freq for p in two.pulsars)
    wide = population.dm_tolerance(two.pulsars[1], two)
    found = detections((2 * a, 50.0, 9.0), (a, 50.4, 7.0), (b, 120.0, 6.0), (b, 120.0 + 2 * wide, 8.0))
    fates, _, _ = population.judge(listed(), found, two)
    assert fates[0].detected == 9.0
    assert fates[0].fundamental == 7.0
    assert fates[0].detected_how == "fft at 2/1, DM 50.0"
    assert fates[1].detected == -np.inf
    # Stronger than the pulsar can be: interference.
    fates, _, _ = population.judge(listed(), detections((b, 120.0, 40.0)), two)
    assert fates[1].detected == -np.inf


def test_ideal_high_pass_leaves_all_in_white_noise_and_less_in_drifts(tmp_path):
    observed = replace(skies.sky("red", 1), nchans=32)
    one = max(observed.pulsars, key=lambda p: p.period)
    empty = replace(observed, pulsars=())
    skies.write(replace(empty, environment="clean"), tmp_path / "clean")
    skies.write(empty, tmp_path / "red", only="red")
    # A running mean much longer than the pulse takes little; the scatter is known to a few percent.
    assert population.high_passed(one, observed, tmp_path / "clean") == pytest.approx(one.snr, rel=0.12)
    assert 3 < population.high_passed(one, observed, tmp_path / "red") < 0.85 * one.snr


LISTING = """\
             Summed  Coherent  Num        Period          Frequency         FFT 'r'        Freq Deriv       FFT 'z'
Cand  Sigma  Power    Power    Harm        (ms)             (Hz)             (bin)           (Hz/s)         (bins)
--------------------------------------------------------------------------------------------------------------------
1     20.27  272.60  1080.89    16       1012.3(5)        0.9878(5)        66.031(31)       0.00000(3)      0.00(13)
2     5.13   41.04     3.17     8        0.28922(8)     3.4575(9)x10^3     2.311(6)x10^5    0.00000(6)      0.00(25)

                        Power /          Raw           FFT 'r'          Pred 'r'       FFT 'z'     Pred 'z'
"""


def test_candidates_of_presto_are_read(tmp_path):
    (tmp_path / "a_ACCEL_0").write_text(LISTING)
    found = read_listing(tmp_path / "a_ACCEL_0")
    expected = [(20.27, 272.60, 16, 66.031, 0.0), (5.13, 41.04, 8, 231100, 0.0)]
    np.testing.assert_allclose(found, expected)
    (tmp_path / "a_ACCEL_0").write_text(LISTING.replace("2.311(6)x10^5 ", "1044352.313(63"))
    assert read_listing(tmp_path / "a_ACCEL_0")[1].r == 1044352.313
    assert read_listing(tmp_path / "none") == []


def test_plan_for_presto_has_no_holes():
    for seed in range(len(skies.SETUPS)):
        calls = presto_plan(skies.sky("clean", seed), 320.0)
        end = 0.0
        for low, step, number, _ in calls:
            assert low == pytest.approx(end)
            end = low + step * number
        assert end >= 320.0
        assert [down for *_, down in calls] == [2**n for n in range(len(calls))]


@pytest.mark.slow
def test_the_script(tmp_path):
    command = [sys.executable, str(SCRIPT), "--envs", "clean", "--first", "1", "--files", "1"]
    command += ["--verbose", "--keep", str(tmp_path / "kept"), "--json", str(tmp_path / "out.json")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| clean | 6 | " in text
    assert {p.name for p in (tmp_path / "kept").iterdir()} >= {"clean-1.fil", "clean-1.json", "clean-1.h5"}
    verdicts = json.loads((tmp_path / "out.json").read_text())
    assert len(verdicts[0]["fates"]) == 6
    wrong = subprocess.run([*command[:2], "--envs", "lions"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "lions" in wrong.stderr


def test_a_burst_is_recorded_with_its_snr_and_at_its_time(tmp_path):
    observed = replace(skies.sky("clean", 3, 0, 3), nsamps=140_000)
    assert len(observed.bursts) == 3
    partial = replace(observed.bursts[2], spectrum=(float(np.median(observed.freqs)), 100.0))
    observed = replace(observed, bursts=(*observed.bursts[:2], partial))
    skies.write(observed, tmp_path / "a.fil")
    pulls = []
    for one in observed.bursts:
        series = skies.dedispersed(observed, tmp_path / "a.fil", one.dm)
        sigma = one.width / 2.3548200450309493
        # A channel's own dispersion and the sampling draw it out by a little.
        sigma = np.sqrt(sigma**2 + (observed.tsamp**2 + (one.dm * np.median(observed.smears)) ** 2) / 12)
        times = (np.arange(observed.nsamps) + 0.5) * observed.tsamp
        shape = np.exp(-0.5 * ((times - one.time) / sigma) ** 2)
        pulls.append(shape @ series / np.sqrt(shape @ shape) - one.snr)
    assert np.abs(pulls).max() < 3.5


def test_pulsars_and_bursts_of_a_file_are_the_first_of_more():
    whole = skies.sky("all", 5, 6, 4)
    assert skies.sky("all", 5).pulsars == whole.pulsars
    assert skies.sky("all", 5, 2, 3).pulsars == whole.pulsars[:2]
    assert skies.sky("all", 5, 2, 3).bursts == whole.bursts[:3]
    assert whole.interference == skies.sky("all", 5).interference


def test_pulses_are_real_at_the_time_and_dm_of_a_burst_or_a_turn():
    observed = skies.sky("clean", 3, 1, 1)
    burst, one = observed.bursts[0], observed.pulsars[0]
    rows = empty_table(SINGLE_PULSE_COLUMNS, 5)
    rows["width"], rows["dm_err"] = burst.width, 0.01
    turn = (0.5 - one.phase + 7) * one.period
    rows["time"] = [burst.time, burst.time + 20 * burst.width, burst.time, turn, turn + 0.5 * one.period]
    rows["dm"] = [burst.dm, burst.dm, burst.dm + 200, one.dm, one.dm]
    rows["width"][3:] = one.width * one.period
    rows["snr"] = 8.0
    rows["snr"][3:] = one.snr / np.sqrt(observed.tobs / one.period)
    assert population.real_pulses(rows, observed).tolist() == [True, False, False, True, False]
    # No turn of it is so strong, and no box so wide.
    strong, wide = rows.copy(), rows.copy()
    strong["snr"][3] = 60.0
    wide["width"][0] *= 4.0
    assert population.real_pulses(strong, observed).tolist() == [True, False, False, False, False]
    assert not population.real_pulses(wide, observed)[0]
    # Where the DM is off, the middle of the band stays where it is.
    middle = float(np.median(observed.delays))
    rows["dm"][0], rows["dm_err"][0] = burst.dm + 8, 3.0
    rows["time"][0] = burst.time - 8 * middle
    assert population.real_pulses(rows, observed)[0]
    # A part of the band leaves the DM open as far as a width's delay there.
    part = rows[:1].copy()
    part["time"], part["dm_err"] = burst.time, 0.01
    part["dm"] = burst.dm + 3 * burst.width / np.ptp(observed.delays)
    assert not population.real_pulses(part, observed)[0]
    high = replace(observed, bursts=(replace(burst, spectrum=(observed.fch1, 20.0)),))
    assert population.real_pulses(part, high)[0]
    rows["rfi_flags"][0] = "narrow-band"
    fate = population.found_bursts(rows, observed)[0]
    assert (fate["rows"], fate["flagged"], fate["flags"]) == (0, 1, "narrow-band")


def test_reliability_of_scores_in_a_table():
    text = reliability_table("pulses", [(0.95, True)] * 19 + [(0.95, False)] + [(0.05, False)] * 20)
    assert "40 rows, 19 real; calibration error 0.0250" in text
    assert "| 0.9–1.0 | 0.950 | 0.950 " in text
    assert reliability_table("pulses", []) == "pulses: no rows"


def test_files_like_frex_hold_a_whole_burst_each():
    for seed in range(40):
        (burst,) = (observed := recall.draw_frex(seed, (8.0, 80.0))).bursts
        assert 8.0 <= burst.snr <= 80.0
        assert 0.0 < burst.time < burst.time + burst.dm * observed.delays.max() < observed.tobs
        assert observed.tobs == pytest.approx(6.04, abs=0.01)
