"""What versions of kernels searches call, the most expensive to compile first.

Written by `tests/packaging/cold.py --index`; `pulsar_kernels.ahead` tells how the types are meant.
"""

VERSIONS = (
    "hits.select(float32[::1], float32[::1], int64, float64, float64[:,::1], int64[::1], int64, float64[::1]"
    ", float64[::1], float32[::1], float32[::1], float64, float64[:,::1], float64[:,::1])",
    "pulses.pick(pulses.White, float64[:,::1], int64, float64, bool, float64[:,::1], float64[:,::1])",
    "whiten.noise_levels(float32[::1], float32[::1], int64, int64[::1], float64[::1], float64[::1]"
    ", float64[:,::1], int64, float64[::1], float64[::1])",
    "fold.fold_bands(int8[:,::1], int64, int64, int64[:,::1], int64[:,::1], int64[::1], int32[:,::1], int64[::1]"
    ", int64[::1], uint16[:,::1], uint8[::1], int16[:,:,::1], int16[:,::1], int32[:,::1], int32[:,:,::1])",
    "ffa.search_periods(int16[::1], int64, int64[:,::1], int64[::1], float64[::1], float64, int16[::1]"
    ", int32[::1], float32[::1], uint8[::1], float32[:,::1])",
    "fft.transform_either(int16[::1], float32[::1], float64[::1], fft.Plan, float32[::1], int64, float32[::1]"
    ", float32[::1])",
    "matched.scan_either(int16[::1], float32[::1], float32[::1], float32[::1], float32[::1], int64[:,::1]"
    ", float64[:,::1], int16[::1], float64[:,::1])",
    "coherent.profile_snrs(float32[::1], float32[::1], int64, coherent.Ladder, float32[::1], float64[::1]"
    ", float32[::1], uint8[::1])",
    "baseline.baseline_and_noise(float32[::1], float32[::1], float32[::1], int64, int64, float32[::1], float32[::1])",
    "tree.choose_rows(int64, float64[::1], float64, float64[::1], float64[::1], float64[::1], int32[:,::1]"
    ", float64[:,::1], float64[::1], float64[::1], float64[::1], int32[:,::1], int64[::1], int64[:,::1]"
    ", int64[:,::1], float64[:,::1])",
    "spectra.line_powers(float32[:,::1], float32[::1], int64[::1], float32[::1], int64, float64"
    ", float32[:,:,::1], float64[::1], int64[::1])",
    "correlate.correlate(float32[:,::1], float32[:,::1], float32[:,::1], correlate.Tables, int64, int64, int64"
    ", float32[::1], uint8[::1], uint8[::1], int64)",
    "peaks.select(float32[::1], float32[::1], int64, float64[::1], int64[::1], float64[::1], int64[::1]"
    ", int64[::1], float64[::1], float64[::1])",
    "cells.scatter_either(int16[::1], float32[::1], float32[::1], float32[::1], float32[::1], float32[::1]"
    ", float32[::1], float64[::1])",
    "harmonics.white_powers(float32[::1], float32[::1], int64, float64[::1], float64[::1], float32[::1]"
    ", float32[::1], float32[::1], float64, float32[::1])",
    "harmonics.harmonic_peaks(float32[::1], int64[:,::1], float32[::1], uint8[::1], int64[::1], int64[::1]"
    ", float32[::1])",
    "unpack.unpack(uint8[::1], int64, int64, int64, int64, int64, bool, int64, uint8[::1], int64, bool)",
    "clusters.describe(int64[::1], int64[::1], int64[::1], clusters.Events, float64[::1], float64[::1], float64"
    ", float64, float64, float64[:,::1])",
    "tree.tree_tile(int8[:,::1], int64, uint8[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1]"
    ", int64, int8[::1], int16[:,::1], int64, int64)",
    "moments.decimate(uint8[:,::1], int64, int64, float32[:,::1])",
    "longwave.sum_either(int16[::1], float32[::1], float64[::1], int64[:,::1], int64, float32[::1])",
    "interference.iqrm(float64[:,::1], int64[::1], float64, bool[:,::1])",
    "fold.fold_band(int16[:,::1], int64, int32[:,::1], int64[::1], int64[::1], uint16[:,::1], int16[::1]"
    ", int32[:,::1], int32[:,::1])",
    "clusters.link(int64[::1], clusters.Events, int64[::1], int64, float64, float64, float64, int64[::1])",
    "cells.moments_either(int16[::1], float32[::1], float32[::1], float32[::1], float32[::1])",
    "interference.most_beyond(float32[:,::1], int64, float32[:,:,::1], bool, int64[:,::1])",
    "correlate.short_series(float32[::1], float32[::1], int64, int64, int64, correlate.Tables, float64"
    ", float32[::1], float32[:,:,::1])",
    "clusters.absorb(int64[::1], int64[::1], int64[::1], clusters.Events, float64[::1], float64, float64"
    ", float64, float64, int64[::1])",
    "period.search_frequencies(float64[::1], float64, float64, int64, int64, float64, float64[:,::1])",
    "synth.add_periodic(float32[:,::1], int64, float64, float64[::1], float64[::1], float64[::1], float64[:,::1]"
    ", int64[::1], float64[::1], float64[::1], bool[::1], int64)",
    "drifts.sum_rows(uint8[::1], int32[::1], int64[:,::1], int64[:,::1], int64, int64, int64, int64, float64"
    ", int64, uint8[::1], int64[::1], int32[:,:,::1], int64, int64[:,::1])",
    "longwave.drift_snr(float32[:,::1], int64[::1], int64[::1], float64, float64[:,::1])",
    "spectra.strongest(float32[:,:,::1], int64, bool[::1], float32[::1], int64[::1])",
    "interference.less_running_means(float32[:,::1], int64, float32[:,::1])",
    "clean.normalise_integers(uint8[:,::1], int64[::1], float32[::1], float32[::1], float32[:], int64, float32[::1]"
    ", float32[::1], int8[:,:])",
    "synth.normals(uint64[::1], int64, float32[:,::1])",
    "moments.moments_u8(uint8[:,::1], int64, float64[::1], float64[:,::1], int64[::1])",
    "hits.exact(float32[::1], float32[::1], int64, float64, float64[:,::1], int64[::1])",
    "fold.boxcar_snr(float64[:,::1], float64[::1], int64[::1], float64[::1], int64[::1], int64[::1])",
    "interference.sums_at(float32[:,::1], int64, int64[::1], float32[:,:,::1])",
    "longwave.fold(float32[::1], float64, float32[:,::1])",
    "longwave.block_means(float32[::1], int64, float64[::1])",
    "moments.add_bands_u8(uint8[:,::1], int64[::1], int64, float32[:,::1])",
    "moments.running_medians(float64[:,::1], int64[::1], int64[::1], float64[:,::1])",
    "longwave.flatten(float32[::1], int64, float64[::1], float32[::1])",
    "dedisperse.halve_words(int8[:,::1], int16[:,::1])",
    "period.best_at(float64[::1], float64, int64, float64, float64[::1])",
    "longwave.explained(float64[::1], float64[::1], bool[::1], float64[::1], float64, float64[::1])",
    "whiten.block_means(float32[::1], float64[::1])",
    "clusters.spread(int64[::1], clusters.Events, float64, float64[::1])",
    "longwave.sum_groups(int32[::1], int64, float64, int16[::1])",
    "fold.deposit(int32[:,:,::1], float64, int64[::1], int64, int64[::1], int64[:,::1], int64[::1], float32[::1])",
    "fold.halve_bytes(int8[:,::1], int8[:,::1])",
    "interference.extend(bool[:,::1], float64, bool[:,::1])",
    "peaks.ratios(float64[::1], float64[::1], int64[::1], bool[::1], int64[::1], int64, float64[::1], int64[:,::1])",
    "synth.phases(float64[::1], float64[::1], float64[::1])",
    "longwave.tame(float32[::1], float32[::1], float64, float64)",
    "longwave.remove_tone(float32[::1], float64, int64, float64[:,::1])",
    "fold.phase_bins(float64, float64, float64, float64, int64, int64[::1], uint16[::1])",
    "longwave.block_variances(float32[::1], int64, float32[::1])",
    "synth.quantise(float32[:,::1], float32[::1], float32[::1], float32[::1], int64, uint8[:,::1])",
    "synth.add_burst(float32[:,::1], int64, float64, float64[::1], float64, float64[:,::1], int64[::1], float64[::1])",
    "peaks.group(float64[::1], int64[::1], float64, int64[::1])",
    "dedisperse.shifted_sums(float32[:,::1], int64[:,::1], int64, float32[:,::1])",
    "whiten.integer_means(int16[::1], float64[::1])",
    "longwave.running_sums(float32[::1], float64, int32[::1])",
    "dedisperse.shear_add(int8[:,:], int64, int64[::1], int64, int64, float32[:,::1])",
    "longwave.pulse_train(float32[::1], float64, float64[::1], bool[::1], float32[::1])",
    "tree.spans(int64[:,::1], int64[:,::1], int64[::1], int64[::1], int64[::1], int64[::1])",
    "longwave.extremes(float32[::1], float32[::1], float32[::1])",
    "interference.stretches(uint8[::1], uint8[::1], int64, int64, int64, int64[:,::1])",
    "synth.interleave(uint8[:,::1], uint8[:,:])",
    "cells.cell_sums(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1])",
    "interference.count_above(float32[:,::1], float32[::1], uint8[::1])",
    "dedisperse.halve_pairs(int16[:,::1], int16[:,::1])",
    "fold.count_slots(uint16[::1], int64[::1])",
    "longwave.count_beyond(float32[::1], float64)",
    "fold.fold_row(float32[::1], uint16[::1], float64[::1])",
    "cells.runs_either(int16[::1], float32[::1], float32[::1], float32[::1], float32[::1], int64)",
    "dedisperse.halve_series(int16[::1], int16[::1])",
    "dedisperse.requantise(int16[:,::1], float64, int8[:,::1])",
    "dedisperse.shear_add(int8[:,::1], int64, int64[::1], int64, int64, float32[:,::1])",
    "injections.add_steps(int16[:,::1], int64, float64, int64[::1], int64[::1], float64[::1], float64[::1]"
    ", float64[::1], float64[::1], float64[:,::1], int64[::1], float64[::1], float64[::1], int64, int64"
    ", int64[::1], int64[::1], bool[:,::1])",
    "injections.add_steps(int8[:,:], int64, float64, int64[::1], int64[::1], float64[::1], float64[::1]"
    ", float64[::1], float64[::1], float64[:,::1], int64[::1], float64[::1], float64[::1], int64, int64"
    ", int64[::1], int64[::1], bool[:,::1])",
    "injections.add_band(int8[:,:], int64, int64[::1], int16[::1])",
    "whiten.whiten_amplitudes(float32[::1], float32[::1], int64, float64[::1], float64[::1])",
)
