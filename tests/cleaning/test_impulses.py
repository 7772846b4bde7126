"""Which pulses are told to be at DM 0: as short as the dispersion over the band, or hardly longer."""

import numpy as np
import pytest

from pulsar.cleaning.impulses import (
    Bands,
    bridged,
    find_impulses,
    repeated,
    repeating,
)
from pulsar.constants import LEAST_DM
from pulsar.data.header import Header

NCHANS, NSAMPS, AT = 256, 8192, 4000
#: DM 2 delays the ends of this band by 3.6 samples.
HEADER = Header(nchans=NCHANS, nsamps=NSAMPS, tsamp=5e-4, fch1=1478.0, foff=-1.0, tstart=60000.0)


def bands_with(rng, dm, width, amp, part=(0.0, 1.0)):
    """Sums of the channels of each band, with a pulse of steep sides in a part of them [sigma of a channel]."""
    bands = Bands.of(HEADER, np.ones(NCHANS, dtype=np.bool_))
    assert bands is not None
    data = rng.standard_normal((NCHANS, NSAMPS)).astype(np.float32)
    delays = 1e3 / 0.241 * dm * (HEADER.freqs**-2.0 - HEADER.freqs.max() ** -2.0) / HEADER.tsamp
    for channel in range(int(part[0] * NCHANS), int(part[1] * NCHANS)):
        first = AT + round(float(delays[channel]))
        data[channel, first : first + width] += amp
    series = np.stack([data[bands.of_channel == b].sum(axis=0) for b in range(bands.count)]).astype(np.float32)
    return np.ascontiguousarray(series), bands


def share(found, width):
    """Part of the pulse, if it was at DM 0, that is marked."""
    return sum(max(min(last, AT + width) - max(first, AT), 0) for first, last in found.tolist()) / width


@pytest.mark.parametrize(
    ("width", "amp", "part"),
    [(12, 1.13, (0, 1)), (6, 2.46, (0.51, 0.94))],
)
def test_strong_impulses_longer_than_the_dispersion_of_dm_2_are_found(width, amp, part):
    rng = np.random.default_rng(2)
    kept = [share(find_impulses(*bands_with(rng, 0.0, width, amp, part), 10.0), width) for _ in range(5)]
    assert min(kept) == 1.0


@pytest.mark.parametrize("width", [90, 180])
@pytest.mark.parametrize("clock", [0.0, 0.25])
def test_impulses_are_whole_beside_a_clock_and_its_crests_are_none(width, clock):
    rng = np.random.default_rng(5)
    for part in ((0.0, 1.0), (0.4, 0.95)):
        series, bands = bands_with(rng, 0.0, width, 3.0, part)
        # On for a fifth of 5.8 turns a second, in half of the band.
        on = (np.arange(NSAMPS) * HEADER.tsamp * 5.8) % 1.0 < 0.2
        series[4:12] += clock * NCHANS / bands.count * on
        found = find_impulses(series, bands, 6.0, 9.0)
        assert share(found, width) > 0.98
        assert np.diff(found, axis=1).sum() < 1.1 * width


def test_dropouts_are_impulses_downwards():
    rng = np.random.default_rng(6)
    series, bands = bands_with(rng, 0.0, 12, 3.0, (0.0, 1.0))
    series -= bands_with(rng, 0.0, 20, 3.0, (0.0, 1.0))[0][:, ::-1]
    up, down = find_impulses(series, bands, 10.0), find_impulses(-series, bands, 7.0)
    assert len(up) > 0
    assert len(down) > 0
    found = find_impulses(series, bands, 10.0, 7.0)
    np.testing.assert_array_equal(found, np.concatenate([up, down]))


@pytest.mark.parametrize("dm", [LEAST_DM, 2.4, 5.0])
@pytest.mark.parametrize(("width", "amp"), [(3, 1.0), (6, 3.0), (12, 1.13), (25, 1.0), (40, 0.5)])
@pytest.mark.parametrize("part", [(0.0, 1.0), (0.2, 0.7)])
def test_pulses_with_the_least_dm_of_the_sky_are_left(dm, width, amp, part):
    rng = np.random.default_rng(3)
    for _ in range(3):
        series, bands = bands_with(rng, dm, width, amp, part)
        assert find_impulses(series, bands, 10.0).size == 0


@pytest.mark.parametrize(("width", "left"), [(12, 30), (12, 60), (20, 60), (20, 200), (6, 30)])
def test_impulses_close_to_an_end_of_the_data_are_found(width, left):
    """One in all channels is most of the noise of slow pulsars; a hundred impulses often have one at an end."""
    rng = np.random.default_rng(4)
    series, bands = bands_with(rng, 0.0, width, 3.0)
    for cut, at in ((series[:, : AT + left], AT), (series[:, AT + width - left :], left - width)):
        found = find_impulses(np.ascontiguousarray(cut), bands, 10.0)
        assert share(found + (AT - at), width) == 1.0


