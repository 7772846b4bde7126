"""Sweeps that are not dispersed pulses, and pulses of few channels."""

import dataclasses

import numpy as np
import pytest
from reference.products import make_fold

from pulsar.constants import KDM
from pulsar.data.fold import PulseCutout
from pulsar.sources import sweep as sweeps
from pulsar.sources.sweep import BandShape, shape, shape_of_fold, shape_of_pulse

FREQS = np.linspace(1500.0, 1000.0, 64)
WIDTH = 8
DM = 139.0
#: What a sweep of 500 MHz in 320 ms, the delay of that DM, is late against a pulse that it meets in mid-band [ms].
SWEEP = 320.0 * (FREQS[0] - FREQS) / 500.0 - 1e3 * KDM * DM * (FREQS**-2.0 - FREQS[0] ** -2.0)
SWEEP -= SWEEP[32]


def rows(seed, snr=20.0, delays=None, power=None, scattering=0.0):
    """Bands of noise 1 with a Gaussian pulse, late by `delays` columns."""
    rng = np.random.default_rng(seed)
    t = np.arange(256)
    late = np.zeros(64) if delays is None else delays
    strength = np.ones(64) if power is None else power
    pulse = np.exp(-0.5 * ((t[None, :] - 128.0 - late[:, None]) / (WIDTH / 2.5)) ** 2)
    if scattering:
        for row, freq in zip(pulse, FREQS, strict=True):
            tail = np.exp(-t / (scattering * (freq / 1000.0) ** -4.0))
            row[:] = np.convolve(row, tail / tail.sum())[:256]
    pulse *= strength[:, None]
    pulse *= snr / np.sqrt(np.sum(pulse.mean(axis=0) ** 2) * 64)
    return (pulse + rng.normal(size=pulse.shape)).astype(np.float32)


def cutout(spectrum, width=WIDTH):
    none = np.zeros(0)
    return PulseCutout(
        spectrum=spectrum, freqs=FREQS, plane=np.zeros((0, 256), np.float32), dms=none, dm=DM, time=0.128,
        width=width * 1e-3, start=0.0, tsamp=1e-3, tstart=60000.0, fref=1500.0,
    )  # fmt: skip


def pulse_reasons(cutout, snr):
    return sweeps.pulse_reasons(cutout, snr, shape_of_pulse(cutout, snr))


@pytest.mark.parametrize("kind", ["plain", "wrong dm", "scattered", "patchy", "drifting"])
def test_pulses_of_the_sky_are_not_flagged(kind):
    flagged, told = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        delays, power, tail = None, None, 0.0
        if kind == "wrong dm":
            delays = WIDTH * (FREQS**-2.0 - FREQS[32] ** -2.0) / np.ptp(FREQS**-2.0)
        elif kind == "scattered":
            tail = 8.0
        elif kind == "patchy":
            power = rng.exponential(size=64)
        elif kind == "drifting":
            # As of repeating bursts: by three widths over the band, of which the DM takes most.
            delays = 3.0 * WIDTH / 320.0 * SWEEP
        spectrum = rows(seed, snr=float(rng.uniform(12, 60)), delays=delays, power=power, scattering=tail)
        told += shape_of_pulse(cutout(spectrum), 20.0).is_dispersed
        flagged += bool(pulse_reasons(cutout(spectrum), 20.0))
    assert told > 15
    assert flagged == 0


@pytest.mark.parametrize("snr", [12.0, 25.0, 60.0])
def test_a_linear_sweep_is_flagged(snr):
    found = [pulse_reasons(cutout(rows(seed, snr=snr, delays=SWEEP)), snr) for seed in range(20)]
    assert sum("sweep" in flags for flags in found) >= 18


def test_the_shape_has_the_snr_of_what_is_there():
    clean = rows(0, snr=30.0) - rows(0, snr=1e-9)
    swept = np.stack([np.roll(row, round(late)) for row, late in zip(clean, SWEEP, strict=True)])
    for seed in range(20):
        noise = rows(seed, snr=1e-9)
        pulse, sweep = (shape(x + noise, FREQS, DM, 1e-3, WIDTH, periodic=False) for x in (clean, swept))
        assert pulse.dispersed == pytest.approx(30.0, abs=5.0)
        assert sweep.sweep == pytest.approx(30.0, abs=5.0)
        assert pulse.is_dispersed
        assert sweep.is_sweep


@pytest.mark.parametrize("bands", [5, 8, 16])
def test_a_pulse_in_part_of_the_band_is_no_sweep(bands):
    # Where it is not, noise can be brought in line by any of the sweeps.
    rng = np.random.default_rng(bands)
    for seed in range(60):
        power, first = np.zeros(64), int(rng.integers(64 - bands))
        power[first : first + bands] = 1.0
        assert "sweep" not in pulse_reasons(cutout(rows(seed, snr=float(rng.uniform(8, 20)), power=power)), 20.0)


def test_noise_tells_nothing():
    shapes = [shape(rows(seed, snr=1e-9), FREQS, DM, 1e-3, WIDTH, periodic=True) for seed in range(60)]
    assert not any(noise.is_sweep or noise.is_dispersed for noise in shapes)


def test_where_both_come_within_the_pulse_nothing_is_told():
    # At DM 3 a sweep is at most 0.3 widths from the pulse.
    shapes = [shape(rows(seed, snr=60.0), FREQS, 3.0, 1e-3, WIDTH, periodic=False) for seed in range(30)]
    assert not any(pulse.is_sweep or pulse.is_dispersed for pulse in shapes)


