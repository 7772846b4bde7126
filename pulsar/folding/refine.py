"""Refinement of period, derivative and DM of a folded candidate.

Everything happens on the Fourier harmonics of the profiles: turning a profile by any fraction of a bin is a phase
factor, adds no smearing and keeps the noise white. A grid search on boxcar S/N (DM, then frequency and derivative)
brings the parameters within reach of a joint least-squares fit of a noise-filtered template, whose covariance gives
the errors.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pulsar.constants import C
from pulsar.data.fold import Fold, FoldCube, FoldParams, HarmonicNoise
from pulsar.data.header import dispersion_delays
from pulsar.data.series import Lines
from pulsar.folding.errors import errors_of, size_errors, slopes_of, with_peaks
from pulsar.folding.profile import best_box, fine_box, template_of
from pulsar.folding.whiten import RED, harmonic_noise, on_lines, without_pulse
from pulsar_kernels.arrays import Array, Bools, Complexes, Float32s, Floats

#: Points of the DM curve on each side.
_SIDE_DM: Final = 40
#: Steps of the plane that an ascent looks ahead.
_ASCENT: Final = 2
#: Largest acceleration of a pulsar that is taken for real without further evidence [m/s^2]. By Kepler's third law, a
#: neutron star at the other in 1.88 h (J1946+2052, the tightest double neutron star known) feels 310, one at a black
#: hole of 10 solar masses in 2 h 830.
MOST_ACCEL: Final = 1000.0


@dataclass
class _Data:
    """Harmonics of a cube, and how phases depend on the parameters.

    A pulse at elements (s, b) of the fold is late by ``-df tau_s - dfdot tau_s^2 / 2 + f dDM g_b`` turns.
    """

    spectra: Complexes  # (nsubints, nbands, nharm + 1)
    weight: Floats  # (nsubints, nbands): total variance of each element
    variance: Floats  # (nbins,) of the summed profile
    tau: Floats  # (nsubints, nbands): mean time of the pulses in each element, from mid-observation
    g: Floats
    freq: float
    nbins: int
    left_out: Bools  # (nharm + 1,)

    @property
    def harmonics(self) -> Floats:
        """Harmonic numbers 0 … nbins / 2."""
        return np.arange(self.spectra.shape[2], dtype=np.float64)

    def turns(self, df: float, dfdot: float, ddm: float) -> Floats:
        """How late the pulse of a source with these offsets is in each element, shape (nsubints, nbands)."""
        time = -df * self.tau - 0.5 * dfdot * self.tau**2
        return np.asarray(time + self.freq * ddm * self.g[None, :])

    def aligned(self, df: float, dfdot: float, ddm: float) -> Complexes:
        """Spectra with each element turned back by its lateness."""
        unit = np.exp(2j * np.pi * self.turns(df, dfdot, ddm))
        return self.spectra * _powers(unit, self.spectra.shape[2])


def _powers(unit: Complexes, n: int, *, first: bool = False) -> Complexes:
    """Powers 0 … n - 1 of numbers on the unit circle, along a new last axis, or a new `first` one."""
    out = np.empty((n, *unit.shape) if first else (*unit.shape, n), dtype=unit.dtype)
    powers = out if first else np.moveaxis(out, -1, 0)
    powers[0], powers[1:2] = 1.0, unit
    filled = 1
    while filled < n - 1:
        more = min(filled, n - 1 - filled)
        np.multiply(powers[1 : more + 1], powers[filled], out=powers[filled + 1 : filled + more + 1])
        filled += more
    return out


def _pulse_times(cube: FoldCube, phase: float) -> Floats:
    """Mean time of the pulses in each element [s] from mid-observation, shape (nsubints, nbands).

    With few turns in a sub-integration this may lie far from its middle, and differently in every band.
    """
    lags = cube.lags if cube.lags is not None else np.zeros(len(cube.band_freqs))
    edges = cube.time_edges[:, None] + lags - 0.5 * cube.tobs
    first = np.ceil(cube.params.freq * edges[:-1] - phase)
    last = np.ceil(cube.params.freq * edges[1:] - phase) - 1.0
    mean = (0.5 * (first + last) + phase) / cube.params.freq
    return np.where(last >= first, mean, 0.5 * (edges[:-1] + edges[1:]))


def _prepare(cube: FoldCube, lines: Lines = (), *, levelled: bool = False) -> _Data:
    """The harmonics of a cube; `levelled`: without the wandering level, where it has been found to wander."""
    level = cube.levelled if levelled else None
    data = (level.data if level is not None else cube.data).astype(np.float64)
    variance = cube.variance
    # Samples in step with the turn leave bins empty: coarser bins until every one has its share.
    while data.shape[2] % 4 == 0 and data.shape[2] > 8:
        # All bands hold the same samples, turned: one of them shows the gaps that their sum would hide.
        filled = variance[:, int(np.argmax(variance.any(axis=(0, 2))))]
        thin = filled.min(axis=1) < 0.2 * filled.mean(axis=1)
        if np.count_nonzero(thin) <= 0.1 * len(thin):
            break
        shape = (*data.shape[:2], data.shape[2] // 2, 2)
        data, variance = data.reshape(shape).sum(axis=3), variance.reshape(shape).sum(axis=3)
    spectra, summed = np.fft.rfft(data, axis=2), variance.sum(axis=(0, 1))
    g = dispersion_delays(cube.band_freqs, cube.fref)
    hit = np.zeros(spectra.shape[2], dtype=np.bool_)
    if lines:
        # Interference is not dispersed: its lines add up over the bands at DM 0.
        unit = np.exp(-2j * np.pi * cube.params.freq * cube.params.dm * g)
        parts = np.einsum("sbk,bk->sk", spectra, _powers(unit, spectra.shape[2]))
        hit = on_lines(parts, variance.sum(axis=(1, 2)), cube.params.freq, cube.tobs, cube.tsamp, lines)
        spectra[..., hit] = 0.0
    _, _, phase = fine_box(spectra.sum(axis=(0, 1)), summed)
    return _Data(
        spectra=spectra,
        weight=variance.sum(axis=2),
        variance=summed,
        tau=_pulse_times(cube, phase),
        g=g,
        freq=cube.params.freq,
        nbins=data.shape[2],
        left_out=hit,
    )


def _known_noise(cube: FoldCube, data: _Data) -> HarmonicNoise | None:
    """Noise of the harmonics of a fold that has been levelled."""
    if cube.levelled is None:
        return None
    n, noise = len(data.harmonics), cube.levelled.noise
    return HarmonicNoise(noise.measured[:n], noise.smooth[:n], noise.red)


def _steps(side: int, step: float) -> Floats:
    return np.arange(-side, side + 1, dtype=np.float64) * np.float64(step)


def _within(offsets: Floats, start: float, bounds: tuple[float, float]) -> Floats:
    """Offsets that keep a parameter within its bounds; 0 always."""
    inside = (start + offsets >= bounds[0]) & (start + offsets <= bounds[1])
    return np.asarray(offsets[inside | (offsets == 0.0)])


def _dm_grid(data: _Data, dm: float, width: float, fixed: bool) -> Floats:
    """Trial DM offsets: a few pulse widths of shift across the band, at most one turn, none below DM 0."""
    reach = float(np.ptp(data.g)) * data.freq
    if fixed or not reach > 0.0:
        return np.zeros(1)
    span = min(max(4.0 * width, 6.0 / data.nbins), 1.0) / reach
    offsets = _steps(_SIDE_DM, span / _SIDE_DM)
    return offsets[dm + offsets >= 0.0] if dm >= 0.0 else offsets


def _dm_profiles(bands: Complexes, data: _Data, offsets: Floats) -> Floats:
    """Profiles at trial DMs from spectra summed over time, shape (ndm, nbins)."""
    late = data.freq * offsets[:, None] * data.g
    turned = _powers(np.exp(2j * np.pi * late), len(data.harmonics))
    return np.asarray(np.fft.irfft(np.einsum("bk,dbk->dk", bands, turned), data.nbins, axis=1))


def _followed_dm(data: _Data, dm: float, offsets: Floats, most: bool) -> tuple[float, Floats]:
    """The best of trial DM offsets, and the trials among which it is.

    A strong signal is detected far from its DM, too, where it is spread over the turn. Where the first or last trial is
    the best the S/N rises beyond it, and that is no DM yet: trials go on around it.
    """
    bands, at, trials = data.spectra.sum(axis=0), 0.0, offsets
    # Folds of strong pulsars (S/N 60 to 400, benchmarks/population.py) came to their DM from as far as 4.3 grids, of
    # which each reaches a turn over the band at most.
    for _ in range(8):
        best = int(np.argmax(_heights(_dm_profiles(bands, data, trials), data, most)))
        at = float(trials[best])
        if len(trials) < 2 or 0 < best < len(trials) - 1:
            break
        if best == 0 and dm + 2.0 * trials[0] - trials[1] < 0.0 <= dm:
            break
        around = at + _steps(_SIDE_DM, float(offsets[1] - offsets[0]))
        trials = around[dm + around >= 0.0] if dm >= 0.0 else around
    return at, trials


def _plane(times: Complexes, data: _Data, dfs: Floats, dfdots: Floats) -> Float32s:
    """Profiles over the frequency-derivative plane, shape (nfdot nf, nbins), from spectra summed over bands."""
    tau, n = data.tau.mean(axis=1), len(data.harmonics)
    # Of a million numbers seven digits are enough.
    turn_f = _powers(np.exp(-2j * np.pi * (tau[:, None] * dfs)).astype(np.complex64), n, first=True)
    turn_d = _powers(np.exp(-1j * np.pi * (dfdots[:, None] * tau**2)).astype(np.complex64), n, first=True)
    # One matrix product a harmonic: (nfdot, ns) @ (ns, nf).
    sums = np.matmul(turn_d * times.T[:, None, :].astype(np.complex64), turn_f)
    return np.asarray(np.fft.irfft(sums.reshape(n, -1), data.nbins, axis=0).T)


def _heights(profiles: Array, data: _Data, most: bool = False) -> Floats:
    """Boxcar S/N of profiles."""
    return best_box(profiles, data.variance, dense=False, most=most)[0]


def _own_peak(plane: Floats, dfs: Floats, dfdots: Floats, tau: Floats, width: float) -> tuple[int, int]:
    """Row and column of the peak of the plane that the folded candidate stands on.

    That is the highest, unless the one that an ascent from the start leads to is more than what the highest, smeared,
    leaves there: then it is another source, and the highest is not what was found. A pulse of w turns that drifts by d
    leaves sqrt(w/(w + 0.35 d)) of its S/N, and 1/d of that beyond a turn (as in `pulsar_kernels.longwave.explained`).
    """
    ncols = plane.shape[1]
    i, j = int(np.argmin(np.abs(dfdots))), int(np.argmin(np.abs(dfs)))
    while True:
        # A pulse width each way: over what noise puts between neighbours.
        top, left = max(i - _ASCENT, 0), max(j - _ASCENT, 0)
        near = plane[top : i + _ASCENT + 1, left : j + _ASCENT + 1]
        k, m = (int(n) for n in np.unravel_index(int(np.argmax(near)), near.shape))
        if (top + k, left + m) == (i, j):
            break
        i, j = top + k, left + m
    best, at = divmod(int(np.argmax(plane)), ncols)
    late = (dfs[at] - dfs[j]) * tau + 0.5 * (dfdots[best] - dfdots[i]) * tau**2
    drift = float(np.ptp(late))
    smeared = float(plane[best, at]) * np.sqrt(width / (width + 0.35 * drift)) / max(drift, 1.0)
    # Above what the best place of noise adds: half of the refined folds of pure noise reach less (4 to 6,
    # docs/folding.md).
    stands = float(plane[i, j]) > np.hypot(1.2 * smeared, 5.0)
    return (i, j) if stands else (best, at)


def _profile_box(spectra: Complexes, data: _Data) -> tuple[float, float, float]:
    return fine_box(spectra.sum(axis=(0, 1)), data.variance)


def _bounds(cube: FoldCube, fd_step: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Lowest and highest frequency [Hz] and derivative [Hz/s] that a source may have.

    At least two turns and less than Nyquist; a physical acceleration, or close to that which was found.

    What a search or a user asks for is never out of bounds.
    """
    freq, fdot = cube.params.freq, cube.params.fdot
    most = MOST_ACCEL / C * freq
    low, high = -most, most
    if abs(fdot) > most:
        # Found outside: to be refined by as much as a step of the plane on each side.
        low, high = min(low, fdot - fd_step), max(high, fdot + fd_step)
    # Two turns at least: what is seen once does not repeat.
    return (min(2.0 / cube.tobs, freq), max(0.5 / cube.tsamp, freq)), (low, high)


