"""The zoo of interference: its observations are what they say, and its judgement is right."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference.alike import alike
from zoo_skies import RECEIVERS, SATELLITES, ZOO, draw, judge, masked_part, skies

from pulsar.config.load import load_config
from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, empty_table
from pulsar.errors import ConfigError
from pulsar.synthesis.model import RFI_FIELDS, Burst, Pulsar
from pulsar.synthesis.signal import burst_signal, pulsar_signal
from pulsar.synthesis.write import Synthesiser, make

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "zoo.py"


@pytest.mark.parametrize("kind", ZOO)
def test_both_observations_hold_the_same_signals(kind):
    clean, dirty = skies(kind, 1)
    assert not clean.rfi
    assert dirty.rfi
    made = Synthesiser(dirty)  # every range lies in the band
    header = clean.header
    assert alike(dirty.header, header)
    assert len(dirty.pulsars) == len(dirty.bursts) == 4
    for weaker, whole in zip(dirty.pulsars, clean.pulsars, strict=True):
        amps = pulsar_signal(header, weaker, chan_ok=made.chan_ok).amps
        np.testing.assert_allclose(amps[made.chan_ok], pulsar_signal(header, whole).amps[made.chan_ok])
        assert weaker.period == whole.period
        assert 10 <= whole.snr <= 20
        assert 10 <= whole.dm <= 500
        assert 2e-3 <= whole.period <= 2
    for weaker, whole in zip(dirty.bursts, clean.bursts, strict=True):
        amps = burst_signal(header, weaker, chan_ok=made.chan_ok).amps
        np.testing.assert_allclose(amps[made.chan_ok], burst_signal(header, whole).amps[made.chan_ok])
        assert whole.time + header.delays(whole.dm)[-1] < header.tobs
    assert draw(header, 3) == draw(header, 3)
    assert draw(header, 3) != draw(header, 4)


def test_the_noise_is_the_same():
    clean, dirty = skies("narrowband")
    part = {"nsamps": 2000, "tobs": None}
    a, b = (make(sky.model_copy(update=part)).data for sky in (clean, dirty))
    touched = (a != b).any(axis=1)
    assert 8 <= touched.sum() <= 20
    np.testing.assert_array_equal(a[~touched], b[~touched])


def test_every_kind_of_interference_is_in_the_zoo():
    found = {rfi.kind for _, sources, _ in ZOO.values() for rfi in sources}
    assert found == set(RFI_FIELDS)
    assert any(changes.get("overflow") == "wrap" for _, _, changes in ZOO.values())
    # FAST's preset zaps the edges of the band; the satellites between them are for the mask to find.
    zaps = load_config("fast-19beam", []).rfi.zap
    zapped = [any(a <= low and high <= b for a, b in zaps) for low, high, _, _ in SATELLITES]
    touched = [any(a < high and low < b for a, b in zaps) for low, high, _, _ in SATELLITES]
    assert zapped == touched == [True, *[False] * 16, True]
    with pytest.raises(ConfigError, match="unknown observation lions"):
        skies("lions")


def candidates(*rows):
    table = empty_table(CANDIDATE_COLUMNS, len(rows))
    for row, (period, dm, sigma, flags, owner) in zip(table, rows, strict=True):
        row["period"], row["freq"], row["period_err"] = period, 1 / period, 1e-6 * period
        row["dm"], row["dm_err"], row["sigma"], row["snr"] = dm, 0.5, sigma, 2 * sigma
        row["rfi_flags"], row["harmonic_of"], row["kind"], row["score"] = flags, owner, "fft", 0.9
    return table


def pulses(*rows):
    table = empty_table(SINGLE_PULSE_COLUMNS, len(rows))
    for row, (time, dm, sigma, flags) in zip(table, rows, strict=True):
        row["time"], row["dm"], row["dm_err"], row["sigma"], row["snr"] = time, dm, 1.0, sigma, 2 * sigma
        row["width"], row["rfi_flags"], row["score"] = 1e-3, flags, 0.9
    return table


def test_judgement():
    header = RECEIVERS["fast"].header
    pulsars = (
        Pulsar(period=0.0123, dm=50, duty=0.05),
        Pulsar(period=0.41, dm=120, duty=0.03),
        Pulsar(period=0.05, dm=300),
    )
    bursts = (Burst(time=5.0, dm=100, width=2e-3), Burst(time=9.0, dm=200, width=2e-3))
    listed = candidates(
        (0.0123, 50.2, 9.0, "", ""),  # the first
        (0.0123 / 5, 50.0, 6.0, "", ""),  # one of its harmonics, which is no interference
        (0.41 / 2, 121.0, 8.0, "dm0", ""),  # the second, at half its period and with a flag
        (0.05, 301.0, 8.0, "", "c0001"),  # bound to another: not found
        (0.05, 20.0, 8.0, "", ""),  # the period alone is not enough
        (0.02, 0.0, 30.0, "dm0,mains", ""),  # flagged interference
        (0.0317, 77.0, 2.0, "", ""),  # below what counts
    )
    lone = pulses(
        (5.0, 100.3, 12.0, ""),
        (9.0, 230.0, 12.0, ""),  # at another DM than its time: not the second burst
        (9.0, 200.0, 8.0, "nodm"),
        (12.0 + 3 * 0.41, 120.2, 7.0, ""),  # a pulse of the second pulsar: a whole number of turns from the middle
        (12.0 + 3.5 * 0.41, 120.2, 7.0, ""),  # not in its phase
        (17.0, 0.2, 20.0, "dm0"),
        (18.0, 40.0, 2.0, ""),
    )
    verdict = judge(listed, lone, header, pulsars, bursts, cpu=1.5)
    assert verdict.pulsars == (18.0, 16.0, 0.0)
    assert verdict.bursts == (24.0, 16.0)
    assert verdict.flagged == 2
    assert [text.split()[2] for text in verdict.candidates] == ["0.05"]
    assert [text.split()[2] for text in verdict.pulses] == ["9.000", f"{12 + 3.5 * 0.41:.3f}"]
    assert verdict.strange == 3
    assert verdict.others == 5
    assert verdict.masked == 0.0
    assert verdict.cpu == 1.5


def test_a_burst_off_in_dm_is_off_in_time():
    header = RECEIVERS["fast"].header
    burst = (Burst(time=5.0, dm=100, width=8e-3),)
    for dm, time, found in ((103.0, 5.0, True), (103.0, 4.995, True), (103.0, 5.06, False), (130.0, 5.0, False)):
        assert bool(judge(candidates(), pulses((time, dm, 9.0, "")), header, (), burst).bursts[0]) is found, (dm, time)


def test_masked_part_weighs_blocks_by_their_length():
    header = RECEIVERS["fast"].header.with_(nsamps=2500)
    mask = np.zeros((2, 4), dtype=bool)
    mask[1, :2] = True
    assert masked_part({"mask": mask, "block_nsamps": 1000}, header) == pytest.approx(0.5 * 1500 / 2500)


@pytest.mark.slow
def test_the_benchmark_says_what_a_method_does(tmp_path):
    out = tmp_path / "zoo.json"
    command = [sys.executable, str(SCRIPT), "methods", "--only", "saturation"]
    command += ["--jobs", "1", "--verbose"]
    sets = ("ffa.enabled=false", "dedisp.dm_hi=20", "fold.ncands=10")
    command += [*(word for one in sets for word in ("--set", one)), "--json", str(out)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| saturation | " in text
    assert "unflagged" in text
    assert out.exists()
    wrong = subprocess.run([*command[:3], "--only", "lions"], capture_output=True, text=True, check=False)
    assert wrong.returncode != 0
    assert "'lions' is not one of" in wrong.stderr
