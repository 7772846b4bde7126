"""A burst and two pulsars beside mains, a level that drifts and impulses, made here with numpy alone."""

import struct

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.run import search

K = 1 / 2.41e-4
NCHANS, TSAMP, TOBS = 256, 0.5e-3, 67.0
BURST = (23.4, 180.0, 6e-3)
PULSARS = ((0.0831, 62.0, 0.05), (0.02973, 118.0, 0.08))


def header(**values):
    def text(x):
        return struct.pack("i", len(x)) + x.encode()

    out = text("HEADER_START")
    for key, value in values.items():
        out += text(key) + struct.pack("d" if isinstance(value, float) else "i", value)
    return out + text("HEADER_END")


def disturbance(rng, t, mains, amplitude, wander):
    """What all channels have in common, in units of a channel's noise: square wave, drifts, impulses."""
    slow = np.interp(t, np.linspace(0.0, TOBS, 30), rng.normal(size=30))
    turns = mains * t + wander * mains * np.cumsum(slow) * TSAMP + rng.uniform()
    level = amplitude * np.sign(np.sin(2 * np.pi * turns))
    walk = np.cumsum(rng.normal(size=t.size))
    walk -= np.interp(t, t[[0, -1]], walk[[0, -1]])
    waves = sum(np.sin(2 * np.pi * (t / p + rng.uniform())) for p in (31.0, 13.0, 7.0, 3.3))
    drift = walk / walk.std() + waves / waves.std()
    level += 0.3 * drift / drift.std()
    for _ in range(120):
        at, length = rng.integers(0, t.size - 40), rng.integers(1, 8)
        level[at : at + length] += rng.uniform(0.5, 3.0)
    return level


def make(path, seed, mains, amplitude, wander):
    rng = np.random.default_rng(seed)
    freqs = 1500.0 - 300.0 / NCHANS * np.arange(NCHANS)
    delay = K * (freqs**-2 - freqs[0] ** -2)
    t = (np.arange(int(TOBS / TSAMP)) + 0.5) * TSAMP
    x = rng.normal(0, 1, (t.size, NCHANS)).astype(np.float32)
    x += disturbance(rng, t, mains, amplitude, wander)[:, None].astype(np.float32)

    def add(shape, dm, snr):
        own = shape(t)
        height = snr / np.sqrt(NCHANS * np.sum((own - own.mean()) ** 2))
        for c in range(NCHANS):
            x[:, c] += (height * shape(t - dm * delay[c])).astype(np.float32)

    at, dm, width = BURST
    add(lambda times: np.exp(-0.5 * ((times - at) / (width / 2.3548)) ** 2), dm, 16.0)
    for period, dm, duty in PULSARS:
        add(
            lambda times, period=period, duty=duty: np.exp(
                -0.5 * (((times / period + 0.2) % 1.0 - 0.5) / (duty / 2.3548)) ** 2
            ),
            dm,
            18.0,
        )
    x = 96.0 + x * rng.uniform(8, 14, NCHANS).astype(np.float32)
    head = header(nbits=8, nchans=NCHANS, nifs=1, data_type=1, fch1=1500.0, foff=-300.0 / NCHANS, tsamp=TSAMP,
                  tstart=58000.0)  # fmt: skip
    path.write_bytes(head + np.clip(np.rint(x), 0, 255).astype(np.uint8).tobytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "mains", "amplitude", "wander"),
    [(7, 50.02, 0.25, 0.0), (8, 50.02, 0.25, 0.0), (9, 49.97, 0.25, 3e-4), (10, 60.01, 0.25, 0.0)],
)
def test_burst_and_pulsars_beside_mains_drifts_and_impulses(tmp_path, seed, mains, amplitude, wander):
    make(tmp_path / "a.fil", seed, mains, amplitude, wander)
    run = search([tmp_path / "a.fil"], load_config(None, ["run.threads=1"]), tmp_path / "a.h5")
    pulses, candidates = run.rows("single_pulses"), run.rows("candidates")
    burst = (np.abs(pulses["time"] - BURST[0]) < 0.05) & (np.abs(pulses["dm"] - BURST[1]) < 8.0)
    assert burst[:3].sum() == 1
    assert pulses["rfi_flags"][:3][burst[:3]] == [""]
    assert np.count_nonzero((pulses["rfi_flags"] == "") & ~burst) <= 5
    assert sorted(np.round(candidates["period"][:2], 4)) == pytest.approx([0.0297, 0.0831])


@pytest.mark.jit
@pytest.mark.parametrize("wander", [0.0, 2e-4])
def test_a_burst_beside_mains_in_a_single_series(tmp_path, wander):
    rng = np.random.default_rng(11)
    n = int(TOBS / TSAMP)
    t = (np.arange(n) + 0.5) * TSAMP
    slow = np.interp(t, np.linspace(0.0, TOBS, 30), rng.normal(size=30))
    turns = 50.02 * (t + wander * np.cumsum(slow) * TSAMP)
    shape = np.exp(-0.5 * ((t - BURST[0]) / (BURST[2] / 2.3548)) ** 2)
    x = rng.normal(size=n) + 2.0 * np.sign(np.sin(2 * np.pi * turns)) + 16.0 * shape / np.sqrt(np.sum(shape**2))
    x.astype(np.float32).tofile(tmp_path / "a.dat")
    (tmp_path / "a.inf").write_text(
        " Data file name without suffix          =  a\n"
        " Telescope used                         =  GBT\n"
        " Epoch of observation (MJD)             =  58000.0\n"
        " Barycentered?           (1=yes, 0=no)  =  0\n"
        f" Number of bins in the time series      =  {n}\n"
        f" Width of each time series bin (sec)    =  {TSAMP}\n"
        " Any breaks in the data? (1=yes, 0=no)  =  0\n"
        " Type of observation (EM band)          =  Radio\n"
        " Beam diameter (arcsec)                 =  981\n"
        " Dispersion measure (cm-3 pc)           =  180.0\n"
        " Central freq of low channel (Mhz)      =  1200.0\n"
        " Total bandwidth (Mhz)                  =  300.0\n"
        " Number of channels                     =  256\n"
        " Channel bandwidth (Mhz)                =  1.171875\n"
        " Data analyzed by                       =  x\n"
    )
    config = load_config(None, ["run.threads=1", "coherent.enabled=false", "ffa.enabled=false", "fold.ncands=20"])
    run = search([tmp_path / "a.dat"], config, tmp_path / "a.h5")
    pulses = run.rows("single_pulses")
    assert abs(pulses["time"][0] - BURST[0]) < 0.01
    assert pulses["snr"][0] > 12.0
    assert np.count_nonzero(pulses["rfi_flags"] == "") <= 3
