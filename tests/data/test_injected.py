"""Shares with their intervals, recall in bins, the S/N of a share, and the reliability of scores."""

import numpy as np
import pytest

from pulsar.data.candidate import empty_table
from pulsar.data.injected import (
    INJECTED_COLUMNS,
    ROW_COLUMNS,
    in_words,
    recall,
    reliability,
    threshold_at,
    threshold_interval,
    wilson,
)
from pulsar.errors import ConfigError


def injected(snrs, found, listed=None, **columns):
    rows = empty_table(INJECTED_COLUMNS, len(snrs))
    rows["kind"], rows["snr"], rows["found"] = "pulsar", snrs, found
    rows["listed_snr"] = np.where(found, snrs if listed is None else listed, np.nan)
    for name, values in columns.items():
        rows[name] = values
    return rows


def test_wilson_is_the_interval_in_which_a_share_is_one_sigma_from_what_was_found():
    found, tried = np.array([0, 3, 10, 91]), np.array([10, 10, 10, 100])
    low, high = wilson(found, tried)
    # What defines it: at either end the number found is one standard deviation away.
    ends = [*zip(low[1:], found[1:], tried[1:], strict=True), *zip(high[:2], found[:2], tried[:2], strict=True)]
    away = [abs(k - n * p) / np.sqrt(n * p * (1 - p)) for p, k, n in ends]
    np.testing.assert_allclose(away, 1.0, rtol=1e-9)
    assert low[0] == 0.0
    assert high[2] == pytest.approx(1.0)
    assert high[0] == pytest.approx(1 / 11)
    assert low[3] < 0.91 < high[3]
    assert high[3] - low[3] == pytest.approx(2 * 0.0287, abs=0.002)


def test_of_nothing_no_share_is_known():
    low, high = wilson(0, 0)
    assert np.isnan(low)
    assert np.isnan(high)


def test_recall_counts_each_signal_once_and_its_snr():
    rows = injected([6.0, 6.5, 7.0, 9.9, 20.0], [0, 1, 1, 0, 1], [0, 5.2, 7.7, 0, 18.0])
    curve = recall(rows, edges=[6, 7, 10, 20])
    assert curve["tried"].tolist() == [2, 2, 1]
    assert curve["found"].tolist() == [1, 1, 1]
    assert curve["recall"].tolist() == [0.5, 0.5, 1.0]
    np.testing.assert_allclose(curve["snr_kept"], [0.8, 1.1, 0.9])
    assert (curve["recall_low"] < curve["recall"]).all()


def test_recall_by_another_column_has_bins_of_equal_numbers():
    rows = injected(np.full(40, 10.0), np.arange(40) >= 20, period=np.geomspace(1e-3, 1.0, 40))
    curve = recall(rows, "period")
    assert curve["tried"].tolist() == [10, 10, 10, 10]
    assert curve["found"].tolist() == [0, 0, 10, 10]


def test_the_snr_of_a_share_is_where_the_rising_curve_reaches_it():
    snrs = np.arange(6.0, 16.0)
    rows = injected(snrs, [0, 0, 1, 0, 1, 0, 1, 1, 1, 1])
    # 8 and 9 are pooled, and so are 10 and 11: half of each.
    assert threshold_at(rows, 0.5) == 8.0
    assert threshold_at(rows, 0.9) == 12.0
    assert np.isnan(threshold_at(injected(snrs, np.zeros(10)), 0.5))
    assert np.isnan(threshold_at(injected([], []), 0.5))


def test_reliability_counts_rows_by_score():
    rows = empty_table(ROW_COLUMNS, 5)
    rows["score"] = [0.92, 0.93, 1.0, 0.4, 0.94]
    rows["origin"] = ["injected", "other", "injected", "sky", "sky"]
    told = reliability(rows, edges=(0.0, 0.5, 0.9, 0.95, 1.0))
    assert told["injected"].tolist() == [0, 0, 1, 1]
    assert told["other"].tolist() == [0, 0, 1, 0]
    assert told["sky"].tolist() == [1, 0, 1, 0]
    np.testing.assert_allclose(told["reliability"], [np.nan, np.nan, 0.5, 1.0])


def test_in_words():
    rows = injected(np.arange(6.0, 16.0), [0, 0, 1, 0, 1, 0, 1, 1, 1, 1], 0.9 * np.arange(6.0, 16.0))
    beside = empty_table(ROW_COLUMNS, 5)
    beside["kind"], beside["score"] = "pulsar", [0.95, 1.0, 0.2, 0.97, 0.99]
    beside["origin"] = ["injected", "injected", "other", "other", "sky"]
    first, second = in_words(rows, beside)
    assert first == (
        "6 of 10 injected pulsars are found (44 to 74 %), half of those of S/N 8.0, nine tenths from 12.0 on; "
        "of the S/N the list has 0.90"
    )
    assert second == "of 3 rows with a score of 0.9 or more that they make, 2 are true (39 to 86 %)"
    assert in_words(rows[:0], beside) == ["nothing could be injected: no period or burst has room in these data"]


def test_recall_by_what_is_no_column_is_refused():
    with pytest.raises(ConfigError, match="by one of snr, period"):
        recall(injected([7.0], [1]), "colour")


@pytest.mark.parametrize("edges", [[6], [8, 7], [6, 6, 7], [[6, 7], [7, 8]]])
def test_edges_that_make_no_bins_are_refused(edges):
    with pytest.raises(ConfigError, match="two numbers or more"):
        recall(injected([6.0, 7.0], [0, 1]), edges=edges)


def test_recall_by_what_these_signals_have_not_is_refused():
    rows = injected([6.0, 7.0], [0, 1])
    rows["period"] = np.nan
    with pytest.raises(ConfigError, match="pulsars have none"):
        recall(rows, "period")


def test_bins_reach_as_far_as_there_are_signals():
    assert recall(injected([7.0, 19.0], [1, 1]))["low"].tolist() == [6, 7, 8, 9, 10, 12, 15]
    wide = recall(injected([4.5, 40.0], [0, 1]))
    assert [*wide["low"], wide["high"][-1]] == [4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50]
    assert wide["tried"].sum() == 2
    assert recall(injected([1.0, 2500.0], [0, 1]))["tried"].sum() == 2


def test_the_interval_of_a_threshold_holds_it_and_shrinks_with_their_number():
    rng = np.random.default_rng(5)
    widths = []
    for count in (50, 800):
        snr = rng.uniform(6, 20, count)
        rows = injected(snr, rng.uniform(size=count) < 1 / (1 + np.exp(10 - snr)))
        low, high = threshold_interval(rows, 0.5)
        assert 8.0 < low <= high < 12.0
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_the_interval_of_a_threshold_that_is_not_reached_has_no_end():
    rows = injected(np.linspace(6, 20, 40), np.zeros(40))
    assert threshold_interval(rows) == (np.inf, np.inf)
    assert np.isnan(threshold_interval(rows[:0])).all()
