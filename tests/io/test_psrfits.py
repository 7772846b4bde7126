"""PSRFITS files: what is written comes back, traps of real files, and what is wrong is named."""

import numpy as np
import pytest
from astropy.io import fits
from reference.noises import codes as noise
from reference.psrfits import grow_from_the_first, lose_rows, make_signed

from pulsar.data.header import Header
from pulsar.data.observation import Gap
from pulsar.errors import DataError
from pulsar.io.open import open_observation, settle_times
from pulsar.io.psrfits import PsrfitsWriter

NCHANS, NSBLK = 64, 64


def make_header(**changes):
    header = Header(nchans=NCHANS, nsamps=0, tsamp=1e-3, fch1=1500.0, foff=-1.0, tstart=55000.25)
    return header.with_(**changes)


def write(path, data, header=None, **options):
    with PsrfitsWriter(path, header or make_header(), nsblk=NSBLK, **options) as writer:
        writer.write(data)
    return writer.paths


def patch(path, old, new):
    """Replace a header value without moving anything."""
    raw = path.read_bytes()
    assert raw.count(old) == 1
    path.write_bytes(raw.replace(old, new.ljust(len(old))[: len(old)]))


@pytest.mark.parametrize("nbits", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("npol", [1, 2, 4])
def test_round_trip(tmp_path, nbits, ascending, npol):
    data = noise(npol, NCHANS, 333, high=min(1 << nbits, 30000))
    header = make_header(telescope="FAST", ra_deg=12.5, dec_deg=-0.5, beam=4, source="J0000+0000")
    (path,) = write(tmp_path / "a.fits", data, header, nbits=nbits, ascending=ascending, npol=npol)
    obs = open_observation(path)
    want = data[:2].sum(axis=0)
    np.testing.assert_array_equal(obs.read().data, want)
    np.testing.assert_array_equal(obs.read(13, 200).data, want[:, 13:213])
    np.testing.assert_allclose(obs.header.freqs, header.freqs)
    assert obs.header.tstart == pytest.approx(header.tstart, abs=1e-11)
    assert (obs.header.dec_deg, obs.header.ra_deg, obs.header.beam) == (-0.5, pytest.approx(12.5), 4)
    kind = "f4" if nbits > 8 else "u2" if nbits == 8 and npol > 1 else "u1"
    assert obs.dtype == np.dtype(kind)


def test_stokes_takes_the_intensity(tmp_path):
    data = noise(4, NCHANS, NSBLK)
    (path,) = write(tmp_path / "a.fits", data, npol=4, pol_type="IQUV")
    np.testing.assert_array_equal(open_observation(path).read().data, data[0])


@pytest.mark.parametrize("nbits", [2, 4, 8, 16])
@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("npol", [1, 2])
def test_scales(tmp_path, nbits, ascending, npol):
    rng = np.random.default_rng(3)
    scale = rng.uniform(0.5, 2.0, (npol, NCHANS)).astype(np.float32)
    offs = rng.normal(size=(npol, NCHANS)).astype(np.float32)
    weights = rng.uniform(0.5, 1.0, NCHANS).astype(np.float32)
    zero = 0.5 * ((1 << min(nbits, 8)) - 1)
    codes = noise(npol, NCHANS, 100, high=min(1 << nbits, 256))
    values = ((codes - zero) * scale[:, :, None] + offs[:, :, None]) * weights[:, None]
    options = {"dat_scl": scale, "dat_offs": offs, "weights": weights}
    written = values + zero * scale[:, :, None] * weights[:, None]
    (path,) = write(tmp_path / "a.fits", written, nbits=nbits, npol=npol, ascending=ascending, **options)
    fits.setval(path, "ZERO_OFF", value=zero, extname="SUBINT")
    obs = open_observation(path)
    assert obs.dtype == np.float32
    np.testing.assert_allclose(obs.read().data, values.sum(axis=0), rtol=2e-5, atol=2e-3)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_signed_integers(tmp_path, nbits):
    data = noise(NCHANS, 100, high=1 << nbits) - (1 << (nbits - 1))
    data[0, -1] = -1
    (path,) = write(tmp_path / "a.fits", data + (1 << (nbits - 1)), nbits=nbits)
    make_signed(path, nbits, data.size * nbits // 8)
    np.testing.assert_array_equal(open_observation(path).read().data, data)


def test_zero_weights(tmp_path):
    weights = np.ones(NCHANS)
    weights[[3, 7]] = 0
    (path,) = write(tmp_path / "a.fits", noise(NCHANS, 128), weights=weights)
    obs = open_observation(path)
    assert np.flatnonzero(~obs.chan_ok).tolist() == [3, 7]
    assert obs.dtype == np.uint8


def test_zero_weight_in_one_row_is_filled_with_the_mean(tmp_path):
    data = noise(NCHANS, 3 * NSBLK) // 4 + 100
    (path,) = write(tmp_path / "a.fits", data, ascending=False)
    raw = bytearray(path.read_bytes())
    from pulsar.io.base import RawFile
    from pulsar.io.psrfits_table import read_table

    file = RawFile(path)
    table = read_table(file)
    at = table.offset + table.row_bytes + table.columns["DAT_WTS"].offset + 4 * 5
    raw[at : at + 4] = bytes(4)
    file.close()
    path.write_bytes(bytes(raw))
    obs = open_observation(path)
    got = obs.read().data
    assert obs.chan_ok.all()
    assert any("1 row(s) have zero weights" in p for p in obs.problems)
    assert np.unique(got[5, NSBLK : 2 * NSBLK]).tolist() == [round(data[5, :NSBLK].mean())]
    got[5, NSBLK : 2 * NSBLK] = data[5, NSBLK : 2 * NSBLK]
    np.testing.assert_array_equal(got, data)


def test_missing_rows(tmp_path):
    data = noise(NCHANS, 4 * NSBLK)
    (path,) = write(tmp_path / "a.fits", data)
    lose_rows(path, 1, 3)
    obs = open_observation(tmp_path / "a.fits")
    assert obs.header.nsamps == 4 * NSBLK
    assert [(g.start, g.nsamps) for g in obs.gaps] == [(NSBLK, 2 * NSBLK)]
    got = obs.read().data
    np.testing.assert_array_equal(got[:, :NSBLK], data[:, :NSBLK])
    np.testing.assert_array_equal(got[:, 3 * NSBLK :], data[:, 3 * NSBLK :])
    fill = np.rint(data[:, :NSBLK].mean(axis=1))
    np.testing.assert_array_equal(got[:, NSBLK : 3 * NSBLK], np.tile(fill[:, None], 2 * NSBLK))


@pytest.mark.parametrize("convention", ["A", "B"])
def test_files_join_in_any_order(tmp_path, convention):
    data = noise(NCHANS, 6 * NSBLK)
    paths = write(tmp_path / "a.fits", data, rows_per_file=2)
    if convention == "A":
        grow_from_the_first(paths)
    assert [p.name for p in paths] == ["a_0001.fits", "a_0002.fits", "a_0003.fits"]
    obs = open_observation(*reversed(paths))
    np.testing.assert_array_equal(obs.read().data, data)
    assert [f.start for f in obs.files] == [0, 128, 256]
    assert obs.gaps == ()
    assert obs.header.tstart == pytest.approx(55000.25, abs=1e-11)
    assert obs.problems == ()
    hole = open_observation(paths[2], paths[0])
    assert hole.gaps == (Gap(128, 128, "between a_0001.fits and a_0003.fits"),)
    got = hole.read().data
    np.testing.assert_array_equal(got[:, 256:], data[:, 256:])
    np.testing.assert_array_equal(got[:, 128], np.rint(data[:, :128].mean(axis=1)))


class Clock:
    """What `settle_times` looks at in a reader."""

    def __init__(self, stt_sec, offs_start, nsuboffs):
        self.stt_day, self.stt_sec, self.offs_start, self.nsuboffs = 55000, stt_sec, offs_start, nsuboffs
        self._nsblk, self.header = NSBLK, make_header(tsamp=1.0 / NSBLK)

    def set_start(self, offset):
        self.start = self.stt_sec + offset


@pytest.mark.parametrize(
    "clocks",
    [
        [(10.0, 0.0, 0), (10.0, 4.0, 4), (10.0, 8.0, 8)],  # A
        [(10.0, 0.0, 0), (10.0, 0.0, 4), (10.0, 0.0, 8)],  # A, OFFS_SUB starting anew
        [(10.0, None, 0), (10.0, None, 4), (10.0, None, 8)],  # A without OFFS_SUB
        [(10.0, 0.0, 0), (14.00000003, 0.0, 0), (18.00000006, 0.0, 0)],  # B
        [(10.0, 0.0, 0), (14.0, 0.0, 4), (18.0, 0.0, 8)],  # B with NSUBOFFS
        [(9 + 0.99999998, 0.0, 0), (13 + 0.99999999, 0.0, 0), (18.0, 0.0, 0)],  # STT_OFFS 0.99... for a whole second
        [(10.0, 0.0, 0), (14.0, 4.0, 4), (18.0, 8.0, 8)],  # B, both growing
    ],
)
def test_conventions_of_time(clocks):
    readers = [Clock(*clock) for clock in clocks]
    settle_times(readers)
    assert [r.start for r in readers] == pytest.approx([10.0, 14.0, 18.0], abs=1e-6)


def test_sampling_time_four_times_too_small(tmp_path):
    data = noise(NCHANS, 6 * NSBLK)
    paths = write(tmp_path / "a.fits", data, make_header(tsamp=4e-3), rows_per_file=2)
    for path in paths:
        patch(path, b"TBIN    =                0.004", b"TBIN    =                0.001")
        raw = bytearray(path.read_bytes())
        from pulsar.io.base import RawFile
        from pulsar.io.psrfits_table import read_table

        file = RawFile(path)
        table = read_table(file)
        for row in range(table.nrows):
            at = table.offset + row * table.row_bytes + table.columns["OFFS_SUB"].offset
            raw[at : at + 8] = (np.frombuffer(bytes(raw[at : at + 8]), ">f8") / 4).astype(">f8").tobytes()
        file.close()
        path.write_bytes(bytes(raw))
    obs = open_observation(*paths)
    assert obs.header.tsamp == 4e-3
    assert obs.gaps == ()
    assert any("4 times as far apart" in p for p in obs.problems)
    np.testing.assert_array_equal(obs.read().data, data)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"NBITS   =                    8", b"NBITS   =                    5", "NBITS"),
        (b"NBITS   =                    8", b"NBITS   =                   16", "DATA has"),
        (b"NPOL    =                    1", b"NPOL    =                    9", "NPOL"),
        (b"TBIN    =                0.001", b"TBIN    =                  0.0", "TBIN"),
        (b"OBS_MODE= 'SEARCH  '", b"OBS_MODE= 'PSR     '", "folded"),
        (b"NAXIS2  =                    2", b"NAXIS2  =                    0", "zero rows"),
        (b"EXTNAME = 'SUBINT  '", b"EXTNAME = 'OTHER   '", "without a SUBINT table"),
    ],
)
def test_wrong_headers(tmp_path, old, new, match):
    (path,) = write(tmp_path / "a.fits", noise(NCHANS, 2 * NSBLK))
    patch(path, old, new)
    with pytest.raises(DataError, match=match) as caught:
        open_observation(path)
    assert "a.fits" in str(caught.value)


