"""Quirks of FAST's files, each in files that have it."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from reference.noises import codes as noise
from reference.psrfits import grow_from_the_first

from pulsar.data.header import Header
from pulsar.errors import DataError
from pulsar.io.base import parse_name
from pulsar.io.night import examine, scan
from pulsar.io.open import open_observation
from pulsar.io.psrfits import PsrfitsWriter
from pulsar.io.sigproc import FilterbankWriter

NCHANS, NSBLK, TSAMP = 64, 64, 1e-3
#: Seconds of a row.
ROW = NSBLK * TSAMP
#: On whole seconds: 21600 s after midnight.
TSTART = 58849.25


def make_header(**changes) -> Header:
    header = Header(
        nchans=NCHANS, nsamps=0, tsamp=TSAMP, fch1=1496.09375, foff=-7.8125, tstart=TSTART, telescope="FAST",
        ra_deg=83.6, dec_deg=22.0, source="SRC",
    )  # fmt: skip
    return header.with_(**changes)


def write(folder, data, *, rows=2, header=None, stem="SRC_tracking-M03", **options):
    """Files of `rows` rows each, with names as FAST's."""
    with PsrfitsWriter(
        folder / f"{stem}.fits", header or make_header(), nsblk=NSBLK, rows_per_file=rows, **options
    ) as writer:
        writer.write(data)
    return list(writer.paths)


def edit(path, primary=None, subint=None, columns=None):
    """Change header keys and columns; a column of another shape makes a new table."""
    with warnings.catch_warnings(), fits.open(path, memmap=False) as hdus:
        warnings.simplefilter("ignore")
        hdus[0].header.update(primary or {})
        table = hdus[1]
        if columns:
            kept = [c for c in table.columns if c.name not in columns]
            new = [
                fits.Column(name=n, format=f"{np.asarray(v).shape[1]}D" if np.ndim(v) > 1 else "1D", array=v, unit="Jy")
                for n, v in columns.items()
            ]
            order = [c.name for c in table.columns]
            made = fits.BinTableHDU.from_columns(sorted([*kept, *new], key=lambda c: order.index(c.name)))
            structure = set(made.header)
            for card in table.header.cards:
                if card.keyword not in structure and card.keyword[:5] not in ("TTYPE", "TFORM", "TUNIT"):
                    made.header.append(card)
            hdus[1] = made
        hdus[1].header.update(subint or {})
        hdus.writeto(path, overwrite=True)


def column(path, name):
    with fits.open(path, memmap=False) as hdus:
        return np.array(hdus[1].data[name], dtype=np.float64)


def seconds_of(path):
    with fits.open(path, memmap=False) as hdus:
        h = hdus[0].header
        return h["STT_SMJD"], h["STT_OFFS"]


