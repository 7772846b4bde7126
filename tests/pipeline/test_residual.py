"""What strong sources hide: the samples without them are searched again."""

import functools
import json
import shutil

import h5py
import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.data.candidate import DETECTION_COLUMNS, empty_table
from pulsar.errors import DataError
from pulsar.followup.folding import fold_files
from pulsar.io.product.reader import read
from pulsar.io.product.writer import Target
from pulsar.pipeline.ephemerides import ephemerides_of
from pulsar.pipeline.residual import sharing
from pulsar.pipeline.stages import BatchSearch
from pulsar.run import search
from pulsar.searches.sift import Group
from pulsar.sources.candidate import Candidate
from pulsar.synthesis.model import Pulsar, Sky
from pulsar.synthesis.write import write_filterbank

SHAPE = {"nchans": 32, "fch1": 1494.0, "foff": -8.0, "tsamp": 512e-6, "nsamps": 1 << 16, "seed": 5}
TOBS = SHAPE["nsamps"] * SHAPE["tsamp"]
SETS = [
    "dedisp.dm_hi=90", "coherent.enabled=false", "single_pulse.enabled=false", "fold.ncands=8", "run.threads=2",
    "ffa.enabled=false", "fold.nbins=64", "fold.nbands=16",
]  # fmt: skip
STRONG = Pulsar(name="strong", period=0.19, dm=60.0, snr=280, duty=0.07)
#: Ratios to it of 1.01, and of 2 but for half a per cent.
OTHERS = (
    Pulsar(name="near", period=0.1881, dm=20.0, snr=120, duty=0.06, phase0=0.4),
    Pulsar(name="half", period=0.0955, dm=75.0, snr=90, duty=0.1, phase0=0.7),
)
#: One per cent and a half in frequency beside the strong one.
WEAK = Pulsar(name="beside", period=0.1928, dm=23.0, snr=15, duty=0.08)


@pytest.fixture(scope="module")
def sky_of(tmp_path_factory):
    """The file of a sky with these pulsars."""

    @functools.cache
    def file(*pulsars):
        return write_filterbank(Sky(**SHAPE, pulsars=pulsars), tmp_path_factory.mktemp("sky") / "sky.fil", threads=2)

    return file


@pytest.fixture(scope="module")
def searched(sky_of, tmp_path_factory):
    """The search of it with more settings; each is made once."""

    @functools.cache
    def run(*pulsars, sets=()):
        config = load_config(None, [*SETS, *sets])
        return search(sky_of(*pulsars), config, tmp_path_factory.mktemp("run") / "run.h5")

    return run


def own_rows(run, pulsar):
    """Rows of their own at the period and DM of a pulsar."""
    rows = run.rows("candidates")
    near = np.abs(1 / rows["period"] - 1 / pulsar.period) * TOBS < 0.3
    near &= np.abs(rows["dm"] - pulsar.dm) < np.maximum(4 * rows["dm_err"], 2.0)
    return rows[near & (rows["parent"] == "") & (rows["score"] > 0.5)]


def test_a_weak_pulsar_beside_a_strong_one_is_found_with_its_own_dm(searched):
    assert len(own_rows(searched(STRONG, WEAK, sets=("search.residual=0",)), WEAK)) == 0
    run = searched(STRONG, WEAK)
    rows = run.rows("candidates")
    assert len(own_rows(run, WEAK)) == len(own_rows(run, STRONG)) == 1
    assert list(rows["period"][rows["rank"] == 1]) == [pytest.approx(STRONG.period, rel=1e-4)]
    # All that was detected is told, once in each search, and every row has what belongs to it.
    detections = run.rows("detections")
    assert (detections["uid"] != "").all()
    assert set(detections["uid"]) >= set(rows["uid"])
    heads = set(rows["uid"][rows["parent"] == ""])
    assert set(detections["parent"][detections["parent"] != ""]) <= heads