def _fit(data: _Data, start: Floats, free: Bools, low: Floats, high: Floats) -> Floats:
    """Least-squares fit of (df, dfdot, ddm) and a common phase to a template made from the data.

    Returns the offsets. The fit stays between `low` and `high`.
    """
    theta = start.copy()
    jacobian, size = _jacobian(data, free)
    total = float(data.weight.sum())
    omega = 2.0 * np.pi * data.harmonics
    normal = np.einsum("isb,jsb,sb->ij", jacobian, jacobian, data.weight) / total
    inverse = np.linalg.pinv(normal, rcond=1e-9)
    for _ in range(6):
        spectra = data.aligned(*theta)
        summed = spectra.sum(axis=(0, 1))
        _, width, _ = fine_box(summed, data.variance)
        template = template_of(summed, total, width)
        fisher = float(np.sum(omega**2 * np.abs(template) ** 2))
        step = inverse @ np.einsum("isb,sb->i", jacobian, slopes_of(spectra, template)) / fisher / size
        theta[free] += step[1:]
        theta = np.clip(theta, low, high)
        if np.all(np.abs(step[1:]) * size[1:] < 1e-6):
            break
    return theta


def _jacobian(data: _Data, free: Bools) -> tuple[Floats, Floats]:
    """Lateness of each element by a common phase and the parameters that are free, each in units of its size."""
    jacobian = np.stack(
        [
            np.ones_like(data.weight),
            -data.tau,
            -0.5 * data.tau**2,
            np.broadcast_to(data.freq * data.g[None, :], data.weight.shape),
        ]
    )[np.concatenate([[True], free])]
    # Parameters are scaled to shifts of about a turn, or the normal matrix would mix 1e-12 with 1.
    size = np.sqrt(np.mean(jacobian**2, axis=(1, 2)))
    size[size == 0.0] = 1.0
    return jacobian / size[:, None, None], size