def folded(spectrum, turn=256):
    """A fold of some bands, anywhere in the turn."""
    fold = make_fold(1)
    place = int(np.argmax(spectrum.sum(axis=0)))
    shown = np.roll(spectrum[:, :turn], 90, axis=1)
    phase = (place + 90) % turn / turn
    after = dataclasses.replace(fold.after, freq=1e3 / turn, dm=DM)
    return dataclasses.replace(
        fold, freq_phase=shown, band_freqs=FREQS, width=WIDTH / turn, phase=phase, snr=60.0, after=after
    )


def test_a_fold_of_a_linear_sweep_is_told_from_that_of_a_pulsar():
    for seed in range(30):
        plain = rows(seed, snr=60.0)
        # An interpulse is the stronger of the two in some bands.
        other = np.roll(rows(seed + 100, snr=60.0, power=np.where(np.arange(64) % 3, 0.8, 1.3)), 120, axis=1)
        for spectrum in (plain, plain + other, rows(seed, snr=60.0, scattering=8.0)):
            assert shape_of_fold(folded(spectrum)).is_dispersed
        assert shape_of_fold(folded(rows(seed, snr=60.0, delays=SWEEP))).is_sweep
    few = dataclasses.replace(make_fold(1), freq_phase=plain[:1], band_freqs=np.array([np.inf]))
    assert shape_of_fold(few) == BandShape(0.0, 0.0)


def test_a_pulse_of_few_channels_is_flagged():
    power = np.zeros(64)
    power[40:43] = 1.0
    assert pulse_reasons(cutout(rows(1, snr=15.0, power=power)), 15.0) == ("narrow-band",)
    power[30:46] = 1.0
    assert pulse_reasons(cutout(rows(1, snr=15.0, power=power)), 15.0) == ()


def test_two_bands_of_interference_in_line_are_few_channels():
    # Side by side, with noise in all the others, which makes it look more even than it is.
    power = np.zeros(64)
    power[8:13] = 1.0, 0.6, 0.8, 0.2, 0.5
    assert all(pulse_reasons(cutout(rows(seed, snr=8.0, power=power)), 8.0) == ("narrow-band",) for seed in range(30))


def test_a_band_where_noise_is_high_in_all_others_is_few_channels():
    # Of S/N 22 in four bands, 5 in the other sixty: the time is that of a narrow band, the DM the best of all.
    power = np.full(64, 5.0 / 60.0**0.5)
    power[8:12] = 11.0
    total = power.sum() / 8.0
    found = [pulse_reasons(cutout(rows(seed, snr=total, power=power)), 10.0) for seed in range(40)]
    assert sum(flags == ("narrow-band",) for flags in found) >= 30


@pytest.mark.parametrize("wide", [1, 2, 4, 16])
def test_scintillation_leaves_pulses_of_the_sky_alone(wide):
    rng = np.random.default_rng(wide)
    spectra = [np.repeat(rng.exponential(size=64 // wide), wide) for _ in range(150)]
    flagged = sum(bool(pulse_reasons(cutout(rows(i, 9.0, power=x / x.mean())), 9.0)) for i, x in enumerate(spectra))
    # Of narrow ones in one of a few hundred; of four bands and wider nothing may be left outside an eighth of the band.
    assert flagged <= (1 if wide < 4 else 6)


def test_weak_pulses_of_all_channels_are_not_flagged():
    assert not any(pulse_reasons(cutout(rows(seed, snr=8.0)), 8.0) for seed in range(60))


@pytest.mark.parametrize(("bands", "flags"), [(slice(0, 64), ()), (slice(20, 23), ("narrow-band",))])
def test_the_end_of_the_data_beside_a_pulse_does_not_keep_it_from_being_judged(bands, flags):
    power = np.zeros(64)
    power[bands] = 1.0
    spectrum = rows(2, snr=15.0, power=power)
    spectrum[:, 160:] = np.nan
    assert pulse_reasons(cutout(spectrum), 15.0) == flags


def test_what_cannot_be_told_is_not_flagged():
    empty = rows(1)
    empty[:60] = np.nan
    assert pulse_reasons(cutout(empty), 20.0) == ()
    assert shape_of_pulse(cutout(empty), 20.0) == BandShape(0.0, 0.0)
    assert pulse_reasons(cutout(rows(1)), 5.0) == ()


def test_a_pulse_beside_a_sweep_is_none():
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(size=(64, 256)).astype(np.float32)
        sweep = rows(seed, snr=60.0, delays=60.0 + SWEEP) - rows(seed, snr=1e-9)
        burst = rows(seed, snr=15.0) - rows(seed, snr=1e-9)
        assert pulse_reasons(cutout(noise + sweep + burst), 15.0) == ()


@pytest.mark.parametrize(("snr", "stronger", "earlier"), [(8.0, 60.0, 16), (12.0, 100.0, 24), (30.0, 100.0, 16)])
def test_a_pulse_after_a_stronger_one_is_no_sweep(snr, stronger, earlier):
    # A sweep that has the rate of dispersion somewhere is earlier everywhere else, where it may meet the other pulse.
    flagged = 0
    for seed in range(20):
        first = np.roll(rows(seed, snr=stronger) - rows(seed, snr=1e-9), -earlier, axis=1)
        flagged += "sweep" in pulse_reasons(cutout(first + rows(seed, snr=snr)), snr)
    assert flagged <= 1


def test_bands_that_are_masked_do_not_count():
    fold = folded(rows(1, snr=30.0))
    masked = dataclasses.replace(
        fold,
        freq_phase=np.concatenate([fold.freq_phase, np.zeros_like(fold.freq_phase)]),
        band_freqs=np.concatenate([FREQS, FREQS - 500.0]),
    )
    assert shape_of_fold(masked) == shape_of_fold(fold)
