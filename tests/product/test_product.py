"""The HDF5 product: what is written comes back, whole or not at all."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.alike import alike
from reference.products import make_candidates, make_cube, make_fold, make_header, write_product

from pulsar.cleaning.mask import Mask
from pulsar.constants import KDM
from pulsar.data.candidate import (
    CANDIDATE_COLUMNS,
    DETECTION_COLUMNS,
    SINGLE_PULSE_COLUMNS,
    dtype_of,
    empty_table,
)
from pulsar.data.files import check_output
from pulsar.data.observation import Gap, InputFile
from pulsar.data.text import printable
from pulsar.errors import ConfigError, DataError, PulsarError
from pulsar.io.product import schema
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.reader import read
from pulsar.io.product.writer import ProductWriter


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_product(tmp_path / "run.h5")


def visit(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: (type(item), dict(item.attrs))}))
    return found


def test_every_array_has_unit_and_description(product: Path) -> None:
    arrays = {n: a for n, (kind, a) in visit(product).items() if kind is h5py.Dataset}
    assert len(arrays) > 30
    for name, attrs in arrays.items():
        assert "unit" in attrs, name
        assert attrs["description"], name


def test_root_attributes(product: Path) -> None:
    with h5py.File(product) as file:
        assert file.attrs["format"] == "pulsar-search"
        assert file.attrs["format_version"] == schema.FORMAT_VERSION
        assert file.attrs["kdm"] == KDM
        assert file.attrs["created"].endswith("+00:00")
        assert file.attrs["software_version"]
    docs = (Path(__file__).resolve().parents[2] / "docs" / "product.md").read_text()
    assert re.findall(r"^- \*\*(\d+\.\d+)\*\*:", docs, re.MULTILINE)[-1] == schema.FORMAT_VERSION


def test_astropy_reads_units_and_descriptions(product: Path) -> None:
    from astropy import units as u
    from astropy.table import QTable, Table

    table = Table.read(product, path="candidates")
    assert table.colnames == [c.name for c in CANDIDATE_COLUMNS]
    for column in CANDIDATE_COLUMNS:
        assert table[column.name].description == column.description
        assert (table[column.name].unit or u.dimensionless_unscaled) == u.Unit(column.unit)
    quantities = QTable.read(product, path="candidates", character_as_bytes=False)
    assert quantities["period"].unit == u.s
    assert quantities["dm"][0].to_value("pc / cm3") == pytest.approx(56.71)
    assert quantities["id"][0] == "c0001"


def test_plain_h5py_reads_a_compound_table(product: Path) -> None:
    with h5py.File(product) as file:
        rows = file["candidates"][:]
    assert rows.dtype.names == tuple(c.name for c in CANDIDATE_COLUMNS)
    assert rows["id"].tolist() == [b"c0001", b"c0002", b"c0003"]
    assert rows["known_source"][0].decode() == "B0531+21 é"


def test_candidates_round_trip(product: Path) -> None:
    run = read(product)
    expected = make_candidates()
    rows = run.rows("candidates")
    for name in set(expected.dtype.names) - {"target", "nbeams", "nseen"}:
        np.testing.assert_array_equal(rows[name], expected[name])
    # What follows from the observation is filled in.
    assert set(rows["target"]) == {"J0534+2200"}
    assert rows["nbeams"].tolist() == rows["nseen"].tolist() == [1, 1, 1]
    table = run.candidates
    assert str(table["dm"].unit) == "pc / cm3"
    assert table["period"].info.description
    assert table["snr"].dtype == np.float32
    assert len(run) == 3


def test_fold_round_trip(product: Path) -> None:
    run = read(product)
    assert run.ids == ("c0001", "c0002")
    expected, found = make_fold(1), run.fold("c0001")
    for name in schema.FOLD_ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype
    for name in (*schema.FOLD_SCALARS, "before", "after"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.extra == {"dm_fit": 0.97, "flags": ["a", "b"], "count": 3}


@pytest.mark.parametrize("levelled", [False, True])
def test_cube_round_trip(tmp_path: Path, levelled: bool) -> None:
    # Of a series the frequency may not be known.
    fold, lines = make_fold(1), ((50.0, 0.1), (100.0, 0.2))
    cube = dataclasses.replace(make_cube(levelled=levelled), fref=1549.0 if levelled else np.inf)
    path = tmp_path / "fold.h5"
    with ProductWriter(path) as writer:
        writer.observation(make_header())
        writer.table("candidates", make_candidates())
        writer.fold("c0001", fold, cube, lines)
        writer.fold("c0001/whole", make_fold(2))
    run = read(path)
    found, own = run.cube("c0001")
    assert own == lines
    assert alike(found, cube)
    assert run.ids == ("c0001",)
    np.testing.assert_array_equal(run.fold("c0001").profile, fold.profile)
    np.testing.assert_array_equal(run.fold("c0001", whole=True).profile, make_fold(2).profile)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("variance", -1.0, "does not hold sums and variances of the fold c0001"),
        ("data", np.nan, "does not hold sums and variances"),
        ("smooth", 0.0, "does not hold sums and variances"),
        ("lags", None, "lags"),
    ],
)
def test_a_damaged_cube_is_refused(tmp_path: Path, name: str, value: float | None, message: str) -> None:
    path = tmp_path / "fold.h5"
    with ProductWriter(path) as writer:
        writer.observation(make_header())
        writer.table("candidates", make_candidates())
        writer.fold("c0001", make_fold(1), make_cube(levelled=True))
    with h5py.File(path, "r+") as file:
        if value is None:
            del file[f"folds/c0001/cube/{name}"]
        else:
            file[f"folds/c0001/cube/{name}"][...] = value
    with pytest.raises(DataError, match=message):
        read(path).cube("c0001")


def test_folds_of_older_products_have_no_error_of_the_width(product: Path) -> None:
    with h5py.File(product, "a") as file:
        for name in schema.FOLD_LATER:
            del file["folds/c0001"].attrs[name]
    fold = read(product).fold("c0001")
    assert np.isnan([fold.width_err, fold.flux_err]).all()
    assert fold.width == make_fold(1).width


def test_observation_and_provenance_round_trip(product: Path) -> None:
    run = read(product)
    assert run.observation == make_header()
    assert run.problems == ("row 3 is missing", "TBIN disagrees")
    files, gaps = run.rows("observation/files"), run.rows("observation/gaps")
    assert files["nsamps"].tolist() == [3_000_000]
    assert files["path"][0].endswith("a long name of a file é.fits")
    assert (gaps["start"][0], gaps["reason"][0]) == (100, "a row is missing")
    record = run.provenance
    assert record["argv"] == ["pulsar", "search", "x.fil"]
    assert record["config"] == "[dedisp]\ndm_hi = 300.0\n"
    assert record["stages"] == {"clean": (1.5, 2.5), "search": (3.0, 6.0)}
    assert record["versions"]["pulsar-search"]
    assert record["threads"] == 2
    assert record["exit_state"] == "done"
    assert record["start"] <= record["stop"]
    assert record["cpu"]
    assert record["inputs"][0]["size"] == 5


#: Headers that have little in common: another source and beam, another band, uneven channels, next to nothing known.
HEADERS = (
    make_header(),
    make_header().with_(source="J0835-4510, a name longer than any", beam=7, ra_deg=128.8359, dec_deg=-45.1764),
    make_header().with_(source="B", beam=None, nbeams=None, telescope_id=None, nchans=2, nsamps=10, foff=-1.0),
    make_header().with_(source="", nchans=3, freq_table=(1500.0, 1400.0, 1350.0), tstart=58000.5, is_series=False),
    make_header().with_(
        source="tim", nchans=1, is_series=True, barycentric=True, ra_deg=np.nan, dec_deg=np.nan, dm=9.0
    ),
)


def write_several(path: Path) -> Path:
    table = empty_table(CANDIDATE_COLUMNS, 6)
    table["id"] = [f"c{i}" for i in range(6)]
    table["obs"] = [4, 1, 0, 3, 2, -1]
    table["ra_deg"], table["dec_deg"], table["beam"] = 10.0, -20.0, 3
    pulses = empty_table(SINGLE_PULSE_COLUMNS, 1)
    pulses["id"], pulses["obs"] = "p1", 2
    files = [[InputFile(Path(f"/data/{i}.fits"), 0, 10, 1, 0.0)] for i in range(5)]
    with ProductWriter(path) as writer:
        writer.observations(
            HEADERS, files, [[], [Gap(5, 2, "lost")], [], [], []], merged=[(f"/{i}.h5", 0.1 * i) for i in range(5)]
        )
        writer.table("candidates", table)
        writer.table("single_pulses", pulses)
    return path


def test_every_row_has_its_own_observation(tmp_path: Path) -> None:
    run = read(write_several(tmp_path / "all.h5"))
    assert run.is_merged
    for found, expected in zip(run.observations, HEADERS, strict=True):
        values, wanted = vars(found.with_()), vars(expected.with_())
        np.testing.assert_equal(values, wanted)
    rows = run.rows("candidates")
    assert rows["target"].tolist() == ["tim", HEADERS[1].source, HEADERS[0].source, "", "B", ""]
    assert [run.observation_of(row).source for row in rows][:5] == rows["target"].tolist()[:5]
    assert run.observation_of("c3").freqs.tolist() == [1500.0, 1400.0, 1350.0]
    assert run.observation_of("p1").source == "B"
    assert run.observation_of(run.candidate("c1")).beam == 7
    assert rows["nbeams"].tolist() == [1, 1, 1, 1, 1, 0]
    # Nobody knows of which the last one is: not of the first.
    last = run.observation_of("c5")
    assert (last.source, last.beam, last.ra_deg, last.dec_deg) == ("", 3, 10.0, -20.0)
    assert np.isnan([last.tstart, last.tsamp, last.fch1]).all()
    with pytest.raises(ConfigError, match="no candidate 'c9'"):
        run.observation_of("c9")
    shared = run.observation
    assert (shared.source, shared.beam, shared.telescope, shared.tstart) == ("", None, "FAST", 58000.5)
    assert np.isnan([shared.ra_deg, shared.foff]).all()
    assert (run.rows("observation/gaps")["obs"].tolist(), run.rows("observation/files")["obs"][3]) == ([1], 3)
    assert run.rows("observations")["bandwidth"][3] == HEADERS[3].bandwidth
    assert run.rows("observations")["masked"][3] == pytest.approx(0.3)


def test_a_single_run_has_one_observation(product: Path) -> None:
    run = read(product)
    assert not run.is_merged
    assert run.observations == (make_header(),)
    assert run.observation_of("c0002") == run.observation
    (row,) = run.rows("observations")
    assert (row["source"], row["beam"], row["tobs"]) == ("J0534+2200", 1, make_header().tobs)
    assert [row["gl"], row["gb"]] == pytest.approx([184.557, -5.784], abs=1e-3)


def test_rows_of_which_nothing_is_recorded(tmp_path: Path) -> None:
    table = empty_table(CANDIDATE_COLUMNS, 2)
    table["id"], table["obs"] = ["c1", "c2"], [-1, 0]
    with ProductWriter(tmp_path / "run.h5") as writer:
        writer.observations(HEADERS[:1], [[]], [[]])
        writer.table("candidates", table)
    run = read(tmp_path / "run.h5")
    assert run.is_merged
    assert run.observations == HEADERS[:1]
    assert run.observation_of("c1").source == ""
    assert run.observation_of("c2") == HEADERS[0]


def test_rfi_round_trip(product: Path) -> None:
    rfi = read(product).rfi
    assert rfi["chan_mask"].tolist() == [False, True, False, False]
    assert rfi["chan_reasons"] == ["", "dead", "", ""]
    assert rfi["mask"].shape == (3, 4)
    assert rfi["block_nsamps"] == 1024
    assert rfi["masked_fraction"] == pytest.approx(4 / 12)
    assert read(product).rows("rfi/birdies")["freq"].tolist() == [50.0]


@pytest.mark.parametrize("name", ["chan_mask", "chan_reasons", "edges"])
def test_a_mask_without_its_channels_or_blocks_is_refused(product: Path, name: str) -> None:
    with h5py.File(product, "a") as file:
        del file[f"rfi/{name}"]
    with pytest.raises(DataError, match=f"rfi has a mask, but no {name}"):
        read(product).rfi  # noqa: B018


def test_the_blocks_of_a_mask_have_one_edge_more(product: Path) -> None:
    with h5py.File(product, "a") as file:
        edges = file["rfi/edges"][()]
        del file["rfi/edges"]
        file["rfi/edges"] = edges[:-1]
    with pytest.raises(DataError, match="rfi/edges has the shape"):
        read(product).rfi  # noqa: B018


def test_a_table_that_is_not_there_is_empty(product: Path) -> None:
    run = read(product)
    assert len(run.single_pulses) == 0
    assert run.single_pulses["time"].unit == "s"
    assert len(run.detections) == 2


def test_representations(product: Path) -> None:
    run = read(product)
    assert repr(run).startswith("<Run run.h5 of J0534+2200: 3 candidates, best c0001: P 0.0333919663 s, DM 56.71")
    page = run._repr_html_()
    assert page.count("<tr>") == 5  # names, units, types, and a row for each source
    assert "2 candidates and 1 that belong to them" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_empty_product(tmp_path: Path) -> None:
    path = tmp_path / "none.h5"
    with ProductWriter(path) as writer:
        writer.observation(make_header())
        writer.table("candidates", empty_table(CANDIDATE_COLUMNS, 0))
        writer.table("single_pulses", empty_table(SINGLE_PULSE_COLUMNS, 0))
    run = read(path)
    assert len(run) == 0
    assert run.ids == ()
    assert "0 candidates>" in repr(run)
    assert len(run.candidates) == 0


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
            st.floats(width=64),
            st.integers(-(2**31), 2**31 - 1),
        ),
        max_size=8,
    )
)
def test_any_values_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, int]]) -> None:
    table = empty_table(CANDIDATE_COLUMNS, len(rows))
    for i, (text, number, count) in enumerate(rows):
        table["known_source"][i], table["dm"][i], table["rank"][i] = text, number, count
    path = tmp_path_factory.mktemp("any") / "t.h5"
    with ProductWriter(path) as writer:
        writer.table("candidates", table)
    found = read(path).rows("candidates")
    for name in ("dm", "rank"):
        np.testing.assert_array_equal(found[name], table[name])
    # No control code, of a terminal or of a page's direction, comes out of a product.
    assert found["known_source"].tolist() == [printable(t) for t in table["known_source"].tolist()]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"

    def interrupted() -> None:
        with ProductWriter(path) as writer:
            writer.table("candidates", make_candidates())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_overwrite_keeps_the_old_file(product: Path) -> None:
    before = product.read_bytes()

    def failing() -> None:
        with ProductWriter(product, overwrite=True) as writer:
            writer.table("candidates", make_candidates()[:1])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert product.read_bytes() == before
    with ProductWriter(product, overwrite=True) as writer:
        writer.observation(make_header())
        writer.table("candidates", make_candidates()[:1])
        assert product.read_bytes() == before
    assert len(read(product)) == 1
    assert [p.name for p in product.parent.iterdir() if p.name.startswith(".")] == []


def test_existing_output_is_refused(product: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.h5: the output exists already; give --overwrite"):
        ProductWriter(product)


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    writer = ProductWriter(path)
    path.write_text("somebody else's")
    with pytest.raises(ConfigError, match="appeared meanwhile"):
        writer.close()
    assert path.read_text() == "somebody else's"
    assert len(list(tmp_path.iterdir())) == 1


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        check_output(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        check_output(tmp_path / "no" / "run.h5")
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(ConfigError, match="cannot be written"):
            check_output(tmp_path / "run.h5")


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PulsarError, match="lacks the column rank"), ProductWriter(tmp_path / "x.h5") as writer:
        writer.table("candidates", np.zeros(1, dtype=[("dm", "f8")]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an HDF5 file"),
        (b"some text, no HDF5 at all", "not an HDF5 file .*some tex"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "damaged or truncated HDF5"),
    ],
)
def test_files_that_are_no_products(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_other_hdf5_and_newer_versions(tmp_path: Path, product: Path) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match=r"not a product of `pulsar search`.*expected 'pulsar-search'"):
        read(other)
    with h5py.File(product, "a") as file:
        file.attrs["format_version"] = "1.7"
    assert len(read(product)) == 3
    with h5py.File(product, "a") as file:
        file.attrs["format_version"] = "2.0"
    with pytest.raises(DataError, match=r"format_version is '2.0', this program reads up to 1.x"):
        read(product)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "missing.h5")
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)


def test_unknown_ids(product: Path) -> None:
    run = read(product)
    with pytest.raises(ConfigError, match="no fold 'c9'; there are c0001, c0002"):
        run.fold("c9")
    with pytest.raises(ConfigError, match="no candidate 'c9'"):
        run.candidate("c9")
    assert run.candidate("c0002")["dm"] == 20.0


@pytest.mark.parametrize(
    ("ident", "message"),
    [
        ("c0002", r"run\.h5: candidate 'c0002' was not folded \(fold\.ncands: .*\); there are c0001$"),
        ("c0019", r"run\.h5: no fold 'c0019'; there are c0001$"),
        (0, r"run\.h5: folds go by the names of candidates, and there is none named 0; there are c0001$"),
    ],
)
def test_of_a_fold_that_is_not_there_the_others_are_told(product: Path, ident: Any, message: str) -> None:
    with h5py.File(product, "a") as file:
        del file["folds/c0002"]
    folds = read(product).folds
    assert list(folds) == ["c0001"]
    assert ident not in folds
    assert folds.get(ident) is None
    with pytest.raises(KeyError) as caught:
        folds[ident]
    assert isinstance(caught.value, ConfigError)
    assert re.search(message, str(caught.value))


def test_many_channels_and_large_arrays(tmp_path: Path) -> None:
    path = tmp_path / "wide.h5"
    nchans = 4096
    with ProductWriter(path) as writer:
        freqs = 1500.0 - 0.1220703125 * np.arange(nchans)
        writer.observation(make_header().with_(nchans=nchans, freq_table=tuple(freqs)))
        blocks = np.zeros((300, nchans))
        edges = 20345 * np.arange(301)
        mask = Mask(np.ones(nchans, bool), ("",) * nchans, blocks > 0, edges, blocks, blocks)
        writer.rfi(mask.stored(freqs))
        writer.table("detections", np.zeros(10_000, dtype=dtype_of(DETECTION_COLUMNS)))
    assert path.stat().st_size < 1_000_000
    assert read(path).observation.freq_table == tuple(freqs)


def test_provenance_describes_this_machine(tmp_path: Path) -> None:
    source = tmp_path / "a.fil"
    source.write_bytes(b"12345")
    record = Provenance(("pulsar",), (source,), "x = 1", 4).record({"clean": (1.0, 2.0)}, "interrupted")
    assert record["inputs"][0]["path"] == str(source)
    assert record["inputs"][0]["mtime"].endswith("+00:00")
    assert record["exit_state"] == "interrupted"
    assert {"numpy", "python", "pulsar-search"} <= set(record["versions"])


def test_the_documentation_lists_everything() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "product.md").read_text()
    for columns, _ in schema.TABLES.values():
        for column in columns:
            assert f"| `{column.name}` | {column.dtype} | {column.unit} | {column.description} |" in text
    for arrays in (
        schema.FOLD_ARRAYS,
        schema.FOLD_SCALARS,
        schema.FOLD_PART,
        schema.CUBE_ARRAYS,
        schema.LEVELLED_ARRAYS,
        schema.CUBE_SCALARS,
        schema.LEVELLED_SCALARS,
        schema.PULSE_ARRAYS,
        schema.PULSE_SCALARS,
    ):
        for name, (unit, description) in arrays.items():
            assert f"| `{name}` | {unit} | {description} |" in text
    for name, (dtype, unit, description) in schema.RFI_ARRAYS.items():
        assert f"| `{name}` | {dtype} | {unit} | {description} |" in text
    assert f'"{schema.FORMAT_VERSION}"' in text
