"""FBH5: filterbank data in HDF5, as Breakthrough Listen's blimpy writes it."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pulsar.data.files import check_file, closed_on_error
from pulsar.data.header import Header
from pulsar.data.unfinished import undisturbed
from pulsar.errors import DataError
from pulsar.io.base import on_sky, quantise, spectra_per_piece
from pulsar.io.hdf5 import Hdf5, Hdf5Writer
from pulsar.io.product.schema import FORMAT
from pulsar.io.sigproc import RawHeader, SpectraReader, check_types, common_header, header_keys, sigproc_dtype
from pulsar_kernels.arrays import Array


class Fbh5Reader(SpectraReader):
    """An FBH5 file: dataset ``data`` of shape (time, IF, channel) with the SIGPROC keys as attributes.

    One IF is read as it is; of two or more the first two are summed.

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
        if nsamps < 1:
            raise DataError(f"{path}: the dataset `data` holds no spectra")
        if data.dtype.kind not in "uif" or data.dtype.itemsize > 4:
            raise DataError(f"{path}: samples of type {data.dtype} cannot be read: expected 8 to 32 bit numbers")
        problems: list[str] = []
        fields = self._header_fields(path, RawHeader(values), problems)
        # Positions in FBH5 are hours and degrees, not packed sexagesimal.
        ra_hours, dec_deg = (float(values.pop(key, math.nan)) for key in ("src_raj", "src_dej"))
        ra_deg, dec_deg = on_sky(ra_hours * 15.0, dec_deg)
        dtype = sigproc_dtype(fields["nbits"], self._npol) if data.dtype.kind == "u" else "f4"
        header = common_header(values, problems, **fields, nsamps=nsamps, format="FBH5")
        self._opened(header.with_(ra_deg=ra_deg, dec_deg=dec_deg), dtype, check_file(path, "FBH5"), path, problems)
        self._piece = spectra_per_piece(nifs * nchans * data.dtype.itemsize)
        # Whole chunks, so that none is unpacked twice.
        if data.chunks:
            self._piece = max(1, self._piece // data.chunks[0]) * int(data.chunks[0])
        self._stored(0, 1)

    def _stored(self, start: int, n: int) -> Array:
        try:
            rows = self._h5.part("data", (start, start + n), (0, self._npol)).reshape(-1)
            return rows if rows.dtype == np.uint8 else rows.astype(self.dtype, copy=False)
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            if importlib.util.find_spec("hdf5plugin") is None:
                raise DataError(
                    f"{self._path}: the samples are damaged, or compressed with a filter that h5py lacks "
                    "(likely bitshuffle): pip install 'pulsar-search[fbh5]'"
                ) from error
            raise DataError(
                f"{self._path}: spectra from {start} on cannot be read ({error}): the file is damaged"
            ) from error

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


class Fbh5Writer(Hdf5Writer):
    """Writes an FBH5 file (a context manager), the highest frequency first, not packed.

    The file appears under its name when the block ends without an error.

    Parameters
    ----------
    header : Header
        In the program's order (channel 0 the highest); nsamps is not used. Channels are evenly spaced.
    nbits : int
        8, 16 (unsigned) or 32 (float).
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    ValueError
        The format has no such depth, or no such channels.
    PulsarError
        Nothing can be written there.
    """

    def __init__(self, path: Path, header: Header, *, nbits: int = 8, overwrite: bool = False) -> None:
        if nbits not in (8, 16, 32) or header.freq_table is not None:
            raise ValueError(f"FBH5 has 8, 16 or 32 bit and even channels, not {nbits} bit")
        super().__init__(path, overwrite=overwrite)
        self.header, self.nsamps, self._nbits = header, 0, nbits
        try:
            with undisturbed():
                self._data = self._described()
        except BaseException:
            self.abort()
            raise

    def _described(self) -> h5py.Dataset:
        """The data set, without samples, and the keys."""
        header, nbits = self.header, self._nbits
        # Bytes of a chunk of a file that is written: what HDF5 keeps in memory of a data set by default.
        data = self._file.create_dataset(
            "data",
            (0, 1, header.nchans),
            {8: "u1", 16: "<u2", 32: "<f4"}[nbits],
            maxshape=(None, 1, header.nchans),
            chunks=(max(1, (1 << 20) // (header.nchans * nbits // 8)), 1, header.nchans),
        )
        keys = header_keys(header, nbits=nbits, nifs=1, ascending=False)
        # Hours and degrees, not packed sexagesimal.
        if "src_raj" in keys:
            keys["src_raj"], keys["src_dej"] = header.ra_deg / 15.0, header.dec_deg
        data.attrs.update(keys)
        self._file.attrs.update({"CLASS": "FILTERBANK", "VERSION": "1.0"})
        return data

    def write(self, data: Array) -> None:
        """Append samples, shape (nchans, n), any real type; rounded and clipped to the depth.

        Raises
        ------
        PulsarError
            The disk is full or failed.
        """
        if data.ndim != 2 or len(data) != self.header.nchans:
            raise ValueError(f"write needs ({self.header.nchans}, n), not {data.shape}")
        with undisturbed():
            self._data.resize(self.nsamps + data.shape[1], axis=0)
            self._data[self.nsamps :, 0] = quantise(data, self._nbits).T
        self.nsamps += data.shape[1]
        self._sink.check()
