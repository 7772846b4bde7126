"""Reading of the HDF5 product."""

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from pulsar.data.candidate import Column, dtype_of, empty_table, table_of, values_of
from pulsar.data.files import check_output, closed_on_error
from pulsar.data.fold import Fold, FoldCube, PulseCutout
from pulsar.data.header import Header
from pulsar.data.injected import RECALL_COLUMNS, RELIABILITY_COLUMNS, recall, reliability
from pulsar.data.observation import Gap, InputFile
from pulsar.data.text import file_name
from pulsar.data.unfinished import write_whole
from pulsar.errors import ConfigError, DataError, UnknownNameError
from pulsar.io.hdf5 import Hdf5
from pulsar.io.product import parts, schema
from pulsar_kernels.arrays import Array

if TYPE_CHECKING:
    from pulsar.io.product.table import ResultTable


def open_file(path: Path, forms: Mapping[str, str], kind: str, *, content: bytes | None = None) -> Hdf5:
    """Open an HDF5 file of this program for reading.

    Parameters
    ----------
    forms : mapping of str to str
        The formats that are expected, and the newest version of each that is known.
    kind : str
        What that is, in words, with the command that makes it.
    content : bytes, optional
        What the file holds, where it was never written.

    Raises
    ------
    DataError
        The file is missing, is something else, damaged, or of a newer major version.
    """
    file = Hdf5(path, kind, content=content)
    with closed_on_error(file):
        about = file.attributes()
        form = about.get("format", "")
        if not isinstance(form, str) or form not in forms:
            expected = " or ".join(repr(form) for form in forms)
            raise DataError(f"{path}: HDF5, but not {kind}: attribute format is {form!r}, expected {expected}")
        stored = str(about.get("format_version", ""))
        major = stored.split(".")[0]
        supported = int(forms[form].split(".")[0])
        if not (major.isascii() and major.isdigit()) or len(major) > 4 or int(major) > supported:
            raise DataError(
                f"{path}: format_version is {stored!r}, this program reads up to {supported}.x; update pulsar-search"
            )
    return file


def read_header(file: Hdf5) -> Header:
    """The header in ``/observation``.

    Raises
    ------
    DataError
        It is not whole.
    """
    values: dict[str, Any] = {}
    if file.has("observation"):
        names = {f.name for f in fields(Header)}
        values = {key: v for key, v in file.attributes("observation").items() if key in names}
        if file.has("observation/freq_table"):
            values["freq_table"] = tuple(float(f) for f in file.array("observation/freq_table", "f", (None,)))
    missing = [key for key in ("nchans", "nsamps", "tsamp", "fch1", "foff", "tstart") if key not in values]
    if missing:
        raise DataError(f"{file.path}: /observation lacks the attribute {missing[0]!r}; the file is damaged")
    return parts.checked_header(file, values)


def _group_attributes(file: Hdf5, name: str) -> dict[str, Any]:
    """Attributes of a group that every product has, but for its description."""
    if not file.has(name):
        raise file.damaged(f"the group {name} is missing")
    values: dict[str, Any] = file.attributes(name)
    values.pop("description", None)
    return values


def _kept(name: str, about: str) -> "cached_property[ResultTable]":
    """A table of a run as an attribute of it, read once."""

    def table(run: "Run") -> "ResultTable":
        return run.table(name)

    table.__doc__ = about
    return cached_property(table)


def _with_units(rows: Array, columns: Sequence[Column], description: str) -> "ResultTable":
    # Which loads astropy.
    from pulsar.io.product.table import as_table

    return as_table(rows, columns, description)