@pytest.mark.parametrize("pulsars", [(STRONG, WEAK), (STRONG, *OTHERS)], ids=["one", "several"])
def test_rows_that_are_folded_again_have_their_snr_and_order(searched, sky_of, tmp_path, pulsars):
    run = searched(*pulsars)
    rows = run.rows("candidates")
    rows = rows[(rows["parent"] == "") & (rows["part"] == "") & np.isfinite(rows["snr"])]
    target = Target(tmp_path / "again.h5")
    again = fold_files([sky_of(*pulsars)], ephemerides_of(run, rows), load_config(None, SETS), target)
    assert again.rows("candidates")["id"].tolist() == rows["id"].tolist()
    # How samples come into bins depends on what is folded with them: noise of a few samples in a turn may differ.
    real, folds = rows["snr"] > 6.0, again.rows("candidates")
    np.testing.assert_allclose(folds["snr"][real], rows["snr"][real], rtol=0.002)
    np.testing.assert_allclose(folds["score"][real], rows["score"][real], atol=0.01)


@pytest.mark.parametrize(
    "residual",
    [
        "null", '{"a": true}', "[[1, 0, 5, 0]]", f"[[1{'0' * 400}, 0, 5, 0, 1]]", "[[NaN, 0, 5, 0, 1]]",
        "[[-1, 0, 5, 0, 1]]", "[[5, 0, 1e300, 0, 1]]", "[[5, 1e300, 5, 0, 1]]",
    ],
)  # fmt: skip
def test_a_damaged_table_of_strong_sources_is_an_error_of_the_file(searched, tmp_path, residual):
    run = searched(STRONG, WEAK)
    path = shutil.copy(run.path, tmp_path / "damaged.h5")
    with h5py.File(path, "r+") as file:
        for fold in file["folds"].values():
            extra = json.loads(fold.attrs["extra"])
            fold.attrs["extra"] = json.dumps(extra | {"residual": 0}).replace(
                '"residual": 0', f'"residual": {residual}'
            )
    damaged = read(path)
    with pytest.raises(DataError, match=r"damaged\.h5: fold .*residual is no table"):
        ephemerides_of(damaged, damaged.rows("candidates")[:1])


def test_one_strong_pulsar_alone_is_one_row(searched):
    run = searched(STRONG)
    own = run.rows("candidates")
    assert list(own["period"][(own["parent"] == "") & (own["score"] > 0.3)]) == [pytest.approx(STRONG.period, rel=1e-4)]