def test_odd_headers_are_read(tmp_path):
    data = noise(NCHANS, 2 * NSBLK)
    (path,) = write(tmp_path / "G1_tracking-M07_0003.fits", data)
    patch(path, b"EXTNAME = 'SUBINT  '", b"EXTNAME = ' SUBINT '")
    patch(path, b"OBSNCHAN=                   64", b"OBSNCHAN=                 64.0")
    patch(path, b"NCHNOFFS=                    0", b"NCHNOFFS= '*'                 ")
    obs = open_observation(path)
    assert obs.header.beam == 7
    np.testing.assert_array_equal(obs.read().data, data)


def test_two_bits_as_crafts_writes_them(tmp_path):
    """TDIM says nothing of the packing, units are wrong: neither matters."""
    data = noise(NCHANS, 2 * NSBLK, high=4)
    (path,) = write(tmp_path / "Dec+2300_drifting-M03_0007.fits", data, nbits=2)
    raw = path.read_bytes()
    cards = [raw[i : i + 80] for i in range(0, len(raw) - 80, 80) if raw[i : i + 4] in (b"TDIM", b"TUNI")]
    tdims = [c for c in cards if c.startswith(b"TDIM") and b"," in c]
    assert tdims
    for card in tdims:
        raw = raw.replace(card, (card[:10] + f"'(1,{NCHANS},1,{NSBLK // 4})'".encode()).ljust(80))
    for card in (c for c in cards if c.startswith(b"TUNI")):
        raw = raw.replace(card, (card[:10] + b"'Jy      '").ljust(80))
    path.write_bytes(raw)
    obs = open_observation(path)
    assert obs.header.beam == 3
    np.testing.assert_array_equal(obs.read().data, data)


