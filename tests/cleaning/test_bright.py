"""What is celestial and very bright is not masked, and keeps its S/N."""

import numpy as np
import pytest
from reference.observed import ArrayObservation, cleaned

from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.source import cleaned_source
from pulsar.cleaning.statistics import measure
from pulsar.config.model import RfiConfig
from pulsar.data.source import SIGMA_LEVELS
from pulsar.io.open import open_observation
from pulsar.synthesis.model import Burst, Pulsar, Sky
from pulsar.synthesis.write import make, write_filterbank

SKY = Sky(nchans=96, fch1=1497.4, foff=-5.2083, tsamp=512e-6, tobs=16.0, seed=11)
SIGNALS = {
    "fast pulsar": {"pulsars": [{"period": 0.0057, "dm": 20, "snr": 500, "duty": 0.15}]},
    "pulsar": {"pulsars": [{"period": 0.0893, "dm": 68, "snr": 500, "duty": 0.05}]},
    "slow pulsar": {"pulsars": [{"period": 0.714, "dm": 27, "snr": 500, "duty": 0.03}]},
    "near pulsar": {"pulsars": [{"period": 0.715, "dm": 27, "snr": 500, "duty": 0.04}]},
    "nearest pulsar": {"pulsars": [{"period": 0.808, "dm": 2.4, "snr": 300, "duty": 0.04}]},
    "slowest pulsar": {"pulsars": [{"period": 1.9, "dm": 150, "snr": 500, "duty": 0.04}]},
    "narrow burst": {"bursts": [{"time": 6.3, "dm": 300, "snr": 500, "width": 1e-3}]},
    "burst": {"bursts": [{"time": 6.3, "dm": 30, "snr": 500, "width": 3e-3}]},
    "far burst": {"bursts": [{"time": 6.3, "dm": 350, "snr": 500, "width": 3e-3}]},
    "wide burst": {"bursts": [{"time": 6.3, "dm": 100, "snr": 500, "width": 3e-2}]},
}


def filtered(path, template, config):
    """S/N of a matched filter on what is left after cleaning, and the part that was masked."""
    with open_observation(path) as obs:
        mask = make_mask(obs, measure(obs, config), config)
        source = cleaned_source(obs, mask, config)
        out = np.empty((source.nchans, obs.header.nsamps), dtype=np.int8)
        source.read_into(0, out)
    ours = template[mask.chan_ok]
    return float(np.sum(out * ours)) / np.sqrt(np.sum(ours**2)), mask.fraction_lost


@pytest.fixture(scope="module")
def noise():
    """A sky of a wide band without a signal, and its samples."""
    sky = Sky(nchans=256, fch1=1499.0, foff=-1.953125, tsamp=256e-6, tobs=20.0, seed=3)
    return sky, make(sky, nbits=32).data.astype(np.float64)


@pytest.mark.parametrize(("snr", "part", "dm"), [(60, 0.1, 500), (100, 0.1, 500), (60, 0.2, 500), (200, 0.25, 1000)])
def test_a_bright_burst_of_a_part_of_the_band_is_kept(noise, snr, part, dm):
    sky, empty = noise
    full = sky.model_copy(update={"bursts": (Burst(time=9.0, dm=dm, snr=snr / part**0.5, width=4e-3),)})
    template = make(full, nbits=32).data.astype(np.float64) - empty
    low = int(256 * (0.6 - part))
    template[:low] = 0.0
    template[low + int(256 * part) :] = 0.0
    data = np.clip(np.round(empty + template), 0, 255).astype(np.uint8)
    obs = ArrayObservation(data, tsamp=sky.tsamp, fch1=sky.fch1, foff=sky.foff)
    template -= template.mean(axis=1, keepdims=True)

    def kept(config):
        mask, _, out = cleaned(obs, config)
        ours = template[mask.chan_ok]
        return float(np.sum(out * ours)) / np.sqrt(np.sum(ours**2)), mask.fraction_lost

    without, _ = kept(RfiConfig(enabled=False))
    with_mask, lost = kept(RfiConfig())
    assert without > 0.7 * snr * SIGMA_LEVELS
    assert with_mask > 0.95 * without
    assert lost < 0.01


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_bright_signal_is_kept(tmp_path, signal):
    fields = {
        "pulsars": tuple(Pulsar(**p) for p in SIGNALS[signal].get("pulsars", ())),
        "bursts": tuple(Burst(**b) for b in SIGNALS[signal].get("bursts", ())),
    }
    sky = SKY.model_copy(update=fields)
    path = write_filterbank(sky, tmp_path / "a.fil")
    template = make(sky, nbits=32).data.astype(np.float64) - make(SKY, nbits=32).data
    template -= template.mean(axis=1, keepdims=True)
    # The same data, with the samples that are left alone.
    without, _ = filtered(path, template, RfiConfig(enabled=False))
    kept, lost = filtered(path, template, RfiConfig())
    assert without > 200 * SIGMA_LEVELS
    assert kept > 0.98 * without
    assert lost < 0.01