def _noise_scale(spectra: Complexes, data: _Data, width: float, phase: float) -> float:
    """Rms of the off-pulse residuals over what white noise gives, at the scale of a bin and of the pulse; >= 1.

    The mean profile is removed from every sub-integration, so a steady pulse or interpulse does not count. Only an
    excess that noise would not give is reported.
    """
    times = spectra.sum(axis=1)
    nsub, nbins = times.shape[0], data.nbins
    weight = data.weight.sum(axis=1)
    share = weight / weight.sum()
    use = share > 0.25 / nsub
    # Of two sub-integrations each is what the other is not.
    if np.count_nonzero(use) < 3:
        return 1.0
    residual = times - share[:, None] * times.sum(axis=0)
    residual[:, 0] = 0.0
    profiles = np.fft.irfft(residual[use], nbins, axis=1)
    sigma = np.sqrt(weight[use] * (1.0 - share[use]) / nbins)
    z = profiles / sigma[:, None]
    worst, wide = 1.0, max(round(width * nbins), 1)
    for w in {1, wide}:
        # From half a width after the pulse to half a width before it: what is nearer is its own. Of a pulse that leaves
        # nothing, all of the turn.
        beside = nbins - 2 * (wide if nbins - 2 * wide >= 4 else w)
        if beside < max(2 * w, 4):
            continue
        starts = (round((phase + width) * nbins) + np.arange(beside - w + 1)) % nbins
        if len(starts) < w:
            continue
        # What a varying pulse takes from the mean of a turn is no noise beside it.
        off = (starts[0] + np.arange(beside)) % nbins
        flat = z - np.median(z[:, off], axis=1, keepdims=True)
        total = np.cumsum(np.concatenate([flat, flat[:, :w]], axis=1), axis=1)
        total = np.concatenate([np.zeros((len(z), 1)), total], axis=1)
        sums = (total[:, starts + w] - total[:, starts]) / np.sqrt(w * (1.0 - w / nbins))
        # Robust: the 68 % range of the sums, about their own independent number.
        spread = 0.5 * float(np.subtract(*np.percentile(sums, [84.134, 15.866])))
        independent = max(sums.size / w, 2.0)
        if spread > 1.0 + 4.0 * 0.9 / np.sqrt(independent):
            worst = max(worst, spread)
    return min(worst, _left_in_sum(times.sum(axis=0), float(weight.sum()), nbins, width, phase))