def test_nan_scales(tmp_path):
    (path,) = write(tmp_path / "a.fits", noise(NCHANS, NSBLK), dat_scl=np.nan)
    with pytest.raises(DataError, match="NaN"):
        open_observation(path)


def test_all_weights_zero(tmp_path):
    (path,) = write(tmp_path / "a.fits", noise(NCHANS, NSBLK), weights=np.zeros(NCHANS))
    with pytest.raises(DataError, match="DAT_WTS is zero"):
        open_observation(path)


def test_truncated_data(tmp_path):
    (path,) = write(tmp_path / "a.fits", noise(NCHANS, 3 * NSBLK))
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) - NCHANS * NSBLK - 2880])
    obs = open_observation(path)
    assert obs.header.nsamps in (NSBLK, 2 * NSBLK)
    assert any("truncated" in p for p in obs.problems)


def test_truncated_header(tmp_path):
    (path,) = write(tmp_path / "a.fits", noise(NCHANS, NSBLK))
    for size in (100, 3000, 6000):
        path.write_bytes(path.read_bytes()[: max(size, 100)])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"a\.fits"):
        open_observation(path)


def test_spectral_line_products_are_refused(tmp_path):
    (path,) = write(tmp_path / "G1_tracking-M07_W_0003.fits", noise(NCHANS, NSBLK))
    with pytest.raises(DataError, match="spectral-line"):
        open_observation(path)