@pytest.mark.parametrize("dm", [LEAST_DM, 5.0, 30.0])
@pytest.mark.parametrize(("width", "amp"), [(3, 1.0), (6, 3.0), (12, 1.13), (25, 1.0), (40, 0.5)])
def test_pulses_of_the_sky_that_an_end_cuts_off_are_left(dm, width, amp):
    rng = np.random.default_rng(5)
    across = 1e3 / 0.241 * dm * (HEADER.freqs.min() ** -2.0 - HEADER.freqs.max() ** -2.0) / HEADER.tsamp
    for part in (0.3, 0.6, 0.9, 1.0):
        series, bands = bands_with(rng, dm, width, amp)
        edge = AT + round(part * (across + width))
        assert find_impulses(np.ascontiguousarray(series[:, :edge]), bands, 10.0).size == 0
        assert find_impulses(np.ascontiguousarray(series[:, edge:]), bands, 10.0).size == 0


@pytest.mark.parametrize("beside", [90, 160, 240])
def test_a_burst_of_the_sky_beside_a_strong_impulse_is_left(beside):
    # A wrong DM takes the impulse apart: that is no evidence of what else is there.
    rng = np.random.default_rng(5)
    for _ in range(3):
        series, bands = bands_with(rng, 25.0, 50, 0.3)
        series[:, AT + beside : AT + beside + 3] += 6.0 * NCHANS / bands.count
        found = find_impulses(series, bands, 10.0)
        assert share(found, 50) == 0.0
        assert share(found - beside, 3) == 1.0


#: Of samples that are never saturated.
NO_TOP = np.full(16, np.inf)


def noise_of(rng, nchans, nbits, n=4000):
    """Sums of the channels of eight bands, of samples of so many bits."""
    top = (1 << nbits) - 1
    codes = np.clip(np.round(0.5 * top + 0.3 * top * rng.standard_normal((nchans, n))), 0, top)
    return codes.reshape(8, -1, n).sum(axis=1).astype(np.float32)


@pytest.mark.parametrize(("nchans", "nbits", "least"), [(64, 8, 9), (64, 1, 9), (8, 1, 30)])
def test_spectra_that_are_repeated_are_none(nchans, nbits, least):
    """A spectrum and eight like it are too many for noise, but not where samples are so coarse that many are alike."""
    rng = np.random.default_rng(nchans + nbits)
    series = noise_of(rng, nchans, nbits)
    assert repeated(series, NO_TOP[: len(series)]).tolist() == []
    lost = [(0, least), (1000, 1500), (2000, 2000 + least), (3990, 4000)] if least == 9 else [(1000, 1500)]
    series[:, 2900:2905] = series[:, 2900:2901]
    for first, last in lost:
        series[:, first:last] = 7.0
    found = repeated(series, NO_TOP[: len(series)])
    assert found.tolist() == [list(one) for one in lost]


def test_what_is_saturated_is_not_lost():
    """A pulse that is wide and bright enough holds all of the band at its top, for as long as pulses are."""
    series = noise_of(np.random.default_rng(3), 64, 4)
    full = np.full(8, 8 * 15.0)
    series[:, 700:760] = full[:, None]
    assert repeated(series, full).tolist() == []
    assert repeated(series, full, 80).tolist() == []
    assert repeated(series, full, 50).tolist() == [[700, 760]]
    series[:, 700:760] = 60.0
    assert repeated(series, full).tolist() == [[700, 760]]


def test_one_band_that_stays_is_not_all_of_them():
    series = noise_of(np.random.default_rng(2), 64, 8)
    series[:7, 500:900] = 0.0
    series[7, 500:508] = 0.0
    assert repeated(series, NO_TOP[: len(series)]).tolist() == []
    assert repeating(series)[:7].all()
    assert repeated(series[3:4], NO_TOP[:1]).tolist() == [[500, 900]]
    series[7, 508] = 0.0
    assert repeating(series).all()


@pytest.mark.parametrize(("first", "last"), [(0, 1500), (3000, 4200), (4000, 4009), (7000, NSAMPS), (500, 8000)])
def test_what_is_lost_leaves_neither_impulses_nor_less_noise(first, last):
    """Longer than the running mean, which would be low on either side of it, too."""
    rng = np.random.default_rng(8)
    series, bands = bands_with(rng, 0.0, 1, 0.0)
    series += 5000.0
    whole = series.copy()
    series[:, first:last] = 0.0
    rest = bridged(series, repeated(series, NO_TOP[: len(series)]), 8 * bands.longest)
    inside = np.zeros(NSAMPS, dtype=np.bool_)
    inside[first:last] = True
    np.testing.assert_array_equal(rest[:, ~inside], whole[:, ~inside])
    error = 4.0 / np.sqrt(inside.sum() * len(rest))
    assert abs(rest[:, inside].mean() - 5000.0) < 5.0 * max(error, 4.0 / np.sqrt(1600 * len(rest)))
    assert abs(rest[:, inside].std() / 4.0 - 1.0) < 0.3
    assert len(find_impulses(rest, bands, 10.0, 15.0)) == 0
