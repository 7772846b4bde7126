"""Order, scores and bookkeeping of candidates, and their rows."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.alike import alike
from reference.detections import FREQS, TOBS, curve, make_group
from reference.products import make_fold, make_header

import pulsar
from pulsar.config.model import Config
from pulsar.data.flags import BY_NAME
from pulsar.data.fold import FoldCube, FoldParams
from pulsar.data.series import TimeSeries
from pulsar.folding.refine import refine
from pulsar.io.memory import SeriesInMemory
from pulsar.pipeline.detect import Detected
from pulsar.pipeline.follow import Heads, marked, ordered, scored, steady_fold, thresholds
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means
from pulsar.pipeline.samples import Samples
from pulsar.pipeline.write import candidate_table
from pulsar.searches.sift import group
from pulsar.sources.candidate import Candidate
from pulsar.sources.features import features
from pulsar.sources.score import reasons
from pulsar_kernels.arrays import Floats


def folded(uid, snr=35.0, **more):
    fold = dataclasses.replace(make_fold(1), snr=snr)
    return Candidate(make_group(fold.after.freq, uid=uid), fold, features(fold, sigma=10.0), **more)


flags = st.lists(st.sampled_from(sorted(BY_NAME)), unique=True)


@given(flags=flags)
def test_a_score_is_that_of_the_features_times_the_worst_flag(flags):
    plain, one = scored(folded("a")), scored(folded("a", flags=tuple(flags)))
    assert one.score == pytest.approx(plain.score * min((BY_NAME[f].weight for f in flags), default=1.0))
    # Once judged or twice, it is the same.
    assert alike(scored(one), one)


def slow_cube(seed, hits, nsub=32, nbands=4, nbins=64):
    """A steady pulse of S/N 12, and impulses in some sub-integrations that add up half a bin of 1/T away."""
    rng = np.random.default_rng(seed)
    tobs, edges = 60.0, np.linspace(0.0, 60.0, nsub + 1)
    phase = (np.arange(nbins) + 0.5) / nbins
    data = 10.0 * rng.standard_normal((nsub, nbands, nbins))
    pulse = np.exp(-0.5 * ((phase - 0.3) / 0.03) ** 2)
    pulse -= pulse.mean()
    data += 12.0 * 10.0 * pulse / np.sqrt(nsub * nbands * np.sum(pulse**2))
    late = 0.6 - 0.5 / tobs * (0.5 * (edges[1:] + edges[:-1]) - 0.5 * tobs)
    for k in hits:
        away = (phase - late[k] + 0.5) % 1.0 - 0.5
        data[k] += 70.0 * np.exp(-0.5 * (away / 0.02) ** 2)
    variance = np.full(data.shape, 100.0)
    freqs = np.linspace(1480.0, 1120.0, nbands)
    return FoldCube(data.astype(np.float32), variance, edges, freqs, 1500.0, FoldParams(1.7), tobs, 1e-3, 59000.0)


def test_impulses_do_not_draw_a_fold_away_from_what_was_found():
    hit = slow_cube(1, (3, 14, 27))
    drawn = refine(hit, search_dm=False)
    assert "unsteady" in reasons(features(drawn))
    fold = steady_fold(hit, search_dm=False)
    assert "unsteady" not in reasons(features(fold))
    assert abs(fold.after.freq - 1.7) < 0.1 / fold.tobs
    assert fold.phase == pytest.approx(0.3, abs=0.02)
    # What repeats is the same fold, impulses or not.
    quiet = slow_cube(1, ())
    assert np.array_equal(steady_fold(quiet, search_dm=False).profile, refine(quiet, search_dm=False).profile)


def test_a_fold_that_is_nothing_but_impulses_stays_what_it_is():
    hit = slow_cube(2, (3, 14, 27))
    noise = dataclasses.replace(hit, data=hit.data - slow_cube(2, ()).data)
    noise.data[...] += np.float32(10.0) * np.random.default_rng(3).standard_normal(noise.data.shape).astype(np.float32)
    fold = steady_fold(noise, search_dm=False)
    assert np.array_equal(fold.profile, refine(noise, search_dm=False).profile)
    assert "unsteady" in reasons(features(fold))


def test_what_has_no_fold_has_no_score():
    one = Candidate(make_group(3.0))
    assert alike(scored(one), one)
    assert one.score == 0.0


@given(
    rows=st.lists(
        st.tuples(st.floats(0, 1), st.floats(5, 100), st.sampled_from(["", "p"]), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_best_first_and_what_belongs_to_another_last(rows):
    candidates = []
    for i, (score, snr, parent, has_fold) in enumerate(rows):
        one = folded(f"u{i}", snr, parent=parent, score=score if has_fold else 0.0)
        candidates.append(one if has_fold else dataclasses.replace(one, fold=None))
    out = ordered(candidates)
    assert sorted(c.uid for c in out) == sorted(c.uid for c in candidates)
    free = [c for c in out if not c.parent]
    assert out[: len(free)] == free
    for part in (free, out[len(free) :]):
        keys = [(c.score, -np.inf if c.fold is None else c.snr) for c in part]
        assert keys == sorted(keys, reverse=True)


def test_every_detection_is_told_whose_it_is():
    detections = np.concatenate([curve(13.3, 16, 400.0, 30.0, range(200)), curve(7.1, 8, 200.0, 60.0, range(200))])
    first, second = group(detections, TOBS, freqs=FREQS)
    owner = Candidate(first, make_fold(1))
    before = detections.copy()
    rows = marked(detections, [owner, Candidate(second, parent=owner.uid, relation="harmonic 8/15")])
    of_first = np.isin(np.arange(detections.size), first.members)
    assert set(rows["uid"][of_first]) == {first.uid}
    assert set(rows["parent"][of_first]) == set(rows["relation"][of_first]) == {""}
    assert set(rows["uid"][~of_first]) == {second.uid}
    assert set(rows["parent"][~of_first]) == {first.uid}
    assert set(rows["relation"][~of_first]) == {"harmonic 8/15"}
    assert set(marked(detections, [owner, Candidate(second)])["relation"][~of_first]) == {"not folded"}
    np.testing.assert_array_equal(detections, before)


def test_every_search_has_a_threshold():
    told = thresholds(Config())
    assert set(told) == {"fft", "coherent", "accel", "ffa", "pulses"}
    assert told["fft"] == Config().fft.threshold


def test_rows_name_their_parents():
    parent = folded("parent", nattached=3, found_by=("ffa", "fft"), alternative=0.5)
    child = Candidate(make_group(60.0, uid="child"), parent="parent", relation="harmonic 2", reasons=("one", "two"))
    orphan = Candidate(make_group(61.0, uid="orphan"), parent="not in the list", flags=("dm0", "mains"))
    table, folds = candidate_table([parent, child, orphan], make_header())
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["id"].tolist() == ["c0001", "c0002", "c0003"]
    assert table["uid"].tolist() == ["parent", "child", "orphan"]
    assert table["harmonic_of"].tolist() == ["", "c0001", ""]
    assert table["reasons"].tolist() == ["", "one; two", ""]
    assert table["rfi_flags"].tolist() == ["", "", "dm0,mains"]
    assert table["found_by"][0] == "ffa,fft"
    assert table["nattached"].tolist() == [3, 0, 0]
    assert table["period_alt"][0] == 0.5
    assert np.isnan(table["period_alt"][1:]).all()
    assert [ident for ident, _ in folds] == ["c0001"]
    np.testing.assert_allclose(table["period"], 1.0 / np.array([parent.freq, 60.0, 61.0]))
    assert np.isnan(table["snr"][1:]).all()


def wave_beside(seed: int, snr: float, walk: float, wave: float) -> pulsar.TimeSeries:
    """A pulsar of 1.3 s in red noise and a wave at twice its period."""
    tsamp, nsamps = 2e-3, 39_000
    rng = np.random.default_rng(seed)
    turns = (np.arange(nsamps) - 0.5 * nsamps) * tsamp / 1.3
    pulse = np.exp(-4.0 * np.log(2.0) * ((turns - 0.3 - np.rint(turns - 0.3)) / 0.17) ** 2)
    pulse *= snr / np.sqrt(np.sum((pulse - pulse.mean()) ** 2))
    noise = walk * np.cumsum(rng.standard_normal(nsamps)) * np.sqrt(tsamp) + rng.standard_normal(nsamps)
    return pulsar.TimeSeries((noise + pulse + wave * np.sin(np.pi * turns)).astype(np.float32), tsamp)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("snr", "red"), [(120.0, 1.0), (250.0, 2.0)])
def test_a_wave_of_red_noise_at_twice_the_period_makes_no_other_row(
    snr: float, red: float, seed: int, tmp_path: Path
) -> None:
    run = pulsar.search(wave_beside(seed, snr, red, red), out=tmp_path / "run.h5")
    own = [row["period"] for row in run.rows("candidates") if not row["parent"] and row["score"] > 0.1]
    assert own == pytest.approx([1.3], rel=1e-3)


def test_pulses_that_vary_over_few_turns_make_no_longer_period(tmp_path: Path) -> None:
    """Of 45 turns the means of each second or third differ by chance."""
    tsamp, nsamps, period, right = 2e-3, 34_000, 1.5, 0
    for seed in range(12, 20):
        rng = np.random.default_rng(seed)
        turns = (np.arange(nsamps) - 0.5 * nsamps) * tsamp / period - 0.3
        number = np.rint(turns).astype(int)
        pulse = np.exp(-4.0 * np.log(2.0) * ((turns - number) / 0.12) ** 2)
        pulse *= rng.exponential(1.0, np.ptp(number) + 1)[number - number.min()]
        pulse *= 200.0 / np.sqrt(np.sum((pulse - pulse.mean()) ** 2))
        data = (rng.standard_normal(nsamps) + pulse).astype(np.float32)
        run = pulsar.search(pulsar.TimeSeries(data, tsamp), out=tmp_path / f"{seed}.h5")
        own = [row["period"] for row in run.rows("candidates") if not row["parent"] and row["score"] > 0.1]
        right += own == pytest.approx([period], rel=1e-3)
    assert right == 8


@pytest.mark.parametrize("seed", [8000, 8006, 8012])
def test_a_source_is_as_sure_as_the_surest_detection_at_its_frequency(seed: int, tmp_path: Path) -> None:
    series = wave_beside(seed, 120.0, 1.0, 0.5)
    run = pulsar.search(series, out=tmp_path / "run.h5")
    detections, row = run.rows("detections"), run.rows("candidates")[0]
    near = np.abs(detections["freq"] - row["freq"]) * series.data.size * series.tsamp < 0.3
    assert row["period"] == pytest.approx(1.3, rel=1e-3)
    assert near.sum() > 1
    assert row["sigma"] == detections["sigma"][near].max()
    assert run.fold(run.ids[0]).extra["features"]["sigma"] == pytest.approx(row["sigma"])
    assert row["found_by"].split(",")[0] == row["kind"]


def test_what_is_folded_already_is_not_folded_anew(monkeypatch):
    """At four times the period of a pulsar there are four equal pulses: it is the fold at the period that there is."""
    rng = np.random.default_rng(5)
    phase = (np.arange(40_000) + 0.5) * 1e-3 / 0.25
    data = rng.standard_normal(40_000) + 2.0 * (phase % 1.0 < 0.05)
    samples = Samples(SeriesInMemory(TimeSeries(data.astype(np.float32), 1e-3)))
    empty = np.zeros(0)
    detected = Detected(empty, empty, empty, empty, empty, [])
    folded, cubes = [], Samples.cubes

    def watched(self, params, *rest):
        folded.extend(round(p.freq, 2) for p in params)
        return cubes(self, params, *rest)

    monkeypatch.setattr(Samples, "cubes", watched)
    how = detected, Config(), Means(1, 1 << 28, Path(), Progress("quiet")), {}
    alone = Heads(samples, *how).folds([FoldParams(1.0)])[0]
    assert folded == [1.0, 4.0]
    folded.clear()
    heads = Heads(samples, *how)
    fold = heads.folds([FoldParams(4.0)])[0]
    # The best of those that there are; none of another part or frequency.
    heads.made.insert(0, dataclasses.replace(fold, snr=5.0))
    heads.made.insert(0, dataclasses.replace(fold, snr=500.0, part="1/2"))
    heads.made.insert(0, dataclasses.replace(fold, snr=500.0, after=FoldParams(fold.after.freq + 1.0 / fold.tobs)))
    assert heads.folds([FoldParams(1.0)])[0] is fold
    assert folded == [4.0, 1.0]
    assert abs(alone.after.freq - fold.after.freq) < 4.0 * fold.freq_err


def drifting(seed: int, snr: float, times: Floats, another: float = 0.0) -> Floats:
    """A pulsar of 0.83 s whose subpulses drift, and one of 0.0611 s and an S/N."""
    rng = np.random.default_rng(seed)
    turns = times / 0.83
    number = np.rint(turns)
    subpulses = 1.0 + np.cos(2.0 * np.pi * ((turns - number) / 0.02 - number / rng.uniform(2.1, 9.0)))
    pulse = np.exp(-4.0 * np.log(2.0) * ((turns - number) / 0.04) ** 2) * subpulses
    turns = times / 0.0611 - 0.3
    other = np.exp(-4.0 * np.log(2.0) * ((turns - np.rint(turns)) / 0.1) ** 2)
    signals = [(snr, pulse), (another, other)]
    return np.sum([size * (x - x.mean()) / np.sqrt(np.sum((x - x.mean()) ** 2)) for size, x in signals], axis=0)


def test_subpulses_that_drift_make_no_other_rows_and_hide_no_other_pulsar(tmp_path: Path) -> None:
    tsamp, nsamps = 1e-3, 200_000
    rng, times = np.random.default_rng(1), (np.arange(nsamps) - 0.5 * nsamps) * tsamp
    data = rng.standard_normal(nsamps) + drifting(1, 60.0, times, 14.0)
    run = pulsar.search(pulsar.TimeSeries(data.astype(np.float32), tsamp), out=tmp_path / "run.h5")
    rows = run.rows("candidates")
    own = [row["period"] for row in rows if not row["parent"] and row["score"] > 0.1]
    assert own == pytest.approx([0.83, 0.0611], rel=1e-3)
    varying = rows[rows["relation"] == "modulation"]
    assert varying.size > 3
    assert set(varying["parent"]) == {rows["uid"][0]}


def test_subpulses_of_a_pulsar_that_is_taken_out_of_raw_data_belong_to_it(tmp_path: Path) -> None:
    tsamp, nsamps, dm = 1e-3, 100_000, 40.0
    freqs = 1400.0 - 20.0 * np.arange(12)
    rng, times = np.random.default_rng(4), (np.arange(nsamps) - 0.5 * nsamps) * tsamp
    delays = 4148.808 * dm * (freqs**-2.0 - freqs[0] ** -2.0)
    data = np.array([rng.standard_normal(nsamps) + drifting(4, 80.0 / np.sqrt(12), times - late) for late in delays])
    obs = pulsar.Filterbank.from_array(
        np.clip(np.rint(100.0 + 16.0 * data), 0, 255).astype(np.uint8), freqs, tsamp, order="channel, time"
    )
    config = pulsar.load_config(None, ["ffa.p_max=1.5", "single_pulse.enabled=false"])
    run = pulsar.search(obs, config, out=tmp_path / "run.h5", dm=(20, 60))
    rows = run.rows("candidates")
    own = [row["period"] for row in rows if not row["parent"] and row["score"] > 0.1]
    assert own == pytest.approx([0.83], rel=1e-3)
    assert np.count_nonzero(rows["relation"] == "modulation") > 3
