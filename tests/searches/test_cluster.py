import numpy as np
import pytest

from pulsar.config.model import SinglePulseConfig
from pulsar.constants import KDM
from pulsar.data.candidate import EVENT_COLUMNS, SINGLE_PULSE_COLUMNS, dtype_of
from pulsar.errors import DataError
from pulsar.searches.cluster import band_delays, cluster
from pulsar.searches.single_pulse import SinglePulseSearch

FAST = np.linspace(1499.9, 1000.1, 256)
ASKAP = np.linspace(1464.5, 1129.5, 336)
N, TSAMP = 8192, 1e-3


def observed(bursts, freqs, dms, seed=1, snr=7.0, noise=True, tsamp=TSAMP, n=N):
    """Events of series at all `dms`, each made directly: bursts of (time, dm, S/N, width) and noise."""
    rng = np.random.default_rng(seed)
    search = SinglePulseSearch(n, tsamp, SinglePulseConfig(snr=snr))
    delay = KDM * (freqs**-2.0 - freqs.max() ** -2.0)
    events = []
    for row, dm in enumerate(dms):
        x = rng.standard_normal(n) if noise else 1e-3 * rng.standard_normal(n)
        edges = np.arange(n + 1) * tsamp
        for time, dm0, strength, width, *chans in bursts:
            band = slice(*chans) if chans else slice(None)
            starts = time - 0.5 * width + (dm0 - dm) * delay[band]
            # What has arrived of each channel's box by every edge.
            near = slice(max(int((starts.min() - 0.1) / tsamp), 0), int((starts.max() + width + 0.1) / tsamp) + 2)
            part = np.clip((edges[near][None, :] - starts[:, None]) / width, 0, 1).mean(axis=0)
            x[near][: len(part) - 1] += strength * np.sqrt(width / tsamp) * np.diff(part)
        events.append(search.search(x.astype(np.float32), dm=float(dm), dm_index=row))
    return np.concatenate(events)


def clustered(events, dms, freqs, **options):
    values = {"tobs": N * TSAMP, "tstart": 60000.0, "ntrials": 1e9} | options
    return cluster(events, dms, freqs, np.full(len(dms), TSAMP), **values)


@pytest.mark.parametrize("freqs", [FAST, ASKAP], ids=["FAST", "ASKAP"])
@pytest.mark.parametrize("dm", [0.0, 50.0, 500.0, 2000.0])
@pytest.mark.parametrize("snr", [9.0, 30.0, 300.0])
def test_a_bow_tie_is_one_pulse(freqs, dm, snr):
    step = 1.0 if snr < 100 else 4.0
    dms = np.unique(np.clip(dm + step * np.arange(-80, 81), 0, None))
    events = observed([(4.0, dm, snr, 4e-3)], freqs, dms, seed=int(dm + snr))
    found = clustered(events, dms, freqs)
    assert len(found) == 1
    (row,) = found.table
    assert found.table.dtype == dtype_of(SINGLE_PULSE_COLUMNS)
    assert abs(row["dm"] - dm) < 4 * row["dm_err"]
    _, e_lo, _ = band_delays(freqs)
    assert abs(row["time"] - 4.0) < 4 * row["dm_err"] * e_lo + 2e-3
    assert abs(row["snr"] - snr) < 4 + 0.1 * snr
    assert (row["rank"], row["id"], row["ndetections"], row["beam"]) == (1, "p0001", len(events), -1)
    assert row["mjd"] == pytest.approx(60000 + row["time"] / 86400, abs=1e-12)
    assert np.array_equal(found.members(0), np.arange(len(events)))
    assert ("dm0" in row["rfi_flags"]) == (dm == 0)
    assert row["score"] > 0.5 or dm == 0


def test_two_pulses_30_ms_apart_stay_two():
    dms = np.arange(400.0, 601.0)
    for strengths in ((40.0, 40.0), (100.0, 12.0), (15.0, 12.0)):
        bursts = [(4.0, 500.0, strengths[0], 3e-3), (4.03, 500.0, strengths[1], 3e-3)]
        found = clustered(observed(bursts, FAST, dms, seed=5), dms, FAST)
        assert len(found) == 2
        np.testing.assert_allclose(np.sort(found.table["time"]), [4.0, 4.03], atol=4e-3)
        assert np.all(np.abs(found.table["dm"] - 500) < 4 * found.table["dm_err"])


def test_pulses_of_two_dms_stay_two():
    dms = np.arange(0.0, 400.0)
    bursts = [(4.0, 100.0, 30.0, 3e-3), (4.1, 300.0, 20.0, 3e-3)]
    found = clustered(observed(bursts, FAST, dms), dms, FAST)
    assert np.abs(found.table["dm"] - [100, 300]).max() < 2
    assert len(found) == 2


def test_a_pulse_in_part_of_the_band_is_one():
    dms = np.arange(300.0, 700.0, 2.0)
    found = clustered(observed([(4.0, 500.0, 60.0, 4e-3, 180, 256)], FAST, dms), dms, FAST)
    assert len(found) == 1
    assert abs(found.table["dm"][0] - 500) < 10


def test_undispersed_interference_is_flagged():
    dms = np.arange(0.0, 200.0)
    found = clustered(observed([(4.0, 0.0, 40.0, 10e-3)], FAST, dms), dms, FAST)
    assert list(found.table["rfi_flags"]) == ["dm0"]
    assert found.table["score"][0] < 0.15
    # A true pulse at a DM that a plan with DM 0 can tell apart.
    found = clustered(observed([(4.0, 60.0, 40.0, 10e-3)], FAST, dms), dms, FAST)
    assert list(found.table["rfi_flags"]) == [""]


