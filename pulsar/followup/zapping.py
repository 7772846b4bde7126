"""Folds of a product without some of their sub-integrations and bands: measured anew, without the samples."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.data.candidate import CANDIDATE_COLUMNS, empty_table
from pulsar.data.fold import FoldCube
from pulsar.errors import ConfigError
from pulsar.followup.folding import complete, fold_row, measured
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.reader import read
from pulsar.io.product.writer import ProductWriter, Target
from pulsar.sources.score import scorer_of

if TYPE_CHECKING:
    from pulsar.io.product.reader import Run

#: Lowest and highest values of what is left out.
Spans = Sequence[tuple[float, float]]
Mask = NDArray[np.bool_]
Told = Callable[[str], None]


def touched(cube: FoldCube, times: Spans, freqs: Spans) -> tuple[Mask, Mask]:
    """The sub-integrations, shape (nsubints,), and bands, shape (nbands,), of which a part lies in a span.

    A band reaches half way to its neighbours.

    Parameters
    ----------
    cube : FoldCube
    times : sequence of (float, float)
        [s] from the start.
    freqs : sequence of (float, float)
        [MHz]

    Raises
    ------
    ConfigError
        A span touches none, or nothing would be left.
    """
    bands = cube.band_freqs
    if freqs and len(bands) < 2:
        raise ConfigError("--zap-freq: the fold has one band only, as those of series have: leave out times")
    half = 0.5 * np.abs(np.diff(bands)) if len(bands) > 1 else np.zeros(1)
    below, above = (np.concatenate(pair)[: len(bands)] for pair in ((half, half[-1:]), (half[:1], half)))
    axes = (
        ("time", "s", times, cube.time_edges[:-1], cube.time_edges[1:]),
        ("freq", "MHz", freqs, bands - below, bands + above),
    )
    masks = []
    for name, unit, spans, lows, highs in axes:
        mask = np.zeros(len(lows), dtype=np.bool_)
        for first, last in spans:
            hit = (lows < last) & (highs > first)
            if not hit.any():
                raise ConfigError(
                    f"--zap-{name} {first:g}:{last:g}: touches nothing of the fold, which is from {lows.min():g} to "
                    f"{highs.max():g} {unit}"
                )
            mask |= hit
        masks.append(mask)
    if not cube.without(masks[0], masks[1]).variance.any():
        raise ConfigError("--zap-time and --zap-freq leave nothing of the fold")
    return masks[0], masks[1]


def _number_of(values: Any, name: str) -> float:
    """A number of what a product tells of a fold; NaN where it does not."""
    value = values.get(name) if isinstance(values, dict) else None
    return float(value) if isinstance(value, int | float) else float("nan")


def zap_fold(
    product: Path, idents: Sequence[str], times: Spans, freqs: Spans, config: Config, target: Target, *, told: Told
) -> "Run":
    """Measure a fold of a product without some of it, in the way in which it was made, and write it to another product.

    Parameters
    ----------
    product : Path
        Of ``pulsar fold``, which keeps all of its folds. Of one that was cleaned itself the whole fold is taken.
    idents : sequence of str
        Its name; may be left out where the product has just one.
    times, freqs : sequence of (float, float)
        What is left out [s from the start, MHz]; none: the fold as it was made.
    config : Config
    target : Target
    told : callable
        Told what has become of the S/N.

    Returns
    -------
    Run
        With the fold that is left, and the whole one beside it (``run.fold(ident, whole=True)``).

    Raises
    ------
    ConfigError
        No one fold is named, it was not kept, or what is to be left out is none or all of it.
    DataError
        The product cannot be read.
    """
    run = read(product)
    names = list(dict.fromkeys(idents)) or list(run.ids)
    if len(names) != 1:
        raise ConfigError(f"{product}: holds {len(run.ids)} folds: name the one to be cleaned: --id ID")
    ident = names[0]
    cube, lines = run.cube(ident)
    whole, old, header = run.fold(ident, whole=True), run.candidate(ident), run.observation
    subints, bands = touched(cube, times, freqs)
    # Errors are known of what was refined.
    fit = bool(np.any(np.isfinite([whole.freq_err, whole.fdot_err, whole.dm_err])))
    fold = measured(cube.without(subints, bands), lines, fit=fit, search_dm=not header.is_series)
    for name, spans in (("time", times), ("freq", freqs)):
        if spans:
            fold.extra[f"zap_{name}"] = [f"{low:g}:{high:g}" for low, high in spans]
    record = Provenance(target.argv, [product], to_toml(config, with_help=False), 1)
    table = empty_table(CANDIDATE_COLUMNS, 1)
    # What a search of the same data has said of it still holds.
    detected = {name: _number_of(whole.extra.get("features"), name) for name in ("sigma", "ndetections")}
    scorer = scorer_of(config.sift.weights)
    fold_row(ident, fold, header, table[0], scorer, {"rfi_flags": old["rfi_flags"], **detected})
    table["known_source"], table["rank"] = old["known_source"], 1
    # The flux density is of the time and the band that are left.
    bandwidth = _number_of(whole.extra, "bandwidth")
    bandwidth = bandwidth if np.isfinite(bandwidth) else header.bandwidth
    fold.extra["bandwidth"] = bandwidth * float(np.mean(~bands))
    complete(table, [fold], header, config)
    for name in ("flux", "flux_err"):
        table[name] /= np.sqrt(np.mean(~subints))
    with ProductWriter(target.path, overwrite=target.overwrite) as writer:
        writer.observation(header, *run.inputs[0], run.problems)
        writer.table("candidates", table)
        if len(run.rows("subtracted/pulsars")):
            writer.table("subtracted/pulsars", run.rows("subtracted/pulsars"))
        writer.fold(ident, fold, cube, lines)
        writer.fold(f"{ident}/whole", whole)
        writer.provenance(record.record({}))
    told(
        f"{ident}: S/N {whole.snr:.1f} -> {fold.snr:.1f} without {np.count_nonzero(subints)} of {len(subints)} "
        f"sub-integrations and {np.count_nonzero(bands)} of {len(bands)} bands; sigma does not count what you tried to "
        "choose these"
    )
    return read(target.path)
