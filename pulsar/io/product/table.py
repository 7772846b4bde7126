"""Tables of results as astropy's, with units, and in a notebook with the columns that an eye looks for first."""

from collections.abc import Sequence
from typing import Final

from astropy.table import QTable
from astropy.units import Quantity

from pulsar.data.candidate import Column
from pulsar_kernels.arrays import Array

#: Columns that a notebook shows, as far as the table has them, and how.
SHOWN: Final = {
    "rank": "", "id": "", "target": "", "beam": "", "nbeams": "", "period": ".9g", "freq": ".9g", "time": ".6f",
    "dm": ".5g", "accel": ".3g", "fdot": ".3g", "snr": ".1f", "sigma": ".1f", "nharm": "", "width": ".4g",
    "score": ".2f", "kind": "", "rfi_flags": "", "known_source": "", "harmonic_of": "",
}  # fmt: skip
#: Rows that a notebook shows.
MOST_ROWS: Final = 20


class ResultTable(QTable):  # type: ignore[misc]
    """A table of candidates, pulses or detections: an astropy QTable with a short form and one for notebooks."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} rows, {len(self.colnames)} columns: {', '.join(self._shown())}>"

    def _repr_html_(self) -> str:
        names = self._shown()
        part = QTable(self[:MOST_ROWS])[names]
        for name in names:
            if SHOWN[name]:
                part[name].info.format = SHOWN[name]
        left = [name for name in self.colnames if name not in names]
        more = [f"{len(self) - MOST_ROWS} rows"] if len(self) > MOST_ROWS else []
        more += [f"the columns {', '.join(left)}"] if left else []
        text: str = part._repr_html_()
        return text + (f"<small>and {' and '.join(more)}</small>" if more else "")

    def _shown(self) -> list[str]:
        names = [name for name in SHOWN if name in self.colnames]
        if "period" in names and "freq" in names:
            names.remove("freq")
        return names or list(self.colnames)


def as_table(rows: Array, columns: Sequence[Column], description: str) -> ResultTable:
    """A structured array as a table with units and descriptions.

    Parameters
    ----------
    columns : sequence of Column
        Of those that the array has; others get neither unit nor description.
    description : str
        Of the whole table.
    """
    known = {c.name: c for c in columns}
    table = ResultTable()
    for key in rows.dtype.names or ():
        column = known.get(key, Column(key, "", "", ""))
        table[key] = Quantity(rows[key], column.unit, dtype=rows[key].dtype) if column.unit else rows[key]
        table[key].info.description = column.description
    table.meta["description"] = description
    return table
