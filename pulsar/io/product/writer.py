"""Writing of the HDF5 product: beside its final place, and renamed only when it is whole."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from pulsar.constants import KDM
from pulsar.data.candidate import Column, table_of
from pulsar.data.files import check_output
from pulsar.data.fold import Fold, FoldCube, PulseCutout
from pulsar.data.header import Header
from pulsar.data.observation import Gap, InputFile
from pulsar.data.series import Lines
from pulsar.data.unfinished import undisturbed
from pulsar.errors import PulsarError
from pulsar.io.hdf5 import Hdf5Writer
from pulsar.io.product import parts, schema
from pulsar.io.product.provenance import software_version
from pulsar_kernels.arrays import Array, Float32s


@dataclass(frozen=True)
class Target:
    """A product that is to be written."""

    path: Path
    overwrite: bool = False  # Replace an existing file
    argv: Sequence[str] = ()  # Command line, for the provenance


class FileWriter(Hdf5Writer):
    """Writer of one HDF5 file of this program; use it as a context manager.

    All goes to a hidden file in the same folder. When the ``with`` block ends well, that file is brought to disk and
    renamed; when it ends with an error, it is removed and nothing of the final name is touched.

    Parameters
    ----------
    path : Path or str
        Final name.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    ConfigError
        The file exists and `overwrite` is False, or its folder cannot be written.
    PulsarError
        The file cannot be written (disk full …).
    """

    #: format, format_version: what the file says that it is.
    format: str = schema.FORMAT
    format_version: str = schema.FORMAT_VERSION
    groups: Mapping[str, str] = schema.GROUPS  # Its groups, and what each of them holds

    def __init__(self, path: Path | str, *, overwrite: bool = False) -> None:
        super().__init__(check_output(path, overwrite=overwrite), overwrite=overwrite)
        self._calm = contextlib.ExitStack()
        self._file.attrs.update(
            {
                "format": self.format,
                "format_version": self.format_version,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "software_version": software_version(),
                "kdm": KDM,
            }
        )
        for name, description in self.groups.items():
            self._file.create_group(name).attrs["description"] = description

    def __enter__(self) -> Self:
        self._calm.enter_context(undisturbed())
        return self

    def __exit__(self, kind: type[BaseException] | None = None, error: BaseException | None = None, *_: Any) -> None:
        with self._calm:
            super().__exit__(kind, error)

    def observation(
        self, header: Header, files: Sequence[InputFile] = (), gaps: Sequence[Gap] = (), problems: Sequence[str] = ()
    ) -> None:
        """Store the one observation: its header (attributes of ``/observation``), files, gaps and oddities."""
        self.observations([header], [files], [gaps], problems=problems)

    def observations(
        self,
        headers: Sequence[Header],
        files: Sequence[Sequence[InputFile]],
        gaps: Sequence[Sequence[Gap]],
        *,
        merged: Sequence[tuple[str, float]] = (),
        problems: Sequence[str] = (),
    ) -> None:
        """Store the observations that the column `obs` of other tables counts.

        Parameters
        ----------
        headers : sequence of Header
            One at least.
        files, gaps : sequence of sequences
            Of each observation.
        merged : sequence of (str, float)
            Of each the product from which it was merged, and the fraction of it that was masked there.
        problems : sequence of str
            What was odd in the files.
        """
        header = parts.shared_header(headers)
        attrs = self._file["observation"].attrs
        for field in fields(header):
            value = getattr(header, field.name)
            if field.name == "freq_table":
                if value is not None:
                    self._array("observation/freq_table", np.asarray(value), "MHz", "channel centres, descending")
            elif value is not None:
                attrs[field.name] = value
        attrs.update({"tobs": header.tobs, "tmid": header.tmid, "bandwidth": header.bandwidth})
        attrs["fcenter"] = header.fcenter
        attrs["units"] = json.dumps(
            {"tsamp": "s", "tobs": "s", "fch1": "MHz", "foff": "MHz", "bandwidth": "MHz", "fcenter": "MHz"}
            | {"tstart": "d", "tmid": "d", "dm": "pc / cm3"}
            | dict.fromkeys(("ra_deg", "dec_deg", "az_deg", "za_deg"), "deg")
        )
        of_each = [(obs, file) for obs, some in enumerate(files) for file in some]
        rows = [(str(Path(f.path).absolute()), f.start, f.nsamps, f.size, f.mtime, obs) for obs, f in of_each]
        self.table("observation/files", rows)
        lost = [(g.start, g.nsamps, g.reason, obs) for obs, some in enumerate(gaps) for g in some]
        self.table("observation/gaps", lost)
        self._strings("observation/problems", problems, "what was odd in the files")
        self._listed(headers, merged)

    def _listed(self, headers: Sequence[Header], merged: Sequence[tuple[str, float]]) -> None:
        """Store each observation by itself, too, where a format has a table of them."""

    def provenance(self, record: Mapping[str, Any]) -> None:
        """Store how the file was made: `record` as :class:`pulsar.io.product.provenance.Provenance` gives it.

        ``config`` becomes a text, ``inputs`` and ``stages`` tables, the rest attributes (lists and dicts as JSON).
        May be called again: the later values replace the earlier ones.
        """
        group = self._file["provenance"]
        for key, value in record.items():
            if key == "config":
                if "config" in group:
                    del group["config"]
                group["config"] = str(value)
                group["config"].attrs.update({"unit": "", "description": "effective configuration of the run, TOML"})
            elif key == "stages":
                self.table("provenance/stages", [(name, *times) for name, times in dict(value).items()])
            elif isinstance(value, str | bool | int | float):
                group.attrs[key] = value
            else:
                group.attrs[key] = json.dumps(value, default=_plain)

    def rfi(self, mask: Mapping[str, Any], birdies: Sequence[tuple[float, float, str]] = ()) -> None:
        """Store what is left out, and what normalises the rest, as ``/rfi``.

        Parameters
        ----------
        mask : mapping
            Arrays and attributes, as :meth:`pulsar.cleaning.mask.Mask.stored` has them.
        """
        for name, (dtype, unit, description) in schema.RFI_ARRAYS.items():
            if dtype == "U":
                self._strings(f"rfi/{name}", mask[name], description)
            else:
                self._array(f"rfi/{name}", np.asarray(mask[name], dtype=dtype), unit, description)
        self._file["rfi"].attrs.update({key: value for key, value in mask.items() if key not in schema.RFI_ARRAYS})
        self.table("rfi/birdies", birdies)

    def table(self, name: str, rows: Array | Sequence[tuple[Any, ...]]) -> None:
        """Store a table.

        Parameters
        ----------
        name : str
            One of `schema.TABLES`, which has its columns.
        rows : structured ndarray, or sequence of tuples
            With these columns by name, or in their order.

        Raises
        ------
        PulsarError
            A column is lacking.
        """
        columns, description = schema.TABLES[name]
        if not isinstance(rows, np.ndarray):
            dtype = [(c.name, "O" if c.dtype.startswith("U") else c.dtype) for c in columns]
            rows = np.array([tuple(row) for row in rows], dtype=dtype)
        missing = [c.name for c in columns if c.name not in (rows.dtype.names or ())]
        if missing:
            raise PulsarError(f"{self.path}: the table {name} lacks the column {missing[0]}")
        # The sibling in which astropy looks for units and descriptions.
        sibling = f"{name}.__table_column_meta__"
        for old in (name, sibling):
            if old in self._file:
                del self._file[old]
        dataset = self._array(name, _stored(rows, columns), [c.unit for c in columns], description, most=256)
        dataset.attrs["column_descriptions"] = [c.description for c in columns]
        meta = np.array([line.encode() for line in schema.column_meta(columns)])
        self._array(sibling, meta, "", f"units and descriptions of {name}, for astropy", most=len(meta))

    def _array(
        self, name: str, data: Array, unit: str | list[str], about: str, *, most: int = 1024, at: Any = None
    ) -> h5py.Dataset:
        """Store a data set in the file, or `at` a group of it, packed where it has more elements than `most`."""
        self._sink.check()
        packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if data.size > most else {}
        dataset = (at or self._file).create_dataset(name, data=data, **packed)
        dataset.attrs.update({"unit": unit, "description": about})
        return dataset

    def _strings(self, name: str, texts: Sequence[str], description: str) -> None:
        data = np.array([str(t) for t in texts], dtype=h5py.string_dtype())
        self._array(name, data, "", description, most=len(data))


class ProductWriter(FileWriter):
    """Writer of the product of a search or of folds.

    Say first what was observed: of their own observation the candidates and single pulses get their target, and of
    their positions the galactic coordinates.
    """

    _headers: tuple[Header, ...] = ()

    def _listed(self, headers: Sequence[Header], merged: Sequence[tuple[str, float]]) -> None:
        self._headers = tuple(headers)
        origins = list(merged) or [("", math.nan)] * len(headers)
        rows = [parts.observation_row(i, h, *of) for i, (h, of) in enumerate(zip(headers, origins, strict=True))]
        self.table("observations", rows)
        for i, header in enumerate(headers):
            if header.freq_table is not None and len(headers) > 1:
                table = np.asarray(header.freq_table)
                self._array(f"observation/freq_tables/{i}", table, "MHz", f"channel centres of observation {i}")

    def table(self, name: str, rows: Array | Sequence[tuple[Any, ...]]) -> None:
        """Store a table; candidates and single pulses with what follows from their own observation."""
        if name in ("candidates", "single_pulses") and isinstance(rows, np.ndarray):
            rows = parts.placed(rows, self._headers)
        super().table(name, rows)

    def completeness(self, injected: Array, rows: Array, limits: Array | None = None) -> None:
        """Store what was injected, what was listed beside it, and what flux densities that means.

        Parameters
        ----------
        injected, rows, limits : ndarray
            Fields of INJECTED_COLUMNS, ROW_COLUMNS and LIMIT_COLUMNS; no limits where the telescope is not known.
        """
        self.table("completeness/injected", injected)
        self.table("completeness/rows", rows)
        if limits is not None and limits.size:
            self.table("completeness/limits", limits)

    def orbits(self, found: Sequence[tuple[Any, ...]], octaves: Sequence[tuple[Any, ...]], profiles: Float32s) -> None:
        """Store circular orbits and what was planned for them: rows of ORBIT_ and OCTAVE_COLUMNS; and profiles."""
        self.table("orbits/found", found)
        self.table("orbits/octaves", octaves)
        shaped = profiles if profiles.size else np.zeros((0, 0), dtype=np.float32)
        self._array(
            "orbits/profiles", shaped, "", "profile of each orbit in units of its noise, shape (norbits, nbins)"
        )

    def fold(self, ident: str, fold: Fold, cube: FoldCube | None = None, lines: Lines = ()) -> None:
        """Store the fold of candidate `ident` as ``/folds/ident``.

        Parameters
        ----------
        cube : FoldCube, optional
            Of which it was made: kept in it, so that it can be cleaned later.
        lines : sequence of (float, float)
            Frequencies and full widths [Hz] of periodic interference that was left out of it.
        """
        scalars = schema.FOLD_SCALARS | (schema.FOLD_PART if fold.part else {})
        attrs: dict[str, Any] = {"part": fold.part} if fold.part else {}
        units = {}
        for key, unit in schema.FOLD_PARAMS.items():
            for when in ("before", "after"):
                attrs[f"{key}_{when}"] = float(getattr(getattr(fold, when), key))
                units[f"{key}_{when}"] = unit
        attrs["extra"] = json.dumps(fold.extra, default=_plain)
        group = self._measured(f"folds/{ident}", f"fold of candidate {ident}", fold, schema.FOLD_ARRAYS, scalars, units)
        group.attrs.update(attrs)
        if cube is not None:
            self._cube(f"folds/{ident}/cube", cube, lines)

    def _cube(self, name: str, cube: FoldCube, lines: Lines) -> None:
        about = "what was folded, before any refinement"
        lags = np.zeros(len(cube.band_freqs)) if cube.lags is None else cube.lags
        group = self._measured(name, about, replace(cube, lags=lags), schema.CUBE_ARRAYS, schema.CUBE_SCALARS)
        group.attrs["lines"] = json.dumps([list(line) for line in lines])
        if cube.levelled is not None:
            noise = cube.levelled.noise
            group.attrs["red"] = noise.red
            arrays = (cube.levelled.data, noise.measured, noise.smooth)
            for (key, about_it), array in zip(schema.LEVELLED_ARRAYS.items(), arrays, strict=True):
                self._array(f"{name}/{key}", np.asarray(array), *about_it)

    def pulse(self, ident: str, cutout: PulseCutout) -> None:
        """Store what surrounds single pulse `ident` as ``/pulses/ident``."""
        about = f"surroundings of single pulse {ident}"
        self._measured(f"pulses/{ident}", about, cutout, schema.PULSE_ARRAYS, schema.PULSE_SCALARS)

    def _measured(
        self,
        name: str,
        about: str,
        measured: Fold | FoldCube | PulseCutout,
        arrays: Mapping[str, tuple[str, str]],
        scalars: Mapping[str, tuple[str, str]],
        more_units: Mapping[str, str] | None = None,
    ) -> h5py.Group:
        """The group of a fold or a pulse, with the arrays and the numbers that the schema lists."""
        group = self._file.create_group(name)
        for field, (unit, description) in arrays.items():
            self._array(field, np.asarray(getattr(measured, field)), unit, description, at=group)
        group.attrs.update({field: float(getattr(measured, field)) for field in scalars})
        units = {field: unit for field, (unit, _) in scalars.items() if unit} | dict(more_units or {})
        group.attrs.update({"description": about, "units": json.dumps(units)})
        return group


def _stored(table: Array, columns: tuple[Column, ...]) -> Array:
    """The table with texts as fixed-width UTF-8, wide enough for the longest."""

    def stored(values: Array, kind: str) -> Array:
        if not kind.startswith("U"):
            return values.astype(kind)
        texts = np.array([str(value).encode() for value in values], dtype=bytes)
        return texts.astype(h5py.string_dtype("utf-8", max(int(kind[1:]), texts.itemsize)))

    return table_of({column.name: stored(table[column.name], column.dtype) for column in columns})


def _plain(value: Any) -> Any:
    """A value that json cannot write by itself, as one that it can."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
