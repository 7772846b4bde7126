"""The truth beside a synthetic file: what is in it, as TOML that makes it again."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.constants import DAY
from pulsar.data.header import Header
from pulsar.data.unfinished import write_whole
from pulsar.synthesis.interference import alive
from pulsar.synthesis.model import Burst, Pulsar, Sky
from pulsar.synthesis.signal import burst_signal, observed_accel, observed_spin, pulsar_signal, smearing


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


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "nan"
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        text = repr(value)
        return text if any(c in text for c in ".en") else text + ".0"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items() if item is not None) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in text) + '"'


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
            lines.append(f"{key} = {_value(value)}")
    for key, item in tables:
        lines += ["", f"[[{key}]]", *(f"{k} = {_value(v)}" for k, v in item.items() if v is not None)]
    return "\n".join(lines) + "\n"


def truth(sky: Sky) -> list[dict[str, Any]]:
    """What the sky holds, one entry for each pulsar and burst, in the words of a search's result."""
    header = sky.header
    chan_ok = alive(header, sky.rfi)
    return [
        *({"kind": "pulsar", **pulsar_truth(header, pulsar, chan_ok)} for pulsar in sky.pulsars),
        *({"kind": "burst", **burst_truth(header, burst, chan_ok)} for burst in sky.bursts),
    ]


def truth_path(path: str | Path) -> Path:
    """Where the truth of a synthetic file lies: ``a.fil`` → ``a.truth.toml``."""
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