def test_what_is_left_is_searched_on_after_an_interruption(searched, sky_of, tmp_path, monkeypatch):
    whole = searched(STRONG, WEAK).rows("candidates")
    before = BatchSearch.each

    def interrupted(self, batch, *more):
        if not self.config.single_pulse.enabled and batch.first > 0:
            raise KeyboardInterrupt
        before(self, batch, *more)

    sets = [*SETS, "single_pulse.enabled=true"]
    config = load_config(None, sets)
    monkeypatch.setattr("pulsar.dedisp.engine.TREE_DMS", 16)
    with monkeypatch.context() as patch:
        patch.setattr(BatchSearch, "each", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(sky_of(STRONG, WEAK), config, tmp_path / "again.h5")
    kept = {path.name for path in (tmp_path / "again.h5.parts").iterdir()}
    assert kept >= {"detections.npz", "residual-searched-00000.npz"}
    with np.load(tmp_path / "again.h5.parts" / "residual-searched-00000.npz") as stored:
        done = int(stored["ranges"].max())

    def rest(self, batch, *more):
        assert batch.first + batch.stage.ndms > done
        before(self, batch, *more)

    with monkeypatch.context() as patch:
        patch.setattr(BatchSearch, "each", rest)
        again = search(sky_of(STRONG, WEAK), config, tmp_path / "again.h5", resume=True).rows("candidates")
    np.testing.assert_allclose(
        again["period"][again["parent"] == ""][:2], whole["period"][whole["parent"] == ""][:2], rtol=1e-5
    )


def test_strong_pulsars_beside_each_other_have_each_its_own_snr_and_dm(searched):
    run = searched(STRONG, *OTHERS)
    # The last of them is strong only where the first two are not.
    for pulsar in (STRONG, *OTHERS):
        (row,), (alone,) = own_rows(run, pulsar), own_rows(searched(pulsar), pulsar)
        assert row["snr"] == pytest.approx(alone["snr"], rel=0.06)
    rows = run.rows("candidates")
    assert np.count_nonzero((rows["parent"] == "") & (rows["score"] > 0.5)) == 3
    # Searched three times: each search names its groups.
    assert len(set(rows["uid"])) == len(set(rows["id"])) == len(rows)


@pytest.mark.parametrize(
    ("ratio", "snr", "duty"), [(7 / 3, 21, 0.12), pytest.param(8 / 3, 23, 0.05, marks=pytest.mark.slow)]
)
def test_pulsars_with_a_period_in_common_are_listed_once_beside_a_third(searched, ratio, snr, duty):
    shared = Pulsar(name="shared", period=0.285, dm=58.0, snr=60, duty=0.08, phase0=0.2)
    third = Pulsar(name="third", period=ratio * STRONG.period, dm=61.0, snr=snr, duty=duty, phase0=0.55)
    rows = searched(STRONG, shared, third).rows("candidates")
    own = rows["period"][(rows["parent"] == "") & (rows["snr"] > 30.0)]
    assert list(own) == pytest.approx([STRONG.period, shared.period], rel=1e-3)


def test_a_pulsar_sampled_more_coarsely_than_its_pulse_leaves_nothing(searched):
    fast = Pulsar(name="fast", period=0.00317, dm=6.6, snr=250, duty=0.02)
    rows = searched(fast).rows("candidates")
    own = rows["period"][(rows["parent"] == "") & (rows["score"] > 0.3)]
    assert list(own) == [pytest.approx(fast.period, rel=1e-4)]


@pytest.mark.parametrize(
    "sets",
    [
        ("sift.harmonics=false",),
        ("fft.enabled=false", "single_pulse.enabled=true", "dedisp.dm_lo=50", "dedisp.dm_hi=70"),
    ],
    ids=["harmonics", "pulses"],
)
def test_where_nothing_can_be_searched_again_the_first_list_stands(searched, sets):
    with_it = searched(STRONG, sets=sets)
    without = searched(STRONG, sets=(*sets, "search.residual=0"))
    assert set(with_it.rows("candidates")["uid"]) == set(without.rows("candidates")["uid"])
    assert len(with_it.rows("candidates")) > 0


def test_sources_at_parts_of_one_period_and_dm_are_pursued_together():
    def source(freq, dm, parent=""):
        rows = empty_table(DETECTION_COLUMNS, 1)
        rows["freq"], rows["dm"] = freq, dm
        group = Group(f"{freq:.6f} {dm}", rows[0], np.zeros(1, dtype=np.int64), dm - 5.0, dm + 5.0)
        return Candidate(group, parent=parent)

    slow, third, sixth = source(0.3137, 50.0), source(3 * 0.3137 + 0.1 / TOBS, 52.0), source(6 * 0.3137, 48.0)
    beside, elsewhere = source(3 * 0.3137 + 0.5 / TOBS, 50.0), source(2 * 0.3137, 300.0)
    others = [third, beside, elsewhere, sixth]
    sources = [*others, slow]
    assert sharing(others, sources, sources, TOBS) == [[slow, third, sixth]]
    assert sharing([beside, elsewhere, slow], sources, sources, TOBS) == []
    # What is at the period may pass for a multiple of one of them: two of them are then needed.
    multiple, of_another = source(0.3137, 50.0, third.uid), source(0.3137, 50.0, elsewhere.uid)
    parts = [third, source(5 * 0.3137, 51.0), elsewhere]
    assert sharing([parts[1]], parts, [*parts, multiple], TOBS) == [parts[:2]]
    assert sharing([parts[1]], parts, [*parts, of_another], TOBS) == []
    assert sharing([third], [third, elsewhere], [third, elsewhere, multiple], TOBS) == []
    assert sharing([elsewhere], parts, [*parts, multiple], TOBS) == []
