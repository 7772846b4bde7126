"""FBH5: filterbank data in HDF5, as Breakthrough Listen's blimpy writes it."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.data.closing import closed_on_error
from pulsar.data.files import check_file
from pulsar.data.observation import Gap, InputFile
from pulsar.errors import DataError
from pulsar.io.base import BaseObservation, flat_view, spectra_per_piece
from pulsar.io.hdf5 import Hdf5
from pulsar.io.product.schema import FORMAT
from pulsar.io.sigproc import channels, check_types, common_header, required
from pulsar.io.sigproc_header import RawHeader


class Fbh5Reader(BaseObservation):
    """An FBH5 file: dataset ``data`` of shape (time, IF, channel) with the SIGPROC keys as attributes.

    One IF is read as it is; of two or more the first two are summed.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError
        There is no such dataset, its keys are wrong, or its compression needs the extra ``fbh5``.
    """

    def __init__(self, path: Path) -> None:
        self._h5 = Hdf5(path, "FBH5")
        with closed_on_error(self._h5):
            self._set_up(path)

    def _set_up(self, path: Path) -> None:
        keys = self._h5.attributes()
        data = self._h5.dataset("data") if self._h5.has("data") else None
        if data is None or len(data.shape) != 3:
            hint = "; this is a result of a search: use `pulsar candidates`" if keys.get("format") == FORMAT else ""
            raise DataError(f"{path}: is HDF5 but not FBH5: expected a dataset `data` of three dimensions{hint}")
        self._path = path
        values = {key: _plain(value) for key, value in {**keys, **self._h5.attributes("data")}.items()}
        nsamps, nifs, nchans = data.shape
        values["nbits"] = 8 * data.dtype.itemsize
        values["nchans"], values["nifs"] = nchans, nifs
        check_types(path, values)
        nchans, nbits, tsamp, nifs = required(path, values)
        if nsamps < 1:
            raise DataError(f"{path}: the dataset `data` holds no spectra")
        if data.dtype.kind not in "uif" or data.dtype.itemsize > 4:
            raise DataError(f"{path}: samples of type {data.dtype} cannot be read: expected 8 to 32 bit numbers")
        problems: list[str] = []
        freqs, foff = channels(path, RawHeader(values), nchans)
        self._reverse = bool(nchans > 1 and freqs[0] < freqs[-1])
        self._npol = min(nifs, 2)
        if nifs > 2:
            problems.append(f"{nifs} IFs: the first two, taken as AA and BB, are summed and the others ignored")
        # Positions in FBH5 are hours and degrees, not packed sexagesimal.
        ra, dec = float(values.pop("src_raj", math.nan)) * 15.0, float(values.pop("src_dej", math.nan))
        if not (0.0 <= ra < 360.0 and -90.0 <= dec <= 90.0):
            ra = dec = math.nan
        if data.dtype == np.uint8 and self._npol == 1:
            self.dtype = np.dtype(np.uint8)
        elif data.dtype == np.uint8 or (data.dtype == np.uint16 and self._npol == 1):
            self.dtype = np.dtype(np.uint16)
        else:
            self.dtype = np.dtype(np.float32)
        header = common_header(
            values,
            problems,
            nchans=nchans,
            nsamps=nsamps,
            tsamp=tsamp,
            fch1=float(max(freqs[0], freqs[-1])),
            foff=-abs(foff),
            nbits=nbits,
            nifs=nifs,
            format="FBH5",
        )
        self.header = header.with_(ra_deg=ra, dec_deg=dec)
        stat = check_file(path, "FBH5")
        self.files = (InputFile.opened(path, nsamps, stat),)
        self.gaps: tuple[Gap, ...] = ()
        self.chan_ok = np.ones(nchans, dtype=np.bool_)
        self.problems = tuple(problems)
        self._piece = spectra_per_piece(nifs * nchans * data.dtype.itemsize)
        # Whole chunks, so that none is unpacked twice.
        if data.chunks:
            self._piece = max(1, self._piece // data.chunks[0]) * int(data.chunks[0])
        self._read_rows(0, 1)

    def _read_rows(self, start: int, n: int) -> NDArray[Any]:
        try:
            return self._h5.part("data", (start, start + n), (0, self._npol))
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            if importlib.util.find_spec("hdf5plugin") is None:
                raise DataError(
                    f"{self._path}: the samples are damaged, or compressed with a filter that h5py lacks "
                    "(likely bitshuffle): pip install 'pulsar-search[fbh5]'"
                ) from error
            raise DataError(
                f"{self._path}: spectra from {start} on cannot be read ({error}): the file is damaged"
            ) from error

    def _fill(self, start: int, out: NDArray[Any]) -> None:
        from pulsar_kernels.unpack import transpose, unpack

        flat, stride = flat_view(out)
        nchans, n = out.shape
        for at in range(0, n, self._piece):
            m = min(self._piece, n - at)
            rows = self._read_rows(start + at, m)
            second = nchans if self._npol == 2 else 0
            if rows.dtype == np.uint8:
                raw = rows.reshape(-1)
                unpack(raw, m, self._npol * nchans, nchans, second, 8, True, 0, flat[at:], stride, self._reverse)
            else:
                wide = rows if rows.dtype == self.dtype else rows.astype(np.float32)
                transpose(wide.reshape(-1), m, self._npol * nchans, nchans, second, flat[at:], stride, self._reverse)

    def close(self) -> None:
        """Close the file."""
        self._h5.close()


def _plain(value: Any) -> Any:
    """An attribute as a Python number or text."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0].item()
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    return value.strip() if isinstance(value, str) else value
