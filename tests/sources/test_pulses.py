"""Verdicts on single pulses: DM 0 not excluded, widths at their limit, storms, order."""

import numpy as np
import pytest

from pulsar.data.candidate import SINGLE_PULSE_COLUMNS, empty_table
from pulsar.sources.pulses import (
    add_flag,
    in_order,
    judge,
    lower_what_comes_in_numbers,
    merge_storm,
    of_one_dm,
    storm,
)

DMS = np.linspace(0.0, 500.0, 501)


def table_of(times, dms, snrs, widths=1e-3, dm_errs=0.5):
    table = empty_table(SINGLE_PULSE_COLUMNS, len(times))
    table["time"], table["dm"], table["snr"] = times, dms, snrs
    table["sigma"] = table["snr"] - 1.0
    table["width"], table["dm_err"] = widths, dm_errs
    table["score"], table["ndetections"] = 1.0, 3
    return table


def noise(n, seed=1, threshold=7.0):
    """Events of a storm: any time and DM, S/N that fall off from the threshold."""
    rng = np.random.default_rng(seed)
    return table_of(rng.uniform(0, 60, n), rng.uniform(0, 500, n), threshold + rng.exponential(0.5, n))


def test_bumps_of_the_level_score_less_than_a_burst():
    table = table_of([1.0, 2.0, 3.0], [180.0, 180.0, 180.0], [16.0, 40.0, 40.0], [6e-3, 0.25, 0.1])
    judge(table, np.array([5.0, 39.5, 39.0]), np.zeros(3, dtype=bool), 0.25, dms=DMS)
    assert table["score"][0] == 1.0
    assert (table["score"][1:] < 0.5).all()
    assert list(table["rfi_flags"]) == ["", "width limit", ""]


def test_what_the_level_may_make_at_the_end_scores_less():
    table = table_of([1.0, 2.0], [180.0, 180.0], [16.0, 16.0])
    judge(table, np.array([5.0, 5.0]), np.array([False, True]), 0.25, dms=DMS)
    assert table["score"][0] == 1.0
    assert 0.0 < table["score"][1] < 0.5


def test_nothing_is_said_of_dm_zero_where_it_is_not_searched():
    table = table_of([1.0], [180.0], [16.0])
    judge(table, np.array([16.0]), np.zeros(1, dtype=bool), 0.25, dms=DMS + 100.0)
    assert table["score"][0] == 1.0
    assert table["rfi_flags"][0] == ""


def test_without_other_dms_no_pulse_is_sure():
    table = table_of([1.0], [62.0], [16.0], dm_errs=np.nan)
    judge(table, np.array([16.0]), np.zeros(1, dtype=bool), 0.25, dms=np.array([62.0]))
    assert 0.0 < table["score"][0] < 0.5
    assert table["rfi_flags"][0] == ""


def test_what_may_as_well_be_at_dm_zero_is_flagged_only_where_no_pulsar_is():
    table = table_of([1.0, 2.0], [1.4, 8.0], [25.0, 25.0])
    judge(table, np.array([24.0, 24.0]), np.zeros(2, dtype=bool), 0.25, dms=DMS)
    assert list(table["rfi_flags"]) == ["dm0", ""]
    assert (table["score"] < 0.5).all()


def test_a_storm_is_one_row_and_a_strong_burst_is_none_of_it():
    table = np.concatenate([noise(300), table_of([23.4], [180.0], [16.0])])
    told = np.zeros(301, dtype=bool)
    rows = storm(table, told, told, 7.0, dms=DMS.size)
    assert rows.size == 300
    out = in_order(merge_storm(table, rows))
    assert len(out) == 2
    assert out["dm"][0] == 180.0
    assert list(out["rfi_flags"]) == ["", "storm"]
    assert out["ndetections"][1] == 900
    assert list(out["rank"]) == [1, 2]


@pytest.mark.parametrize("n", [0, 5, 11])
def test_few_events_are_no_storm(n):
    assert storm(noise(n), np.zeros(n, bool), np.zeros(n, bool), 7.0, dms=DMS.size).size == 0


def test_pulses_of_one_dm_are_no_storm():
    rng = np.random.default_rng(3)
    source = table_of(rng.uniform(0, 60, 15), 57.0 + rng.normal(0, 0.3, 15), 7.0 + rng.exponential(0.5, 15))
    table = np.concatenate([noise(200), source])
    near = np.flatnonzero(np.abs(table["dm"] - 57.0) < 1.5)
    spared = of_one_dm(table, [near, np.array([0, 1, 2])], DMS)
    assert spared[200:].all()
    assert not spared[[0, 1, 2]].any()
    rows = storm(table, np.zeros(215, bool), spared, 7.0, dms=DMS.size)
    assert not np.isin(np.arange(200, 215), rows).any()


def test_what_follows_a_dispersed_pulse_is_no_storm():
    assert storm(noise(100), np.ones(100, bool), np.zeros(100, bool), 7.0, dms=DMS.size).size == 0


def test_in_a_single_series_only_a_clump_is_a_storm():
    rng = np.random.default_rng(5)
    none = np.zeros(60, bool)
    assert storm(noise(60), none, none, 7.0, dms=1).size == 0
    table = noise(60)
    table["time"][:40] = 30.0 + rng.uniform(0, 0.9, 40)
    rows = storm(table, none, none, 7.0, dms=1)
    assert np.isin(np.arange(40), rows).sum() >= 38
    assert rows.size <= 44


def test_a_flag_is_added_once():
    table = table_of([1.0], [10.0], [8.0])
    for name in ("cut", "storm", "cut"):
        add_flag(table, np.array([True]), name)
    assert table["rfi_flags"][0] == "cut,storm"


def test_pulses_flagged_alike_share_the_score_of_few():
    table = empty_table(SINGLE_PULSE_COLUMNS, 9)
    table["time"] = [10.0, 20.0, 30.0, 35.0, 40.0, 300.0, 32.0, 33.0, 34.0]
    table["rfi_flags"] = ["dm0", "dm0", "dm0,narrow-band", "dm0", "dm0", "dm0", "narrow-band", "", "dm0"]
    table["source"][8] = "c1"
    table["score"] = 0.1
    lower_what_comes_in_numbers(table)
    # Five impulses within half a minute; one alone, two of a band, one without a flag and one of a candidate are few.
    assert table["score"] == pytest.approx([0.06, 0.06, 0.06, 0.06, 0.06, 0.1, 0.1, 0.1, 0.1])
    # Those at the ends of the half minute do not see each other.
    table["time"][:2] = [5.0, 9.0]
    table["score"] = 0.1
    lower_what_comes_in_numbers(table)
    assert table["score"][:5] == pytest.approx([0.1 * 3 / 4, 0.1 * 3 / 4, 0.06, 0.06, 0.1])