def shifted(path, by):
    """The start of a file moved by some seconds."""
    smjd, offs = seconds_of(path)
    total = smjd + offs + by
    edit(path, primary={"STT_SMJD": int(total // 1), "STT_OFFS": total % 1})


# -- names and headers


@pytest.mark.parametrize(
    "mode", ["tracking", "arctracking", "arcdrift+23.4", "drifting", "snapshot", "swiftcalibration"]
)
def test_the_beam_comes_from_the_name_when_ibeam_is_absent(tmp_path, mode):
    (path,) = write(tmp_path, noise(NCHANS, NSBLK), stem=f"Dec+2300_{mode}-M19")
    obs = open_observation(path)
    assert (obs.header.beam, obs.header.nbeams) == (19, 19)
    assert parse_name(path).mode == mode


def test_an_ibeam_that_is_not_the_name_is_told(tmp_path):
    (path,) = write(tmp_path, noise(NCHANS, NSBLK), header=make_header(beam=1))
    obs = open_observation(path)
    assert obs.header.beam == 1
    assert "IBEAM is 1, the name says beam 3" in obs.problems[0]


def test_one_bit_filterbanks_of_crafts(tmp_path):
    """No ibeam in the header: the beam is in the name; a night of them is sorted by it."""
    data = noise(NCHANS, 512, high=2)
    for beam in (5, 6):
        header = make_header(nbits=1, telescope_id=21)
        with FilterbankWriter(tmp_path / f"Dec+41_drifting-M{beam:02d}_0001.fil", header, nbits=1) as writer:
            writer.write(data)
    path = tmp_path / "Dec+41_drifting-M05_0001.fil"
    obs = open_observation(path)
    assert (obs.header.beam, obs.header.nbits, obs.header.telescope) == (5, 1, "FAST")
    np.testing.assert_array_equal(obs.read().data, data)
    assert [(p.beam, p.name) for p in scan([tmp_path]).pointings] == [
        (5, "Dec+41_20200101_M05"),
        (6, "Dec+41_20200101_M06"),
    ]


def test_files_that_begin_together_are_observations_of_their_own(tmp_path):
    """Simulated and reduced files often have one source and one start time: none of them continues another."""
    data = noise(NCHANS, 512, high=2)
    header = make_header(nbits=8)
    later = header.with_(tstart=header.tstart + 512 * header.tsamp / 86400)
    for name, one in (("a", header), ("b", header), ("c", header), ("d", later)):
        with FilterbankWriter(tmp_path / f"{name}.fil", one, nbits=8) as writer:
            writer.write(data)
    parts = [[path.name for path in p.paths] for p in scan([tmp_path]).pointings]
    # What follows at once may continue the last of them.
    assert parts == [["a.fil"], ["b.fil"], ["c.fil", "d.fil"]]


@pytest.mark.parametrize("ascending", [True, False])
def test_a_frequency_table_that_is_too_long(tmp_path, ascending):
    """The table of the channels before they were added up, one that repeats its end, and one that fits nothing."""
    data = noise(NCHANS, 2 * NSBLK)
    (path,) = write(tmp_path, data, ascending=ascending)
    own = column(path, "DAT_FREQ")[0]
    step = own[1] - own[0]
    fine = (own[:, None] + step * np.array([-0.25, 0.25])).ravel()
    longer = np.append(own, own[-1] + step * np.arange(1, 9))
    for table, told in (
        (fine, "128 entries for 64 channels: the means of 2 at a time are used"),
        (longer, "72 entries for 64 channels: the first 64 are used"),
        (np.append(own[20:], own[:28]), "72 entries for 64 channels: none of them fit OBSFREQ and CHAN_BW"),
    ):
        edit(path, columns={"DAT_FREQ": np.tile(table, (2, 1))})
        obs = open_observation(path)
        np.testing.assert_allclose(obs.header.freqs, make_header().freqs, rtol=1e-9)
        assert any(told in p for p in obs.problems), obs.problems
        np.testing.assert_array_equal(obs.read().data, data)


def test_units_are_not_believed(tmp_path):
    """DAT_FREQ in "Jy", OFFS_SUB in "Jy": the numbers are what they always are."""
    data = noise(NCHANS, 2 * NSBLK)
    (path,) = write(tmp_path, data)
    edit(path, columns={"DAT_FREQ": column(path, "DAT_FREQ"), "OFFS_SUB": column(path, "OFFS_SUB")})
    assert b"TUNIT2  = 'Jy" in path.read_bytes()
    obs = open_observation(path)
    np.testing.assert_allclose(obs.header.freqs, make_header().freqs)
    assert obs.problems == ()
    np.testing.assert_array_equal(obs.read().data, data)


def test_four_polarisations_with_signed_cross_terms(tmp_path):
    """AA + BB; CR and CI are signed bytes in an unsigned column and must not enter."""
    data = noise(4, NCHANS, 3 * NSBLK)
    data[2:] = noise(2, NCHANS, 3 * NSBLK, seed=2).astype(np.uint8).view(np.int8).astype(np.int64) & 255
    assert (data[2:] > 127).mean() > 0.4
    paths = write(tmp_path, data, npol=4)
    obs = open_observation(*paths)
    assert obs.header.pol_type == "AABBCRCI"
    assert obs.dtype == np.uint16
    np.testing.assert_array_equal(obs.read().data, data[:2].sum(axis=0))


@pytest.mark.parametrize("nbits", [1, 2])
def test_packed_rows_whose_tdim_is_that_of_bytes(tmp_path, nbits):
    data = noise(NCHANS, 2 * NSBLK, high=1 << nbits)
    (path,) = write(tmp_path, data, nbits=nbits, stem="Dec+2300_drifting-M03")
    with fits.open(path, memmap=False) as hdus:
        last = hdus[1].header["TFIELDS"]
        assert hdus[1].header[f"TDIM{last}"] == f"(1,{NCHANS},1,{NSBLK * nbits // 8})"
        assert hdus[1].header[f"TFORM{last}"] == f"{NCHANS * NSBLK * nbits // 8}B"
    np.testing.assert_array_equal(open_observation(path).read().data, data)


@pytest.mark.parametrize(
    "name", ["SRC_tracking-M01_W_0001.fits", "SRC_arcdrift+23.4-M03_N_0012.fits", "SRC_drifting-M19_F_0003.fits"]
)
def test_spectral_line_products_are_refused_by_name(tmp_path, name):
    (path,) = write(tmp_path, noise(NCHANS, NSBLK))
    line = path.rename(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name[:3]}.*spectral-line product"):
        open_observation(line)
    (kept,) = write(tmp_path, noise(NCHANS, NSBLK))
    night = scan([tmp_path])
    assert [p.paths for p in night.pointings] == [(kept,)]
    assert any(name in p and "spectral-line" in p for p in night.problems)


# -- times


@pytest.mark.parametrize("convention", ["A", "B"])
def test_both_conventions_of_time(tmp_path, convention):
    data = noise(NCHANS, 7 * NSBLK)
    paths = write(tmp_path, data, rows=3)
    if convention == "A":
        grow_from_the_first(paths)
    starts = {seconds_of(p) for p in paths}
    assert len(starts) == (1 if convention == "A" else 3)
    obs = open_observation(*paths[::-1])
    # The last file is short: two rows less than the others.
    assert [f.nsamps for f in obs.files] == [3 * NSBLK, 3 * NSBLK, NSBLK]
    np.testing.assert_array_equal(obs.read().data, data)
    assert (obs.gaps, obs.problems) == ((), ())
    assert obs.header.tstart == pytest.approx(TSTART, abs=1e-11)
    # One in the middle is missing.
    hole = open_observation(paths[0], paths[2])
    assert [(g.start, g.nsamps) for g in hole.gaps] == [(3 * NSBLK, 3 * NSBLK)]
    np.testing.assert_array_equal(hole.read().data[:, 6 * NSBLK :], data[:, 6 * NSBLK :])
    # Of the last alone the start is right as well.
    assert open_observation(paths[2]).header.tstart == pytest.approx(TSTART + 6 * ROW / 86400, abs=1e-11)


def test_starts_that_drift_by_nanoseconds_continue_each_other(tmp_path):
    """Convention B as it is: each file 3e-8 s off; and rows counted on from file to file besides."""
    data = noise(NCHANS, 8 * NSBLK)
    paths = write(tmp_path, data)
    for i, path in enumerate(paths):
        shifted(path, 3e-8 * i)
        edit(path, subint={"NSUBOFFS": 2 * i})
    obs = open_observation(*paths)
    np.testing.assert_array_equal(obs.read().data, data)
    assert obs.problems == ()


@pytest.mark.parametrize(("off", "lost"), [(0.49, 0), (-0.49, 0), (0.51, 1), (2.4, 2)])
def test_half_a_sample_is_tolerated(tmp_path, off, lost):
    data = noise(NCHANS, 4 * NSBLK)
    first, second = write(tmp_path, data)
    shifted(second, off * TSAMP)
    obs = open_observation(first, second)
    assert sum(g.nsamps for g in obs.gaps) == lost
    np.testing.assert_array_equal(obs.read().data[:, 2 * NSBLK + lost :], data[:, 2 * NSBLK :])


def test_files_that_overlap_by_more_than_half_a_sample_are_refused(tmp_path):
    first, second = write(tmp_path, noise(NCHANS, 4 * NSBLK))
    shifted(second, -0.6 * TSAMP)
    with pytest.raises(DataError, match="they overlap"):
        open_observation(first, second)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("late", [0, 1])
def test_a_fraction_just_below_one_for_a_whole_second(tmp_path, which, late):
    """STT_OFFS 0.99999999 for an integer second: STT_SMJD is that second or the one before."""
    header = make_header(tsamp=1.0 / NSBLK)  # rows of one second
    data = noise(NCHANS, 6 * NSBLK)
    paths = write(tmp_path, data, header=header)
    smjd, offs = seconds_of(paths[which])
    assert offs == 0
    edit(paths[which], primary={"STT_SMJD": smjd - 1 + late, "STT_OFFS": 0.99999999})
    obs = open_observation(*paths)
    np.testing.assert_array_equal(obs.read().data, data)
    assert obs.gaps == ()
    assert obs.header.tstart == pytest.approx(TSTART, abs=2e-11)
    told = [p for p in obs.problems if "STT_OFFS is just below 1" in p]
    assert len(told) == late
    assert all(paths[which].name in p for p in told)


@pytest.mark.parametrize("missing", [None, 2])
@pytest.mark.parametrize("convention", ["A", "B"])
def test_a_sampling_time_four_times_too_small(tmp_path, missing, convention):
    """Files of 2018: TBIN and OFFS_SUB are a quarter of what they should be, STT_* is right."""
    data = noise(NCHANS, 8 * NSBLK)
    paths = write(tmp_path, data)
    for i, path in enumerate(paths):
        grown = 2 * i * ROW if convention == "A" else 0.0
        quarter = (column(path, "OFFS_SUB") + grown) / 4
        edit(path, subint={"TBIN": TSAMP / 4}, columns={"OFFS_SUB": quarter})
    if missing is not None:
        paths.pop(missing)
    obs = open_observation(*paths)
    assert obs.header.tsamp == TSAMP
    assert any("start 4 times as far apart" in p for p in obs.problems)
    assert sum(g.nsamps for g in obs.gaps) == (0 if missing is None else 2 * NSBLK)
    got = obs.read().data
    np.testing.assert_array_equal(got[:, : 4 * NSBLK], data[:, : 4 * NSBLK])
    np.testing.assert_array_equal(got[:, 6 * NSBLK :], data[:, 6 * NSBLK :])


def test_rows_are_placed_by_indexval_where_offs_sub_is_zero(tmp_path):
    data = noise(NCHANS, 4 * NSBLK)
    (path,) = write(tmp_path, data, rows=4)
    with fits.open(path, memmap=False) as hdus:
        names = [c.name for c in hdus[1].columns]
    assert "TSUBINT" in names
    # The writer has no INDEXVAL: TSUBINT makes room for it.
    edit(path, columns={"OFFS_SUB": np.zeros(4), "TSUBINT": np.array([1.0, 2.0, 4.0, 5.0])})
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"'TSUBINT '", b"'INDEXVAL'"))
    obs = open_observation(path)
    assert [(g.start, g.nsamps) for g in obs.gaps] == [(2 * NSBLK, NSBLK)]
    np.testing.assert_array_equal(obs.read().data[:, 3 * NSBLK :], data[:, 2 * NSBLK :])


# -- folders


def test_a_folder_tells_what_is_wrong_inside_its_pointings(tmp_path):
    """Lost rows, times and beams that do not fit: told with the pointing, once for all files that have it."""
    data = noise(NCHANS, 8 * NSBLK)
    for beam in (3, 4):
        paths = write(tmp_path, data, stem=f"SRC_tracking-M{beam:02d}", header=make_header(beam=3))
        if beam == 3:
            paths[1].unlink()
    for path in write(tmp_path, data, stem="OLD_tracking-M01", header=make_header(source="OLD")):
        edit(path, subint={"TBIN": TSAMP / 4}, columns={"OFFS_SUB": column(path, "OFFS_SUB") / 4})
    night = scan([tmp_path])
    told = {p.name: examine(p) for p in night.pointings}
    assert "4 times as far apart" in told["OLD_20200101_M01"].problems[0]
    assert told["OLD_20200101_M01"].header.tobs == pytest.approx(8 * ROW)
    # IBEAM 3 in the files of both: they are taken for one beam, overlap, and the message says so.
    assert "they overlap" in told["SRC_20200101_M03"].problems[0]
    for path in tmp_path.glob("SRC_tracking-M04*"):
        path.unlink()
    (gone,) = [examine(p) for p in scan([tmp_path]).pointings if p.source == "SRC"]
    assert [(g.start, g.nsamps) for g in gone.gaps] == [(2 * NSBLK, 2 * NSBLK)]
    for path in tmp_path.glob("OLD*"):
        edit(path, columns={"DAT_FREQ": np.tile(np.append(column(path, "DAT_FREQ")[0], [1.0, 2.0]), (2, 1))})
    (old,) = [examine(p) for p in scan([tmp_path]).pointings if p.source == "OLD"]
    assert [p for p in old.problems if "the first 64 are used" in p] == [
        "in 4 files: DAT_FREQ has 66 entries for 64 channels: the first 64 are used"
    ]
