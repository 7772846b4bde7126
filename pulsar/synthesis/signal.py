"""Pulsars and bursts as they are recorded: profile, smearing, scattering, amplitude for the wanted S/N."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from pulsar.constants import KDM, C
from pulsar.data.header import Header
from pulsar.errors import ConfigError
from pulsar.synthesis.model import Burst, Component, Injection, Pulsar, Sky
from pulsar_kernels.arrays import Bools, Float32s, Floats, Ints
from pulsar_kernels.synth import add_burst, add_periodic, phases, stream_keys, uniforms

# Neighbouring channels share a template: at 512 of them smearing and scattering inside a share differ by under 1 %.
_MAX_TEMPLATES = 512
_BINS_PER_WIDTH = 16.0


def component_profile(component: Component, nbins: int) -> Floats:
    """Mean of a component over each of `nbins` phase bins, its centre at `component.phase`; any scale."""
    duty = component.duty
    if component.shape == "vonmises":
        # exp(kappa (cos x - 1)) is 1/2 at x = pi duty.
        kappa = math.log(2) / (1.0 - math.cos(math.pi * duty))
        fine = (np.arange(nbins * 8) + 0.5) / (nbins * 8) - component.phase
        profile = np.exp(kappa * (np.cos(2 * math.pi * fine) - 1.0)).reshape(nbins, 8).mean(axis=1)
        return np.asarray(component.height * profile, dtype=np.float64)
    # The integral, of the turn itself and its neighbours, at the edges of bins.
    x = (np.arange(nbins + 1) / nbins)[:, None] - component.phase - np.arange(-3, 4)
    if component.shape == "gauss":
        scale = duty / math.sqrt(8 * math.log(2)) * math.sqrt(2)
        integral = np.sum(erf(x / scale), axis=1) * scale * math.sqrt(math.pi) / 2
    else:
        integral = np.sum(np.clip(x + 0.5 * duty, 0.0, duty), axis=1)
    return np.asarray(component.height * (np.diff(integral) * nbins), dtype=np.float64)


def recorded_profiles(components: tuple[Component, ...], nbins: int, smear: Floats, tau: Floats) -> Floats:
    """Profile after dispersion smearing inside the channel and scattering.

    Parameters
    ----------
    nbins : int
        Phase bins, even.
    smear : ndarray, shape (n,)
        Full width of the smearing [turns].
    tau : ndarray, shape (n,)
        Scattering time (of exp(-t / tau)) [turns].

    Returns
    -------
    ndarray, shape (n, nbins)
        Never negative, of mean 1; the centre of the pulsar is at the left edge of bin 0, before scattering.
    """
    intrinsic = np.zeros(nbins)
    for component in components:
        intrinsic += component_profile(component, nbins)
    k = np.arange(nbins // 2 + 1)
    spectrum = np.fft.rfft(intrinsic / intrinsic.mean())[None, :] * np.sinc(smear[:, None] * k)
    spectrum = spectrum / (1.0 + 2j * np.pi * k * tau[:, None])
    profiles = np.fft.irfft(spectrum, nbins, axis=1)
    peak = profiles.max(axis=1, keepdims=True)
    # What is below this fraction of the peak is cut from a template.
    profiles[profiles < 1e-4 * peak] = 0.0
    return np.asarray(profiles / profiles.mean(axis=1, keepdims=True), dtype=np.float64)


def sampled_power(profiles: Floats, width: float) -> Floats:
    """Mean square over phase of profiles (n, nbins) that are averaged over samples of `width` turns."""
    nbins = profiles.shape[1]
    spectrum = np.fft.rfft(profiles, axis=1) / nbins
    power = 2.0 * np.abs(spectrum) ** 2 * np.sinc(np.arange(nbins // 2 + 1) * width) ** 2
    power[:, 0] *= 0.5
    power[:, -1] *= 0.5
    return np.asarray(power.sum(axis=1), dtype=np.float64)


def _shares(header: Header) -> tuple[Ints, Floats]:
    """Template of each channel, and the frequency of each template."""
    size = -(-header.nchans // _MAX_TEMPLATES)
    rows = np.arange(header.nchans, dtype=np.int64) // size
    return rows, np.bincount(rows, weights=header.freqs) / np.bincount(rows)


def smearing(header: Header, dm: float, freqs: Floats) -> Floats:
    """Spread of arrival times over one channel centred on `freqs` [s]."""
    half = 0.5 * header.chan_width
    low = np.maximum(freqs - half, 1e-3 * freqs)
    return np.asarray(KDM * dm * (low**-2.0 - (freqs + half) ** -2.0), dtype=np.float64)


def _weights(
    header: Header, index: float, chan_ok: Bools | Floats | None, spectrum: tuple[float, float] | None = None
) -> tuple[Floats, Floats]:
    """Relative amplitudes of the channels, and the share of its samples in which each has a signal."""
    weights = np.asarray((header.freqs / header.fcenter) ** index, dtype=np.float64)
    if spectrum is not None:
        middle, width = spectrum
        weights = weights * np.exp2(-((2.0 * (header.freqs - middle) / width) ** 2))
    share = np.ones(header.nchans) if chan_ok is None else np.asarray(chan_ok, dtype=np.float64)
    weights = np.where(share > 0, weights, 0.0)
    if not weights.any():
        raise ConfigError("no channel is left for a signal: all of them are dead, saturated or masked")
    return weights, share


def _nbins(width: float) -> int:
    return int(min(16384, max(128, 2 ** math.ceil(math.log2(_BINS_PER_WIDTH / width)))))


@dataclass(frozen=True)
class PulsarSignal:
    """A pulsar ready to be added to samples, as `pulsar_kernels.synth.add_periodic` takes it."""

    #: delays, offsets, amps: shape (nchans,)
    delays: Floats
    offsets: Floats
    amps: Floats
    on: Floats  # shape (nchans,)
    rows: Ints  # shape (nchans,)
    spin: Floats  # shape (8,)
    cumulative: Floats  # shape (ntemplates, nbins + 1)
    nulls: Bools
    first_null: int
    per_amplitude: float  # S/N at a mean of 1 sigma

    def add(self, data: Float32s, start: int, tsamp: float, c0: int) -> None:
        """Add to `data` (nchans, n), whose first row is channel `c0` and first column sample `start`, in sigma."""
        part = slice(c0, c0 + data.shape[0])
        delays, offsets, rows = self.delays[part], self.offsets[part], self.rows[part]
        profile = (self.cumulative, rows, self.on[part], self.amps[part])
        add_periodic(data, start, tsamp, delays, self.spin, offsets, *profile, self.nulls, self.first_null)


@dataclass(frozen=True)
class BurstSignal:
    """A burst ready to be added to samples, as `pulsar_kernels.synth.add_burst` takes it."""

    begins: Floats
    span: float
    amps: Floats
    rows: Ints
    cumulative: Floats
    per_amplitude: float

    def add(self, data: Float32s, start: int, tsamp: float, c0: int) -> None:
        """Add to `data` (nchans, n), whose first row is channel `c0` and first column sample `start`, in sigma."""
        part = slice(c0, c0 + data.shape[0])
        begins = self.begins[part]
        if begins.min() > (start + data.shape[1]) * tsamp or begins.max() + self.span < start * tsamp:
            return
        add_burst(data, start, tsamp, begins, self.span, self.cumulative, self.rows[part], self.amps[part])


def spin_parameters(header: Header, pulsar: Pulsar) -> Floats:
    """Spin as the kernels take it, shape (8,): see `pulsar_kernels.synth.add_periodic`. Epoch: mid-observation."""
    middle = 0.5 * header.tobs
    spin = np.array([pulsar.freq, pulsar.fdot, middle, 0.0, 1.0, 0.0, pulsar.phase0, 1.0 - pulsar.nulling])
    if pulsar.orbit is not None:
        orbit = pulsar.orbit
        spin[3:6] = orbit.x, orbit.pb, middle - orbit.phase * orbit.pb
        emitted = middle
        for _ in range(60):
            emitted = middle - orbit.x * math.sin(2 * math.pi * (emitted - spin[5]) / orbit.pb)
        spin[2] = emitted
    return spin


def phase(header: Header, pulsar: Pulsar, times: Floats) -> Floats:
    """Rotational phase [turns] at `times` [s from the start], highest channel; pulses pass at whole numbers."""
    times = np.ascontiguousarray(times, dtype=np.float64)
    out = np.empty_like(times)
    phases(times, spin_parameters(header, pulsar), out)
    return out


def observed_spin(header: Header, pulsar: Pulsar) -> tuple[float, float]:
    """Topocentric frequency [Hz] and its derivative [Hz/s] at mid-observation, with the orbit."""
    f, fdot = pulsar.freq, pulsar.fdot
    if pulsar.orbit is None:
        return f, fdot
    # u = t - x sin(w (u - t0)): du/dt = 1 / (1 + x w cos), d2u/dt2 = x w^2 sin / (1 + x w cos)^3
    orbit = pulsar.orbit
    w = 2 * math.pi / orbit.pb
    spin = spin_parameters(header, pulsar)
    angle = w * (spin[2] - spin[5])
    rate = 1.0 / (1.0 + orbit.x * w * math.cos(angle))
    return float(f * rate), float(fdot * rate**2 + f * orbit.x * w**2 * math.sin(angle) * rate**3)


def observed_accel(header: Header, pulsar: Pulsar) -> float:
    """Line-of-sight acceleration that the frequency derivative at mid-observation looks like [m/s^2]."""
    f, fdot = observed_spin(header, pulsar)
    return 0.0 - C * fdot / f


def pulsar_signal(
    header: Header, pulsar: Pulsar, *, chan_ok: Bools | Floats | None = None, seed: int = 0, number: int = 0
) -> PulsarSignal:
    """Work out the recorded form of a pulsar and the amplitude that gives the S/N asked for.

    The S/N is that of an ideal matched filter over the whole observation, as recorded: after smearing inside the
    channel, scattering and sampling, with the mean taken off, over the channels in `chan_ok` (default: all):
    ``snr^2 = sum over channels and samples of (s - mean s)^2 / sigma^2``.

    Parameters
    ----------
    chan_ok : ndarray of bool or float, shape (nchans,), optional
        Channels that carry signal, or the share of the samples in which each does.
    seed, number : int
        Decide, with ``pulsar.nulling``, which rotations have no pulse.
    """
    rows, freqs = _shares(header)
    smear = smearing(header, pulsar.dm, freqs) * pulsar.freq
    tau = pulsar.scattering * (freqs / 1000.0) ** -4.0 * pulsar.freq
    sample = header.tsamp * pulsar.freq
    narrowest = min(component.duty for component in pulsar.profile)
    nbins = _nbins(math.sqrt(narrowest**2 + float(smear.min()) ** 2 + sample**2))
    profiles = recorded_profiles(pulsar.profile, nbins, smear, tau)

    shifts, on = np.zeros(freqs.size), np.ones(freqs.size)
    for i, profile in enumerate(profiles):
        shifts[i], on[i] = _on_window(profile)
        profiles[i] = np.roll(profile, int(shifts[i]))
    cumulative = _integral(profiles - 1.0)
    cumulative[:, -1] = 0.0

    kept = 1.0 - pulsar.nulling
    variance = np.maximum(kept * sampled_power(profiles, sample) - kept**2, 0.0)
    weights, share = _weights(header, pulsar.spectral_index, chan_ok)
    per_amplitude = math.sqrt(header.nsamps * float(np.sum(share * weights**2 * variance[rows])))
    if per_amplitude == 0.0:
        raise ConfigError(
            f"a pulsar of period {pulsar.period:g} s at DM {pulsar.dm:g} is smeared out altogether: no amplitude "
            "gives an S/N; lower dm or scattering, or take narrower channels or samples"
        )
    nulls, first_null = np.zeros(0, dtype=np.bool_), 0
    if pulsar.nulling > 0:
        delays = float(header.delays(pulsar.dm)[-1])
        ends = phase(header, pulsar, np.array([-delays, header.tobs]))
        first_null = math.floor(ends[0]) - 2
        numbers = np.arange(math.ceil(ends[1]) + 3 - first_null, dtype=np.int64)
        key = int(stream_keys(seed, 1000, np.array([number]))[0])
        nulls = uniforms(key, numbers) < pulsar.nulling
    return PulsarSignal(
        delays=header.delays(pulsar.dm),
        offsets=(shifts / nbins)[rows],
        amps=np.asarray(pulsar.snr / per_amplitude * weights, dtype=np.float64),
        on=on[rows],
        rows=rows,
        spin=spin_parameters(header, pulsar),
        cumulative=cumulative,
        nulls=nulls,
        first_null=first_null,
        per_amplitude=per_amplitude,
    )


def _integral(profiles: Floats) -> Floats:
    """Integral of profiles (n, nbins) over phase, shape (n, nbins + 1)."""
    return np.asarray(np.cumsum(np.pad(profiles, ((0, 0), (1, 0))), axis=1) / profiles.shape[1])


def _on_window(profile: Floats) -> tuple[int, float]:
    """Bins by which to roll a profile so that it starts at phase 0, and the phase at which it then ends."""
    alive = np.flatnonzero(profile > 0)
    nbins = profile.size
    if alive.size == nbins:
        # No gap: begin at the least, so that a rotation holds its own pulse.
        return -int(np.argmin(profile)), 1.0
    gaps = np.diff(np.append(alive, alive[0] + nbins))
    widest = int(np.argmax(gaps))
    first = int(alive[(widest + 1) % alive.size])
    return -first, (nbins - int(gaps[widest]) + 1) / nbins


def burst_signal(header: Header, burst: Burst, *, chan_ok: Bools | Floats | None = None) -> BurstSignal:
    """Work out the recorded form of a burst and the amplitude that gives the S/N asked for.

    ``snr^2 = sum over channels and samples of s^2 / sigma^2`` over the channels in `chan_ok`, also where the burst
    runs out of the observation.
    """
    rows, freqs = _shares(header)
    smear = smearing(header, burst.dm, freqs)
    tau = burst.scattering * (freqs / 1000.0) ** -4.0
    core = max(burst.width, header.tsamp)
    before = 2.5 * core + 0.5 * float(smear.max())
    span = 2.0 * before + 12.0 * float(tau.max())
    nbins = max(512, _nbins(math.hypot(burst.width, float(smear.min())) / span))
    profile = (Component(duty=min(burst.width / span, 0.99)),)
    profiles = recorded_profiles(profile, nbins, smear / span, tau / span)
    shift = round(before / span * nbins)
    profiles = np.roll(profiles, shift, axis=1)
    cumulative = _integral(profiles)
    weights, share = _weights(header, burst.spectral_index, chan_ok, burst.spectrum)
    power = sampled_power(profiles, header.tsamp / span)
    per_amplitude = math.sqrt(span / header.tsamp * float(np.sum(share * weights**2 * power[rows])))
    return BurstSignal(
        begins=burst.time + header.delays(burst.dm) - shift / nbins * span,
        span=span,
        amps=np.asarray(burst.snr / per_amplitude * weights, dtype=np.float64),
        rows=rows,
        cumulative=cumulative,
        per_amplitude=per_amplitude,
    )


def signals_of(header: Header, listed: Sky | Injection, chan_ok: Bools) -> list[PulsarSignal | BurstSignal]:
    """All signals of an observation, ready to be added to its samples."""
    pulsars = enumerate(listed.pulsars)
    each = (pulsar_signal(header, p, chan_ok=chan_ok, seed=listed.seed, number=i) for i, p in pulsars)
    return [*each, *(burst_signal(header, burst, chan_ok=chan_ok) for burst in listed.bursts)]