def test_failed_writing_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="write needs"), PsrfitsWriter(tmp_path / "a.fits", make_header()) as writer:
        writer.write(np.zeros((3, 5)))
    assert list(tmp_path.iterdir()) == []


def test_real_nibbles(shared_data):
    obs = open_observation(shared_data / "bits/parkes_4bit.sf")
    assert (obs.header.nchans, obs.header.nsamps, obs.header.tsamp) == (416, 4096, 0.000512)
    data = obs.read().data
    pairs = [np.corrcoef(data[c], data[c + 1])[0, 1] for c in range(415)]
    assert np.nanmean(pairs[::2]) == pytest.approx(0.0433, abs=0.0005)
    assert np.nanmean(pairs[1::2]) == pytest.approx(0.0401, abs=0.0005)


def test_real_burst_is_the_same_in_both_formats(shared_data):
    fits, fil = (open_observation(shared_data / f"burst/28.{kind}") for kind in ("fits", "fil"))
    assert fits.remarks == ("the last 0.5104 s (403 spectra) are zero padding: left out",)
    assert not any("padding" in p for p in fits.problems)
    np.testing.assert_array_equal(fits.read().data, fil.read().data)
    np.testing.assert_allclose(fits.header.freqs, fil.header.freqs)


def test_real_oddities(shared_data):
    assert open_observation(shared_data / "odd/test_4pol.fits").read().data.shape == (512, 200)
    small = open_observation(shared_data / "odd/small.fits").read().data
    np.testing.assert_array_equal(small, open_observation(shared_data / "odd/small.fil").read().data)
    with pytest.raises(DataError, match=r"empty\.fits.*zero rows"):
        open_observation(shared_data / "odd/empty.fits")


def test_a_name_that_is_not_ascii_is_written_as_far_as_fits_knows_it(tmp_path):
    (path,) = write(tmp_path / "a.fits", noise(1, NCHANS, NSBLK), make_header(source="PSR é"))
    assert open_observation(path).header.source == "PSR ?"
