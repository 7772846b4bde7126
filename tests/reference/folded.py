"""Folds as other programs write them, made from arrays: ``.phcx`` of PulsarHunter."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BEST = {"TopoPeriod": 0.3344, "BaryPeriod": 0.33441, "Dm": 165.75, "Accn": 0.0, "Snr": 30.9, "Width": 0.0625}


def hexadecimal(rows: NDArray[Any]) -> str:
    """Values as whole numbers of 8 bit between the least and the largest, two digits each, 40 in a line."""
    scaled = np.rint(255 * (rows - rows.min()) / max(float(np.ptp(rows)), 1e-30)).astype(np.uint8)
    text = scaled.tobytes().hex().upper()
    return "\n".join(text[i : i + 80] for i in range(0, len(text), 80))


def section(name: str, times: NDArray[Any], bands: NDArray[Any] | None, best: dict[str, float]) -> str:
    nbins = times.shape[1]
    parts = [f"<Section name='{name}'><BestValues>"]
    parts += [f"<{key}>{value:.14f}</{key}>" for key, value in best.items()]
    parts += ["</BestValues><SampleRate>-1.0</SampleRate>"]
    for key, rows in (("SubIntegrations", times), ("SubBands", bands)):
        if rows is not None:
            size = f"nBins='{rows.shape[1]}' nSub='{len(rows)}' format='02X' min='0.0' max='1.0'"
            parts.append(f"<{key} {size}>\n{hexadecimal(rows)}\n</{key}>")
    profile = hexadecimal(times.mean(axis=0))
    parts.append(f"<Profile nBins='{nbins}' format='02X' min='0.0' max='1.0'>\n{profile}</Profile></Section>")
    return "\n".join(parts)


def phcx(sections: list[str], *, tobs: float = 560.0, width: float = -400.0) -> bytes:
    """A candidate with these sections, at Parkes."""
    head = (
        "<SourceID>J1803-2711</SourceID><Telescope>Parkes</Telescope><Coordinate><RA units='degrees'>270.96</RA>"
        f"<Dec units='degrees'>-27.19</Dec></Coordinate><CentreFreq units='MHz'>1382.0</CentreFreq><BandWidth "
        f"units='MHz'>{width}</BandWidth><MjdStart>54985.72521</MjdStart><ObservationLength units='seconds'>{tobs}"
        "</ObservationLength><Origin><Beam>04</Beam></Origin>"
    )
    return f"<?xml version='1.0'?>\n<phcf><head>{head}</head>{''.join(sections)}</phcf>".encode()


def rows_of_a_pulsar(
    n: int, snr: float, *, nbins: int = 64, width: float = 0.02, seed: int = 1, level: float = 30.0
) -> NDArray[np.float64]:
    """Rows of white noise with a pulse of so much S/N in their sum, at phase 0.4; the noise is 1."""
    phase = np.arange(nbins) / nbins
    pulse = np.exp(-0.5 * ((phase - 0.4) / width) ** 2)
    pulse *= snr / np.sqrt(n * np.sum((pulse - pulse.mean()) ** 2))
    rows: NDArray[np.float64] = level + np.random.default_rng(seed).normal(size=(n, nbins)) + pulse
    return rows


def sums_of_a_pulsar(
    nsub: int, nbands: int, snr: float, *, seed: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sub-integrations and bands of one cube, with a pulse of so much S/N in the sum of all."""
    rows = rows_of_a_pulsar(nsub * nbands, snr, seed=seed).reshape(nsub, nbands, -1)
    return rows.sum(axis=1), rows.sum(axis=0)