class _Rfi(Mapping[str, Any]):
    """The mask; large arrays, whose values are not known yet, are read when they are asked for."""

    def __init__(self, values: dict[str, Any], large: Sequence[str], read: Callable[[str], Array]) -> None:
        self._values, self._read = values | dict.fromkeys(large), read

    def __getitem__(self, name: str) -> Any:
        if self._values[name] is None:
            self._values[name] = self._read(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Run:
    """A finished run. Nothing is kept open: every access reads what it needs.

    Parameters
    ----------
    path : Path or str
        A product of this program.
    content : bytes, optional
        What that file would hold, where it was never written; `path` is only a name then.

    Raises
    ------
    DataError
        The file is missing, is not a product, or of a newer major version.
    """

    def __init__(self, path: Path | str, *, content: bytes | None = None) -> None:
        self.path = Path(path)
        self._content = content
        with self._open() as file:
            self.attrs: dict[str, Any] = file.attributes()

    def _open(self) -> Hdf5:
        forms = {schema.FORMAT: schema.FORMAT_VERSION}
        return open_file(self.path, forms, "a product of `pulsar search`", content=self._content)

    @classmethod
    def in_memory(cls, path: Path | str) -> Self:
        """Take a product whole into memory, so that its file may go; :meth:`save` writes it again.

        Raises
        ------
        DataError
            As for the class.
        """
        run = cls(path)
        return cls(Path("in memory"), content=run.path.read_bytes())

    def save(self, path: Path | str, *, overwrite: bool = False) -> "Run":
        """Write the product to a file.

        Parameters
        ----------
        path : Path or str
        overwrite : bool
            Replace an existing file.

        Returns
        -------
        Run
            The product at its new place.

        Raises
        ------
        ConfigError
            The file exists, or cannot be written.
        """
        path = check_output(path, overwrite=overwrite)
        write_whole(path, self.path.read_bytes() if self._content is None else self._content)
        return Run(path)

    def rows(self, name: str = "candidates") -> Array:
        """A table as a structured numpy array, texts as str; empty when the file does not hold it.

        Parameters
        ----------
        name : str
            "candidates", "single_pulses", "detections", "observation/files", … (see schema.TABLES).
        """
        columns = schema.TABLES[name][0]
        with self._open() as file:
            if not file.has(name):
                return np.zeros(0, dtype=dtype_of(columns))
            stored = parts.stored_rows(file, name, columns)
        # An older version lacks the columns that came later: they are unknown.
        later = tuple(c for c in columns if c.name not in (stored.dtype.names or ()))
        both = stored, empty_table(later, len(stored))
        return table_of({name: table[name] for table in both for name in table.dtype.names or ()})

    def table(self, name: str = "candidates") -> "ResultTable":
        """A table as an astropy QTable with units and descriptions; empty when the file does not hold it.

        Parameters
        ----------
        name : str
            As for :meth:`rows`.
        """
        return _with_units(self.rows(name), *schema.TABLES[name])

    candidates = _kept("candidates", "The ranked candidates, best first, with units.")

    @property
    def sources(self) -> "ResultTable":
        """The candidates without those that another explains (its harmonics and so on): one row a source."""
        rows: ResultTable = self.candidates[self.candidates["harmonic_of"] == ""]
        return rows

    single_pulses = _kept(
        "single_pulses", "The ranked single pulses, best first, with units; empty when they were not searched."
    )
    detections = _kept("detections", "The raw detections, with units; empty when they were not kept.")
    injected = _kept(
        "completeness/injected",
        "Signals that were injected to tell how complete the run is, and what became of them; empty without any.",
    )
    limits = _kept(
        "completeness/limits",
        "Flux densities from which on the injected pulsars are found, by period and duty cycle; empty without any.",
    )

    def recall(
        self, by: str = "snr", *, kind: Literal["pulsar", "burst"] = "pulsar", edges: Sequence[float] | None = None
    ) -> "ResultTable":
        """How many of the injected signals were found, in bins of their S/N or another column, with 68 % intervals.

        Parameters
        ----------
        by : str
            "snr", "period", "dm", "width", "duty", "accel" or "time".
        kind : {"pulsar", "burst"}
        edges : sequence of float, optional
            Of the bins, ascending; default: 6 to 20 in S/N, otherwise four bins of equal numbers.

        Raises
        ------
        ConfigError
            There is no such column or kind, the edges do not ascend, or nothing was injected.
        """
        rows = self._beside_injected("injected", kind)
        bins = recall(rows, by, edges)
        return _with_units(bins, RECALL_COLUMNS, f"recall of injected {kind}s by {by}")

    def reliability(self, *, kind: Literal["pulsar", "burst"] = "pulsar") -> "ResultTable":
        """How many of the rows of a score, at the DMs of injected signals, were these signals; with 68 % intervals.

        Raises
        ------
        ConfigError
            There is no such kind, or nothing was injected.
        """
        bins = reliability(self._beside_injected("rows", kind))
        return _with_units(bins, RELIABILITY_COLUMNS, f"reliability of the score of {kind}s")

    def _beside_injected(self, name: str, kind: str) -> Array:
        """Rows of one kind of a table of the completeness."""
        if kind not in ("pulsar", "burst"):
            raise ConfigError(f"kind {kind!r}: pulsar or burst")
        if not len(self.rows("completeness/injected")):
            raise ConfigError(f"{self.path}: nothing was injected into this run: search with --completeness")
        rows = self.rows(f"completeness/{name}")
        return np.asarray(rows[rows["kind"] == kind])

    @property
    def pulses(self) -> "ResultTable":
        """The same as `single_pulses`."""
        return self.single_pulses

    @cached_property
    def observation(self) -> Header:
        """Header of the observation; of several what they share, everything else unknown (see `observations`)."""
        with self._open() as file:
            return read_header(file)

    @cached_property
    def observations(self) -> tuple[Header, ...]:
        """Headers of all observations, as the column `obs` counts them."""
        rows = self.rows("observations")
        if len(rows) <= 1:
            return (self.observation,)
        with self._open() as file:
            group = "observation/freq_tables"
            freqs = {
                key: tuple(float(f) for f in file.array(f"{group}/{key}", "f", (None,))) for key in file.names(group)
            }
            return tuple(parts.row_header(file, row, freqs.get(str(i))) for i, row in enumerate(rows))

    @cached_property
    def is_merged(self) -> bool:
        """True if rows are of several observations, so that each needs to say of which."""
        tables = (self.rows(name)["obs"] for name in ("candidates", "single_pulses"))
        return len(self.observations) != 1 or any(bool(np.any(obs < 0)) for obs in tables)

    def observation_of(self, row: Any) -> Header:
        """Header of the observation from which a row is: its source, beam, position, start, length, sampling and band.

        Parameters
        ----------
        row : str, mapping or void
            A row of candidates or single pulses, or the id of one.

        Returns
        -------
        Header
            With nothing but beam and position of the row where nobody has recorded the rest.

        Raises
        ------
        ConfigError
            There is no candidate or single pulse of that name.
        """
        if isinstance(row, str):
            pulses = self.rows("single_pulses")
            places = np.flatnonzero(pulses["id"] == row)
            row = pulses[places[0]] if places.size else self.candidate(row)
        names = row.keys() if isinstance(row, Mapping) else row.dtype.names
        obs = int(row["obs"]) if "obs" in names else (0 if len(self.observations) == 1 else -1)
        return self.observations[obs] if 0 <= obs < len(self.observations) else parts.unknown_header(row)

    def files_of(self, obs: int) -> tuple[Path, ...]:
        """Files of an observation, as the column `obs` counts them, in order of time; of all where it is negative."""
        files = self.rows("observation/files")
        return tuple(Path(str(path)) for path in files[(files["obs"] == obs) | (obs < 0)]["path"])

    @cached_property
    def inputs(self) -> tuple[tuple[list[InputFile], list[Gap]], ...]:
        """Files and gaps of each observation, as they were when it was read."""
        files, gaps = (self.rows(f"observation/{name}") for name in ("files", "gaps"))
        return tuple(
            (
                [
                    InputFile(Path(str(r["path"])), *(r[key].item() for key in ("start", "nsamps", "size", "mtime")))
                    for r in files[files["obs"] == obs]
                ],
                [Gap(int(r["start"]), int(r["nsamps"]), str(r["reason"])) for r in gaps[gaps["obs"] == obs]],
            )
            for obs in range(len(self.observations))
        )

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """Oddities of the input files."""
        with self._open() as file:
            return file.texts("observation/problems") if file.has("observation/problems") else ()

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """How the file was made: argv, versions, inputs, times, configuration (TOML text), exit state."""
        with self._open() as file:
            record = _group_attributes(file, "provenance")
            for key, kind in (("argv", list), ("versions", dict), ("inputs", list)):
                if key in record:
                    record[key] = parts.read_json(file, f"attribute {key} of provenance", record[key], kind)
            if not all(isinstance(word, str) for word in record.get("argv", ())):
                raise file.damaged("attribute argv of provenance is no list of texts")
            if not all(isinstance(i, dict) and {"path", "size"} <= set(i) for i in record.get("inputs", ())):
                raise file.damaged("attribute inputs of provenance is no list of files with their sizes")
            if file.has("provenance/config"):
                record["config"] = file.text("provenance/config")
        record["stages"] = {
            str(r["stage"]): (float(r["wall"]), float(r["cpu"])) for r in self.rows("provenance/stages")
        }
        return record

    @cached_property
    def rfi(self) -> Mapping[str, Any]:
        """The mask: the arrays of ``/rfi`` by name (see schema.RFI_ARRAYS) and its attributes.

        Those of `schema.RFI_LARGE` are read when they are asked for.
        """
        with self._open() as file:
            values = _group_attributes(file, "rfi")
            for name, (kind, _, _) in schema.RFI_ARRAYS.items():
                stored = f"rfi/{name}"
                if name not in schema.RFI_LARGE and file.has(stored):
                    # A picture of the mask takes as much again for the reasons, and for each of them.
                    more = 2 if name == "mask" else 0
                    values[name] = list(file.texts(stored)) if kind == "U" else file.array(stored, "fiub", more=more)
            parts.check_mask(file, values)
            large = [name for name in schema.RFI_LARGE if file.has(f"rfi/{name}")]
        return _Rfi(values, large, self._rfi_array)

    def _rfi_array(self, name: str) -> Array:
        header = self.observation
        with self._open() as file:
            # Who asks for it wants it whole: of four hours of a FAST beam it takes 2 GB.
            file.room += header.nsamps * header.nchans
            return file.array(f"rfi/{name}", "fiub")

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Names of the candidates that have a fold, best first."""
        with self._open() as file:
            names = _plain_names(file.names("folds"))
        ranked = [str(i) for i in self.rows("candidates")["id"] if str(i) in names]
        return (*ranked, *sorted(names.difference(ranked)))

    @cached_property
    def pulse_ids(self) -> tuple[str, ...]:
        """Names of the single pulses that were cut out, best first."""
        with self._open() as file:
            names = _plain_names(file.names("pulses"))
        return tuple(str(i) for i in self.rows("single_pulses")["id"] if str(i) in names)

    def candidate(self, ident: str) -> dict[str, Any]:
        """The row of one candidate as a dict of Python values.

        Raises
        ------
        ConfigError
            There is no candidate of that name.
        """
        rows = self.rows("candidates")
        places = np.flatnonzero(rows["id"] == ident)
        if not places.size:
            raise ConfigError(f"{self.path}: no candidate {ident!r}; {_some([str(i) for i in rows['id']])}")
        return values_of(rows[places[0]])

    def fold(self, ident: str, *, whole: bool = False) -> Fold:
        """The fold of one candidate; ``pulsar.plot`` draws it.

        Parameters
        ----------
        ident : str
        whole : bool
            As it was made, with what was left out of it by hand (``pulsar fold --zap-time``, ``--zap-freq``).

        Raises
        ------
        ConfigError
            There is no fold of that name (an `UnknownNameError`, which is a KeyError, too).
        """
        with self._open() as file:
            if ident in file.names("folds"):
                cleaned = whole and file.has(f"folds/{ident}/whole")
                return parts.read_fold(file, f"{ident}/whole" if cleaned else ident)
        raise UnknownNameError(f"{self.path}: {self._no_fold(ident)}; {_some(list(self.ids))}")

    def cube(self, ident: str) -> tuple[FoldCube, tuple[tuple[float, float], ...]]:
        """Of what a fold was made, all of it, and the lines [Hz] of interference that were left out: frequency, width.

        Raises
        ------
        ConfigError
            It was not kept: only `pulsar fold` does so.
        """
        self.fold(ident)
        with self._open() as file:
            if file.has(f"folds/{ident}/cube"):
                return parts.read_cube(file, ident)
        raise ConfigError(
            f"{self.path}: holds sums of the fold {ident} only, over time and over frequency; fold it again, which "
            f"keeps all of it: pulsar fold FILE --candidates {self.path} --id {ident} --out FOLD.h5"
        )

    def _no_fold(self, ident: object) -> str:
        """Why there is no fold of a name."""
        if not isinstance(ident, str):
            return f"folds go by the names of candidates, and there is none named {ident!r}"
        if ident in self.rows("candidates")["id"]:
            return f"candidate {ident!r} was not folded (fold.ncands: how many of the best are)"
        return f"no fold {ident!r}"

    @property
    def folds(self) -> "Folds":
        """The folds by the names of their candidates, best first; each is read when it is asked for."""
        return Folds(self)

    def pulse(self, ident: str) -> PulseCutout:
        """The surroundings of a single pulse; ``pulsar.plot`` draws them.

        Raises
        ------
        ConfigError
            No pulse of that name was cut out.
        """
        with self._open() as file:
            if ident not in file.names("pulses"):
                raise ConfigError(f"{self.path}: no pulse {ident!r} was cut out; {_some(list(self.pulse_ids))}")
            return parts.read_pulse(file, ident)

    def __len__(self) -> int:
        return len(self.rows("candidates"))

    def __repr__(self) -> str:
        rows = self.rows("candidates")
        best = ""
        if len(rows):
            first = rows[0]
            best = (
                f", best {first['id']}: P {first['period']:.9g} s, DM {first['dm']:.5g}, S/N {first['snr']:.1f}, "
                f"score {first['score']:.2f}"
            )
        sources = ", ".join(dict.fromkeys(h.source for h in self.observations if h.source))
        count = f" ({len(self.observations)} observations)" if len(self.observations) > 1 else ""
        about = f" of {sources}{count}" if sources else ""
        return f"<Run {self.path.name}{about}: {len(rows)} candidates{best}>"

    def _repr_html_(self) -> str:
        if self.is_merged:
            sources = ", ".join(dict.fromkeys(h.source or "unnamed source" for h in self.observations))
            about = f"{sources or 'unnamed sources'} · {len(self.observations)} observations"
        else:
            header = self.observation
            about = f"{header.source or 'unnamed source'} · {header.tobs:.6g} s · "
            about += f"{header.freqs[-1]:.6g}–{header.freqs[0]:.6g} MHz"
        shown = self.sources
        attached = f" and {len(self) - len(shown)} that belong to them" if len(self) > len(shown) else ""
        about += f" · {len(shown)} candidates{attached}"
        title, line = html.escape(self.path.name), html.escape(about)
        return f"<h4>{title}</h4><p>{line}</p>{shown._repr_html_()}"


class Folds(Mapping[str, Fold]):
    """The folds of a run: a mapping from the name of a candidate to its :class:`Fold`, read when asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getitem__(self, ident: str) -> Fold:
        return self._run.fold(ident)

    def __contains__(self, ident: object) -> bool:
        # Without it the fold would be read.
        return ident in self._run.ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._run.ids)

    def __len__(self) -> int:
        return len(self._run.ids)

    def __repr__(self) -> str:
        return f"<{len(self)} folds: {', '.join(self._run.ids[:5])}{', …' if len(self) > 5 else ''}>"


def read(path: Path | str) -> Run:
    """Open a product of ``pulsar search``.

    Raises
    ------
    DataError
        The file is missing, is not a product, or of a newer major version.
    """
    return Run(path)


def _plain_names(names: list[str]) -> set[str]:
    """Those that may be part of a file's name; our own are c0001 and such."""
    return {name for name in names if name == file_name(name)}


def _some(names: list[str]) -> str:
    if not names:
        return "the file holds none"
    return "there are " + ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
