"""Synthetic observations as files: SIGPROC filterbank at every depth, PSRFITS as FAST writes it; and the truth beside
them: what is in a file, as TOML that makes it again.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import DAY
from pulsar.data.files import check_output
from pulsar.data.header import Header
from pulsar.data.text import toml_value
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError
from pulsar.io.psrfits import PsrfitsWriter
from pulsar.io.sigproc import FilterbankWriter
from pulsar.synthesis.engine import NPOL, Pol, Synthesiser
from pulsar.synthesis.interference import alive
from pulsar.synthesis.model import LEVELS, Burst, Pulsar, Sky
from pulsar.synthesis.signal import burst_signal, observed_accel, observed_spin, pulsar_signal, smearing

Progress = Callable[[int], None]
#: What the polarisations of files are made of.
_POLS: Final[dict[str, Pol]] = {
    "AA+BB": "AA+BB", "INTEN": "AA+BB", "AABB": "AABB", "AABBCRCI": "AABBCRCI", "IQUV": "IQUV",
}  # fmt: skip


def check_free(path: Path, *, overwrite: bool, nbytes: float = 0) -> None:
    """Refuse a path that cannot be written, before any work is done.

    Parameters
    ----------
    path : Path
    overwrite : bool
        A file of that name may be replaced.
    nbytes : float
        What is going to be written there.

    Raises
    ------
    ConfigError
        The file exists and may not be replaced, its folder is missing or cannot be written, or the disk is too full.
    """
    check_output(path, overwrite=overwrite)
    free = shutil.disk_usage(path.parent).free
    if nbytes > free:
        raise ConfigError(
            f"{path}: would be {nbytes / 1e9:.4g} GB, but {free / 1e9:.4g} GB are free: shorten it or write elsewhere"
        )


def check_packing(nchans: int, nbits: int) -> None:
    """Refuse channels that do not fill whole bytes.

    Raises
    ------
    ConfigError
    """
    if (nchans * nbits) % 8:
        raise ConfigError(
            f"nchans {nchans} of {nbits} bit do not fill whole bytes: take a multiple of {8 // nbits} channels"
        )


def _size(synthesiser: Synthesiser) -> float:
    """Bytes of samples."""
    header = synthesiser.header
    return float(header.nsamps) * header.nchans * synthesiser.nbits / 8 * synthesiser.npol


def _pump(synthesiser: Synthesiser, writer: Any, threads: int, memory: int, progress: Progress | None) -> None:
    for part in synthesiser.chunks(threads=threads, memory=memory):
        writer.write(part[0] if synthesiser.npol == 1 else part)
        if progress is not None:
            progress(part.shape[2])


def _write_truth(synthesiser: Synthesiser, path: Path) -> None:
    sky = synthesiser.sky.model_copy(update={"nbits": synthesiser.nbits})
    values = sky.model_dump(mode="json", exclude_defaults=True)
    # Levels stay out where they are those of the depth, so that the list can be written at another depth.
    values = {key: value for key, value in values.items() if key not in ("mean", "sigma")}
    values["nbits"] = synthesiser.nbits
    levels = synthesiser.sky.levels(synthesiser.nbits)
    if levels != LEVELS[synthesiser.nbits]:
        values["mean"], values["sigma"] = levels
    write_truth(truth_path(path), values, truth(sky))


def write_filterbank(
    sky: Sky,
    path: str | Path,
    *,
    nbits: int | None = None,
    ascending: bool = False,
    nifs: int = 1,
    threads: int = 1,
    memory: int = 128 * 2**20,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a sky as a SIGPROC filterbank file, and its truth beside it (``NAME.truth.toml``).

    Parameters
    ----------
    sky : Sky
    path : str or Path
    nbits : {1, 2, 4, 8, 16, 32}, optional
        In place of the depth of the sky; the analogue signal is the same.
    ascending : bool
        Lowest frequency first in the file.
    nifs : {1, 2, 4}
        1: total intensity; 2: AA, BB, whose sum has the S/N asked for; 4: I, Q, U, V.
    threads : int
        Threads that make samples.
    memory : int
        Bytes of sample buffers.
    overwrite : bool
        Replace an existing file.
    progress : callable, optional
        Told the number of new samples after each chunk.

    Raises
    ------
    ConfigError
        The file exists, or an impossible number of IFs.
    """
    path = Path(path)
    kinds: dict[int, Pol] = {1: "AA+BB", 2: "AABB", 4: "IQUV"}
    if nifs not in kinds:
        raise ConfigError(f"nifs {nifs}: 1 (total), 2 (AA, BB) or 4 (I, Q, U, V)")
    synthesiser = Synthesiser(sky, nbits=nbits, pol=kinds[nifs])
    check_free(path, overwrite=overwrite, nbytes=_size(synthesiser))
    check_packing(sky.nchans, synthesiser.nbits)
    with FilterbankWriter(path, synthesiser.header, nbits=synthesiser.nbits, ascending=ascending, nifs=nifs) as writer:
        _pump(synthesiser, writer, threads, memory, progress)
    _write_truth(synthesiser, path)
    return path