def events_of(rows):
    table = np.zeros(len(rows), dtype=dtype_of(EVENT_COLUMNS))
    for name, values in zip(("dm_index", "dm", "time", "snr", "width"), zip(*rows, strict=True), strict=True):
        table[name] = values
    table["reach"] = np.inf
    return table


def test_one_event_where_there_must_be_many_has_no_curve():
    dms = np.arange(0.0, 100.0, 0.1)
    found = clustered(events_of([(500, 50.0, 3.0, 25.0, 20e-3)]), dms, FAST, threshold=7.0)
    assert list(found.table["rfi_flags"]) == ["nodm"]
    assert found.table["score"][0] < 0.1
    # Unless the level hides what would be hardly wider.
    events = events_of([(500, 50.0, 3.0, 25.0, 20e-3)])
    events["reach"] = 20e-3
    assert list(clustered(events, dms, FAST, threshold=7.0).table["rfi_flags"]) == [""]


def test_what_sweeps_out_of_the_data_is_flagged():
    dms = np.arange(400.0, 600.0)
    found = clustered(observed([(7.5, 500.0, 30.0, 4e-3)], FAST, dms), dms, FAST)
    assert list(found.table["rfi_flags"]) == ["cut"]
    assert not found.at_end.any()


@pytest.mark.parametrize(("snr", "step", "made"), [(7.3, 4.0, True), (30.0, 1.0, False)])
def test_what_sweeps_out_of_the_data_must_be_seen_at_several_dms(snr, step, made):
    dms = np.arange(400.0, 600.0, step)
    events = observed([(7.5, 500.0, snr, 4e-3)], FAST, dms)
    found = clustered(events[events["snr"] >= 7.0], dms, FAST, threshold=7.0)
    assert list(found.table["rfi_flags"]) == ["cut"]
    assert found.at_end.tolist() == [made]


@pytest.mark.parametrize(("width", "reach", "made"), [(200e-3, 0.3, True), (200e-3, np.inf, False), (4e-3, 0.3, False)])
def test_a_level_that_wanders_makes_wide_pulses_at_the_end(width, reach, made):
    dms = np.arange(100.0, 300.0)
    events = observed([(7.9, 200.0, 12.0, width)], FAST, dms)
    events["reach"] = reach
    found = clustered(events, dms, FAST)
    assert list(found.table["rfi_flags"]) == ["cut"]
    assert found.at_end.tolist() == [made]


@pytest.mark.parametrize(("time", "made"), [(8.188, True), (8.1, False)])
def test_what_begins_within_its_width_of_the_end_is_in_the_last_channels_only(time, made):
    dms = np.arange(100.0, 300.0)
    found = clustered(observed([(time, 200.0, 12.0, 8e-3)], FAST, dms), dms, FAST)
    assert list(found.table["rfi_flags"]) == ["cut"]
    assert found.at_end.tolist() == [made]


def test_no_channel_of_a_series_ends_before_another():
    events = events_of([(0, 50.0, 8.1, 12.0, 0.2)])
    events["reach"] = 0.3
    found = clustered(events, np.array([50.0]), np.array([1400.0]))
    assert found.table["time"][0] + found.table["width"][0] > 8.192
    assert not found.at_end.any()


def test_no_events_and_wrong_dms():
    assert len(clustered(np.zeros(0, dtype_of(EVENT_COLUMNS)), np.arange(3.0), FAST)) == 0
    nothing = clustered(events_of([(1, 1.0, np.nan, 8.0, 1e-3), (1, 1.0, 1.0, np.nan, 1e-3)]), np.arange(3.0), FAST)
    assert len(nothing) == 0
    assert nothing.labels.tolist() == [-1, -1]
    with pytest.raises(DataError, match="plan of 3"):
        clustered(events_of([(3, 3.0, 1.0, 8.0, 1e-3)]), np.arange(3.0), FAST)


def test_one_dm_only():
    found = clustered(events_of([(0, 7.0, 1.0, 9.0, 1e-3), (0, 7.0, 2.0, 8.0, 1e-3)]), np.array([7.0]), FAST)
    assert len(found) == 2
    assert np.all(np.isnan(found.table["dm_err"]))
    assert np.all(found.table["dm"] == 7.0)
    assert np.all(found.table["score"] == 1.0)


def test_the_order_of_events_does_not_matter():
    dms = np.arange(400.0, 600.0)
    events = observed([(3.0, 500.0, 40.0, 4e-3), (5.0, 450.0, 20.0, 10e-3)], FAST, dms)
    a = clustered(events, dms, FAST)
    shuffled = np.random.default_rng(1).permutation(len(events))
    b = clustered(events[shuffled], dms, FAST)
    assert a.table.tobytes() == b.table.tobytes()
    assert np.array_equal(a.labels[shuffled], b.labels)


def test_too_many_events_are_cut_to_the_strongest():
    dms = np.arange(400.0, 600.0)
    events = observed([(3.0, 500.0, 40.0, 4e-3), (5.0, 450.0, 20.0, 10e-3)], FAST, dms)
    found = clustered(events, dms, FAST, max_events=20)
    assert found.dropped == len(events) - 20
    assert np.count_nonzero(found.labels >= 0) == 20
    assert all("many" in flags for flags in found.table["rfi_flags"])
