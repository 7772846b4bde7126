"""``pulsar.simulate(…)``: one call for a notebook or a script."""

from pathlib import Path
from typing import Any

from pulsar.data.block import Block
from pulsar.errors import ConfigError
from pulsar.synthesis.engine import make
from pulsar.synthesis.model import Sky, validate
from pulsar.synthesis.write import write_filterbank, write_psrfits


def simulate(
    path: str | Path | None = None,
    sky: Sky | None = None,
    *,
    threads: int = 1,
    overwrite: bool = False,
    output: dict[str, Any] | None = None,
    **values: Any,
) -> Block | tuple[Path, ...]:
    """Make a synthetic observation, in memory or as files.

    Parameters
    ----------
    path : str or Path, optional
        ``.fil``: SIGPROC filterbank; ``.fits`` or ``.sf``: PSRFITS. Without it the samples are returned.
    sky : Sky, optional
        What is observed.
    threads : int
        Threads that make samples.
    overwrite : bool
        Replace existing files.
    output : dict, optional
        Options of `write_filterbank` or `write_psrfits`: npol, nsblk, rows_per_file, ascending …
    **values
        Fields of a `Sky`: in place of those of `sky`, or all of them.

    Returns
    -------
    Block, or tuple of Path
        The samples, or the files that were written.

    Raises
    ------
    ConfigError
        A wrong field, an unknown kind of file, or a file that exists.

    Examples
    --------
    >>> block = simulate(nchans=64, tobs=1.0, pulsars=[{"period": 0.05, "dm": 30, "snr": 25}])
    >>> block.data.shape
    (64, 7629)
    """
    if values or sky is None:
        known = {} if sky is None else sky.model_dump(exclude_unset=True)
        if {"tobs", "nsamps"} & values.keys():
            known = {key: value for key, value in known.items() if key not in ("tobs", "nsamps")}
        sky = validate(Sky, known | values)
    if path is None:
        if output:
            raise ConfigError(f"{', '.join(output)}: options of a file, but no path is given")
        return make(sky, threads=threads)
    path = Path(path)
    if path.suffix == ".fil":
        return (write_filterbank(sky, path, threads=threads, overwrite=overwrite, **(output or {})),)
    if path.suffix in (".fits", ".fit", ".sf"):
        return write_psrfits(sky, path, threads=threads, overwrite=overwrite, **(output or {}))
    raise ConfigError(f"{path}: a synthetic observation is a .fil (SIGPROC) or a .fits or .sf (PSRFITS)")