def write_psrfits(
    sky: Sky,
    path: str | Path,
    *,
    nbits: int | None = None,
    npol: int = 1,
    pol_type: str | None = None,
    nsblk: int = 1024,
    rows_per_file: int | None = None,
    ascending: bool = True,
    threads: int = 1,
    memory: int = 128 * 2**20,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Write a sky as PSRFITS search-mode files, and its truth beside them.

    Parameters
    ----------
    sky : Sky
    path : str or Path
        The file; with `rows_per_file` the pattern of several: ``a.fits`` → ``a_0001.fits``, …
    nbits : {1, 2, 4, 8, 16, 32}, optional
        In place of the depth of the sky; the analogue signal is the same.
    npol : {1, 2, 4}
        Polarisations.
    pol_type : {"AA+BB", "INTEN", "AABB", "AABBCRCI", "IQUV"}, optional
        Default by `npol`: AA+BB, AABB, AABBCRCI.
    nsblk : int
        Samples a row.
    rows_per_file : int, optional
        Rows a file; default one file.
    ascending : bool
        Lowest frequency first in the file, as FAST writes it.
    threads, memory, overwrite, progress
        As in `write_filterbank`.

    Returns
    -------
    tuple of Path
        The files, in order.

    Raises
    ------
    ConfigError
        A file exists, or `npol` and `pol_type` do not fit.
    """
    # Many arguments: what PSRFITS files may differ in, by name, each with its default.

    path = Path(path)
    if pol_type is None:
        pol_type = {1: "AA+BB", 2: "AABB", 4: "AABBCRCI"}.get(npol, "")
    if pol_type not in _POLS or NPOL[_POLS[pol_type]] != npol:
        raise ConfigError(
            f"{npol} polarisations of type {pol_type!r}: 1 goes with AA+BB or INTEN, 2 with AABB, "
            "4 with AABBCRCI or IQUV"
        )
    pattern = [path] if rows_per_file is None else sorted(path.parent.glob(f"{path.stem}_[0-9]*{path.suffix}"))
    synthesiser = Synthesiser(sky, nbits=nbits, pol=_POLS[pol_type])
    for file in pattern or [path.with_name(f"{path.stem}_0001{path.suffix}")]:
        check_free(file, overwrite=overwrite, nbytes=_size(synthesiser))
    check_packing(sky.nchans, synthesiser.nbits)
    with PsrfitsWriter(
        path,
        synthesiser.header,
        nbits=synthesiser.nbits,
        npol=npol,
        pol_type=pol_type,
        nsblk=nsblk,
        ascending=ascending,
        rows_per_file=rows_per_file,
    ) as writer:
        _pump(synthesiser, writer, threads, memory, progress)
    _write_truth(synthesiser, path)
    return tuple(Path(file) for file in writer.paths)


def pulsar_truth(header: Header, pulsar: Pulsar, chan_ok: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """Numbers of a pulsar as a search should give them: topocentric, at mid-observation, highest channel.

    Returns
    -------
    dict
        name, period [s], freq [Hz], fdot [Hz/s], accel [m/s2] (each with the orbit), epoch [MJD UTC], dm, snr,
        mean_sigma (mean signal of a channel-sample at mid-band [sigma]), smearing_center [s], scattering_center [s].
    """
    freq, fdot = observed_spin(header, pulsar)
    center = header.fcenter
    signal = pulsar_signal(header, pulsar, chan_ok=chan_ok)
    return {
        "name": pulsar.name,
        "period": 1.0 / freq,
        "freq": freq,
        "fdot": fdot,
        "accel": observed_accel(header, pulsar),
        "epoch": header.tmid,
        "dm": pulsar.dm,
        "snr": pulsar.snr,
        "mean_sigma": pulsar.snr / signal.per_amplitude,
        "smearing_center": _smearing(header, pulsar.dm),
        "scattering_center": pulsar.scattering * (center / 1000.0) ** -4.0,
    }


def burst_truth(header: Header, burst: Burst, chan_ok: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """Numbers of a burst as a search should give them.

    Returns
    -------
    dict
        name, time [s], mjd (both at the highest channel), dm, width [s], snr, fluence (in one channel at mid-band
        [sigma samples]), smearing_center [s], scattering_center [s].
    """
    signal = burst_signal(header, burst, chan_ok=chan_ok)
    return {
        "name": burst.name,
        "time": burst.time,
        "mjd": header.tstart + burst.time / DAY,
        "dm": burst.dm,
        "width": burst.width,
        "snr": burst.snr,
        "fluence": burst.snr / signal.per_amplitude * signal.span / header.tsamp,
        "smearing_center": _smearing(header, burst.dm),
        "scattering_center": burst.scattering * (header.fcenter / 1000.0) ** -4.0,
    }


def _smearing(header: Header, dm: float) -> float:
    return float(smearing(header, dm, np.array([header.fcenter]))[0])


def to_toml(values: Mapping[str, Any]) -> str:
    """Write plain values as TOML: scalars first, then each list of tables as [[name]]; None is left out."""
    lines: list[str] = []
    tables: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in values.items():
        if value is None:
            continue
        if isinstance(value, Sequence) and not isinstance(value, str) and value and isinstance(value[0], Mapping):
            tables.extend((key, item) for item in value)
        else:
            lines.append(f"{key} = {toml_value(value)}")
    for key, item in tables:
        lines += ["", f"[[{key}]]", *(f"{k} = {toml_value(v)}" for k, v in item.items() if v is not None)]
    return "\n".join(lines) + "\n"


def truth_of(
    header: Header, pulsars: Iterable[Pulsar], bursts: Iterable[Burst], chan_ok: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """The truth of a file: one entry for each pulsar and burst, in the words of a search's result."""
    return [
        *({"kind": "pulsar", **pulsar_truth(header, pulsar, chan_ok)} for pulsar in pulsars),
        *({"kind": "burst", **burst_truth(header, burst, chan_ok)} for burst in bursts),
    ]


def truth(sky: Sky) -> list[dict[str, Any]]:
    """The truth of a sky, as :func:`truth_of` tells it."""
    return truth_of(sky.header, sky.pulsars, sky.bursts, alive(sky.header, sky.rfi))


def truth_path(path: str | Path) -> Path:
    """Path of the truth of a synthetic file: ``a.fil`` → ``a.truth.toml``."""
    path = Path(path)
    return path.with_name(path.stem + ".truth.toml")


def write_truth(path: Path, values: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Path:
    """Write `values` (keys of a `Sky` or an `Injection`) and the [[truth]] entries; `path` is replaced whole.

    The file can be given to `load_sky` or `load_injection` again, which pass over [[truth]].
    """
    text = "# What was put into the file of the same name; makes it again as it is.\n"
    text += to_toml({**values, "truth": list(entries)})
    write_whole(path, text)
    return path