def _left_in_sum(summed: Complexes, weight: float, nbins: int, width: float, phase: float) -> float:
    """Most that the noise of the summed profile can be over white noise, by its own off-pulse scatter; >= 1.

    The pulses of another, stronger source march through the sub-integrations and scatter there, yet even out in the
    sum. Two standard errors are added; infinite where the off-pulse part is too short to tell.
    """
    w = max(round(width * nbins), 1)
    off = nbins - 2 * w
    if off < 8 * w:
        return float("inf")
    flat = summed.copy()
    flat[0] = 0.0
    z = np.fft.irfft(flat, nbins) / np.sqrt(weight / nbins)
    # The bins from half a width after the pulse to half a width before it.
    z = z[(round((phase + width) * nbins) + np.arange(off)) % nbins]
    most = 1.0
    for size in {1, w}:
        total = np.concatenate([[0.0], np.cumsum(z)])
        sums = (total[size:] - total[:-size]) / np.sqrt(size * (1.0 - size / nbins))
        most = max(most, float(np.std(sums)) * (1.0 + 2.0 / np.sqrt(2.0 * off / size)))
    return most


def refine(
    cube: FoldCube, *, search_dm: bool = True, search_fdot: bool = True, lines: Lines = (), fit: bool = True
) -> Fold:
    """Refine frequency, derivative and DM of a folded candidate, and measure it.

    Parameters
    ----------
    search_dm : bool
        Fit the DM (more than one band needed).
    search_fdot : bool
        Fit the derivative (more than three sub-integrations needed).
    lines : sequence of (float, float)
        Frequencies and full widths [Hz] of periodic interference: the harmonics that they fall on are left out.
    fit : bool
        False: measure at the starting values, and only show what lies around them.

    Returns
    -------
    Fold
        `extra` holds: ``snr_before`` at the starting values; ``snr_dm0`` and ``width_dm0`` [turns] at DM 0;
        ``noise_scale``, the measured off-pulse noise over the expected white one, by which S/N and errors have been
        corrected; ``nbins`` used; ``fref`` and ``resolution`` of the cube; ``left_out``, which harmonics from 0 on
        lines fall on; ``red_noise``, how sure it is that the lowest harmonics stand in more than white noise [sigma],
        NaN where that cannot be told. If they were divided by it (see :mod:`pulsar.folding.whiten`) also: ``whitened``,
        the same number; ``snr_unwhitened``; and ``pulse_kept``, the part of its S/N in white noise that a pulse of this
        shape keeps; and ``gain``, what each harmonic from 0 on was multiplied with.
    """
    data = _prepare(cube, lines)
    plain, plain_whole = _refined(cube, data, search_dm=search_dm, search_fdot=search_fdot, fit=fit)
    after, before = plain.after, cube.params
    aligned = data.aligned(after.freq - before.freq, after.fdot - before.fdot, after.dm - before.dm)
    times, weight = aligned.sum(axis=1), data.weight.sum(axis=1)
    noise = _known_noise(cube, data) or harmonic_noise(times, weight)
    plain.extra["red_noise"] = float("nan") if noise is None else noise.red
    if noise is None or noise.red < RED:
        return plain_whole()
    data = _prepare(cube, lines, levelled=True)
    if cube.levelled is None:
        data.spectra *= noise.gain
    white, white_whole = _refined(
        cube, data, search_dm=search_dm, search_fdot=search_fdot, fit=fit, noise=noise.evened()
    )
    if white.snr < plain.snr:
        # The pulses of a bright pulsar vary, which is noise beside its harmonics too, but not beside its pulses.
        away = harmonic_noise(without_pulse(times, plain.phase, plain.width), weight)
        # S/N in even noise beyond which no red noise passes for a pulsar: the larger S/N is then kept, as wide bright
        # pulses vary over the whole turn. (Random walks of 3000 times the white noise at the harmonics leave up to 13.)
        if away is None or away.red < RED or white.snr > 20.0:
            # Not noise then, but pulses that vary.
            plain.extra["red_noise"] = 0.0
            return plain_whole()
    shown = template_of(np.fft.rfft(white.profile.astype(np.float64)), float(data.nbins), white.width)
    shape = np.abs(shown / noise.gain) ** 2
    white.extra["red_noise"] = white.extra["whitened"] = noise.red
    white.extra["snr_unwhitened"] = plain.snr
    white.extra["gain"] = noise.gain
    white.extra["pulse_kept"] = float(np.sqrt(np.sum(shape * noise.gain**2) / np.sum(shape)))
    return white_whole()


