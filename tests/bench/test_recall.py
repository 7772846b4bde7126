"""What the scenarios of recall.py are counted by, and that the constants of searches can be counted in noise."""

import noise
import numpy as np
import pytest
import recall
from shared import Outcome, gaussian_pulses, kernel_clock, rows_near, share, white_noise

from pulsar.config.model import FFTConfig
from pulsar.data.header import Header
from pulsar.searches.fft import FFTSearch


def test_outcomes_are_counted_by_group_and_by_search(capsys):
    nan = float("nan")
    values = ((10.0, 9.0), (8.0, nan), (nan, 6.0), (5.0, 5.0))
    recall.count(
        Outcome(f"signal {n}", {"first": a, "second": b}, "a remark" if n == 1 else "", ("odd",) if n % 2 else ())
        for n, (a, b) in enumerate(values)
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "signal 1: first 8.000, second MISSED; a remark"
    assert lines[4].startswith("odd, first: 2 of 2 (66.7–100.0 %) found: mean 6.5000 ± 1.0607, median 6.500 (")
    assert lines[5].startswith("odd, second: 1 of 2 ")
    assert lines[9].startswith("all: of those of first second lacks 1 of 3 ")
    assert "and has 1 others; second over first: mean 0.9500 ± 0.0354, median 0.950" in lines[9]


def test_rows_near_a_signal_stand_for_themselves():
    header = Header(nchans=64, nsamps=1000, tsamp=0.1, fch1=1500.0, foff=-4.0, tstart=60000.0)
    rows = np.zeros(4, dtype=[("freq", "f8"), ("dm", "f8"), ("harmonic_of", "U8"), ("rank", "i8")])
    rows["freq"], rows["dm"], rows["rank"] = [2.0, 2.0, 2.0, 2.004], [50.0, 50.5, 53.0, 50.0], [1, 2, 3, 4]
    rows["harmonic_of"][0] = "c0001"
    assert rows_near(rows, header, freq=2.0, bins=0.3, dm=50.0, dm_off=1.0)["rank"].tolist() == [2]
    assert share(0, 0) == "0 of 0"


def test_pulses_have_no_mean_and_unit_squares():
    pulses = gaussian_pulses(np.arange(10_000) / 1000.0 + 0.3, 0.1)
    assert pulses.mean() == pytest.approx(0.0, abs=1e-12)
    assert np.sum(pulses**2) == pytest.approx(1.0)
    assert np.mean(pulses[:1000] - pulses.min() > 0.5 * np.ptp(pulses)) == pytest.approx(0.1, abs=0.003)


def test_kernels_are_timed_and_left_as_they_were():
    from pulsar_kernels import harmonics

    search, kernel = FFTSearch(1 << 12, 1e-3, FFTConfig()), harmonics.harmonic_peaks
    search.search(white_noise(1 << 12, 1))
    with kernel_clock() as spent:
        search.search(white_noise(1 << 12, 1))
    assert harmonics.harmonic_peaks is kernel
    assert 0.0 < spent["harmonic_peaks"] < 10.0


def test_trials_of_a_search_are_counted_at_each_threshold(capsys):
    noise.fft(seeds=40, log2n=12)
    single = capsys.readouterr().out.splitlines()[1]
    assert single.startswith("1 harmonics")
    found = [int(part.partition(")")[0]) for part in single.split("(")[1:]]
    # 3.7 independent trials a bin: 30 of 2^11 bins and 40 series at 1e-4, 3 at 1e-5.
    assert 15 < found[0] < 60
    assert found[0] > found[1] >= found[2] >= found[3]


def test_chance_detections_are_held_against_the_promise(capsys):
    noise.series("fft", threshold=-2.0, seeds=20, log2n=12)
    line = capsys.readouterr().out
    assert "in 20, 75.66 promised" in line
    assert 40 < int(line.split(": ")[1].split()[0]) < 130