#: A fold without its errors, and what makes the same fold with them.
_Measured = tuple[Fold, Callable[[], Fold]]


def _refined(
    cube: FoldCube, data: _Data, *, search_dm: bool, search_fdot: bool, fit: bool, noise: HarmonicNoise | None = None
) -> _Measured:
    nsub, nbands = data.weight.shape
    params = cube.params
    fit_f, fit_d, fit_dm = nsub > 1, search_fdot and nsub > 3, search_dm and nbands > 1
    before, width, _ = _profile_box(data.spectra, data)
    # A pulse of more than half a turn fills a box of half a turn wherever it is: only larger ones tell where it ends.
    most = 2 * round(width * data.nbins) >= data.nbins

    theta, trials = np.zeros(3), np.zeros(1)
    offsets = _dm_grid(data, params.dm, width, not fit_dm)
    fit_dm = fit_dm and fit
    if fit_dm:
        theta[2], trials = _followed_dm(data, params.dm, offsets, most)

    # Steps drift by half a pulse over the data; the plane reaches one bin of the search, 1/T, at least.
    step = max(0.5 * width, 1.0 / data.nbins)
    df_step = step / cube.tobs
    fd_step = 8.0 * step / cube.tobs**2
    freqs, fdots = _bounds(cube, fd_step)
    # No use to fit a derivative that is smaller than its error whatever the source.
    fit_d = fit_d and fdots[1] - fdots[0] > 2.0 * fd_step / max(before, 1.0)
    dfs = _within(_steps(20, df_step), params.freq, freqs) if fit_f else np.zeros(1)
    dfdots = _steps(12, fd_step) if search_fdot and nsub > 3 else np.zeros(1)
    times = data.aligned(0.0, 0.0, theta[2]).sum(axis=1)
    profiles = _plane(times, data, dfs, dfdots)
    shown = plane = _heights(profiles, data).reshape(len(dfdots), len(dfs))
    if not fit:
        return _measure(cube, data, theta, np.zeros(3, dtype=np.bool_), before, offsets, dfs, dfdots, shown, noise)
    if most:
        plane = _heights(profiles, data, most).reshape(shown.shape)
    # The whole plane is shown, what is possible of it is searched.
    rows = np.flatnonzero(np.isin(dfdots, _within(dfdots, params.fdot, fdots))) if fit_d else [len(dfdots) // 2]
    i, j = _own_peak(plane[rows], dfs, dfdots[rows], data.tau, width)
    theta[0], theta[1] = dfs[j], dfdots[rows[i]]
    if search_fdot and abs(params.fdot) > MOST_ACCEL / C * params.freq:
        still = _heights(_plane(times, data, dfs, np.array([-params.fdot])), data, most)
        gain = plane[rows[i], j] ** 2 - still.max() ** 2
        # 3 sigma, beside what the number of trials gives.
        if not fit_d or gain < 9.0 + 2.0 * np.log(max(abs(params.fdot) / fd_step, 1.0)):
            theta[0], theta[1] = dfs[int(np.argmax(still))], -params.fdot
            fdots = (-MOST_ACCEL / C * params.freq, MOST_ACCEL / C * params.freq)
    if fit_dm:
        bands = data.aligned(theta[0], theta[1], 0.0).sum(axis=0)
        theta[2] = trials[int(np.argmax(_heights(_dm_profiles(bands, data, trials), data, most)))]

    free = np.array([fit_f, fit_d, fit_dm])
    dm_step = float(offsets[1] - offsets[0]) if len(offsets) > 1 else 0.0
    coarse, _, phase = _profile_box(data.aligned(*theta), data)
    data.tau = _pulse_times(cube, phase)
    if np.any(free):
        limit = np.array([2.0 * df_step, 2.0 * fd_step, 4.0 * dm_step])
        low = np.maximum(theta - limit, [freqs[0] - params.freq, fdots[0] - params.fdot, -np.inf])
        high = np.minimum(theta + limit, [freqs[1] - params.freq, fdots[1] - params.fdot, np.inf])
        fitted = _fit(data, theta, free, low, high)
        if params.dm >= 0.0:
            fitted[2] = max(fitted[2], -params.dm)
        # A fit that lost its way in the noise is not better than the grid.
        if _profile_box(data.aligned(*fitted), data)[0] >= 0.97 * coarse:
            theta = fitted
    return _measure(cube, data, theta, free, before, offsets, dfs, dfdots, shown, noise)


def _measure(
    cube: FoldCube,
    data: _Data,
    theta: Floats,
    free: Bools,
    before: float,
    offsets: Floats,
    dfs: Floats,
    dfdots: Floats,
    plane: Floats,
    noise: HarmonicNoise | None,
) -> _Measured:
    """All numbers and pictures of a fold at its refined parameters; its errors, which take as long, when asked for."""
    params, nbins = cube.params, data.nbins
    spectra = data.aligned(*theta)
    summed = spectra.sum(axis=(0, 1))
    snr, width, phase = fine_box(summed, data.variance)
    scale = _noise_scale(spectra, data, width, phase)
    if noise is not None:
        # What of slow drifts comes in at the ends of the sub-integrations evens out in their sum.
        scale = min(scale, max(noise.scale(width), 1.0))
    total = float(data.weight.sum()) * scale**2
    template = template_of(summed, total, width)

    # The curve is drawn around the refined DM; the model is the template as bright in every band as its weight.
    if len(offsets) > 1:
        around = offsets[params.dm + theta[2] + offsets >= 0.0] if params.dm >= 0.0 else offsets
        curve = _heights(_dm_profiles(spectra.sum(axis=0), data, around), data)
        share = data.weight.sum(axis=0) / data.weight.sum()
        model = share[:, None] * template[None, :]
        peak = _heights(np.fft.irfft(template, nbins)[None, :], data)
        expected = _heights(_dm_profiles(model, data, around), data) * (snr / peak[0])
    else:
        around, curve, expected = np.zeros(1), np.array([snr]), np.array([snr])
    at_zero = _dm_profiles(spectra.sum(axis=0), data, np.array([-params.dm - theta[2]]))
    many = data.weight.shape[1] > 1
    box_dm0 = best_box(at_zero, data.variance)
    snr_dm0, width_dm0 = (float(box_dm0[0][0]), float(box_dm0[1][0]) / nbins) if many else (float("nan"), float("nan"))

    def normal(spectrum: Complexes, weight: Floats) -> Float32s:
        flat = spectrum.copy()
        flat[..., 0] = 0.0
        noise = np.sqrt(np.maximum(weight, 1e-30) / nbins)
        return np.asarray(np.fft.irfft(flat, nbins, axis=-1) / noise[..., None], dtype=np.float32)

    profile = normal(summed, np.asarray(total))
    # The mean takes one degree of freedom; the Nyquist and fractional turns take none that matters.
    chi2 = float(np.sum(profile.astype(np.float64) ** 2)) / (nbins - 1)
    after = FoldParams(params.freq + theta[0], params.fdot + theta[1], params.dm + theta[2], params.fddot)
    fold = Fold(
        before=params,
        after=after,
        freq_err=float("nan"),
        fdot_err=float("nan"),
        dm_err=float("nan"),
        snr=snr / scale,
        width=width,
        phase=phase,
        chi2_red=chi2,
        profile=profile,
        time_phase=normal(spectra.sum(axis=1), data.weight.sum(axis=1) * scale**2),
        freq_phase=normal(spectra.sum(axis=0), data.weight.sum(axis=0) * scale**2),
        time_edges=cube.time_edges,
        band_freqs=cube.band_freqs,
        dms=after.dm + around,
        dm_snr=(curve / scale).astype(np.float32),
        dm_expected=(expected / scale).astype(np.float32),
        freq_offsets=dfs,
        fdot_offsets=dfdots,
        p_pdot=(plane / scale).astype(np.float32),
        epoch=cube.epoch,
        tobs=cube.tobs,
        extra={
            "snr_before": before / scale,
            "snr_dm0": snr_dm0 / scale,
            "width_dm0": width_dm0,
            "noise_scale": scale,
            "nbins": nbins,
            "fref": cube.fref,
            "resolution": cube.resolution,
            "left_out": data.left_out,
        },
    )

    def whole() -> Fold:
        error, noise = np.full(3, np.nan), data.weight * scale**2
        if free.any():
            jacobian, size = _jacobian(data, free)
            error[free] = errors_of(jacobian, spectra, template, noise, int(free[2]))[1:] / size[1:]
        grids = ((dfs - theta[0], plane.max(axis=0)), (dfdots - theta[1], plane.max(axis=1)), (around, curve))
        pairs = zip(error.tolist(), grids, strict=True)
        freq_err, fdot_err, dm_err = (with_peaks(own, at, s / scale, snr / scale) for own, (at, s) in pairs)
        box = snr / scale, width, phase
        width_err, flux_err = size_errors(spectra, template, noise, data.variance * scale**2, box)
        return replace(
            fold, freq_err=freq_err, fdot_err=fdot_err, dm_err=dm_err, width_err=width_err, flux_err=flux_err
        )

    return fold, whole
