"""Dedispersion of whole observations: exact for any gulp and number of threads, by every route."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import dedisperse as oracle

from pulsar.config.model import DedispConfig
from pulsar.data.header import Header
from pulsar.data.source import SampleSource
from pulsar.dedisp.batches import Route, batch_ranges, choose_route, dedispersed
from pulsar.dedisp.engine import batch_size, build_tree, samples_per_dm
from pulsar.dedisp.plan import make_plan
from pulsar.dedisp.stream import Channels, DMStore, Reserve, dedisperse
from pulsar.errors import ConfigError, PulsarError

SCRATCH = Route("scratch", 1, 3_000_000, 0, 0, 0.0)


@dataclass
class ArraySource:
    """Cleaned samples in memory."""

    data: np.ndarray
    freqs: np.ndarray
    fref: float
    tsamp: float
    chan_width: float = 1.0
    tstart: float = 58000.0
    fail_at: int = 1 << 60

    @property
    def nsamps(self):
        return self.data.shape[1]

    def read_into(self, start, out):
        if start + out.shape[1] > self.fail_at:
            raise OSError("the disk went away")
        for i in range(out.shape[1]):
            out[:, i] = self.data[:, start + i] if 0 <= start + i < self.nsamps else 0

    def valid_fraction(self, start, nsamps):
        return 1.0


def make(nchans, nsamps, seed=1, tsamp=1e-3, fch1=1400.0, width=10.0, skip=0):
    rng = np.random.default_rng(seed)
    header = Header(nchans=nchans, nsamps=nsamps, tsamp=tsamp, fch1=fch1, foff=-width, tstart=58000.0)
    data = rng.integers(-100, 101, (nchans - skip, nsamps), dtype=np.int8)
    return header, ArraySource(data, np.array(header.freqs[skip:]), fch1, tsamp, width)


def stage_data(source, downsample):
    return source.data if downsample == 1 else oracle.downsample(source.data, downsample).astype(np.int8)


def expected(source, stage, method):
    k = samples_per_dm(source.freqs, source.fref, stage.tsamp)
    if method == "tree":
        # Trees of a batch each.
        most = batch_size("tree", k.size, stage.nsamps)
        parts = np.linspace(0, stage.ndms, -(-stage.ndms // most) + 1).round().astype(int)
        trees = [build_tree(k, stage.dms[a:b], 64) for a, b in pairwise(parts)]
        data = stage_data(source, stage.downsample)
        return np.concatenate([oracle.tree(data, tree.children, tree.shifts) for tree in trees])
    delays = np.rint(np.outer(stage.dms, k)).astype(int)
    return oracle.shifted_sums(stage_data(source, stage.downsample), delays)


@settings(deadline=None, max_examples=20)
@given(
    nchans=st.integers(1, 40),
    nsamps=st.integers(1, 500),
    dm_lo=st.sampled_from([0.0, 5.0]),
    dm_hi=st.sampled_from([5.0, 10.0, 60.0, 200.0]),
    gulp=st.integers(1, 900),
    threads=st.integers(1, 3),
    method=st.sampled_from(["tree", "brute"]),
    seed=st.integers(0, 1000),
)
def test_streamed_is_exact(tmp_path_factory, nchans, nsamps, dm_lo, dm_hi, gulp, threads, method, seed):
    header, source = make(nchans, nsamps, seed, skip=seed % min(nchans, 3))
    plan = make_plan(header, DedispConfig(dm_lo=dm_lo, dm_hi=dm_hi, tolerance=0.9, method=method), source.freqs)
    read = []
    with dedisperse(source, plan, threads=threads, progress=read.append, gulp=gulp) as store:
        kept = [np.array(stage.data) for stage in store.stages]
        for stage in store.stages:
            assert stage.data.shape == (stage.plan.ndms, nsamps // stage.plan.downsample)
            np.testing.assert_array_equal(stage.data, expected(source, stage.plan, method))
    assert sum(read) == nsamps
    rows = [row for data in kept for row in data]
    folder = tmp_path_factory.mktemp("scratch")
    start = seed % plan.ndms
    for kind in ("samples", "passes", "scratch"):
        done = []
        route = Route(kind, 1, 1 << 30, 0, 0, 0.0)
        at = start
        for batch in dedispersed(
            source, plan, route, threads=threads, scratch=folder, start=start, progress=done.append
        ):
            assert batch.first == at
            assert batch.stage.dms[0] == plan.dms[batch.first]
            for i in range(batch.stage.ndms):
                np.testing.assert_array_equal(batch.row(i), rows[batch.first + i])
            at = batch.first + batch.stage.ndms
        assert at == plan.ndms
        assert sum(done) == pytest.approx(plan.ndms - max(low for low, _ in batch_ranges(plan) if low <= start))
        assert not list(folder.iterdir())


def few(monkeypatch, trials):
    """Make batches of a few trials."""
    monkeypatch.setattr("pulsar.dedisp.engine.TREE_DMS", trials)


@pytest.mark.parametrize("dm_lo", [0.0, 150.0])
@pytest.mark.parametrize("nsamps", [3000, 3001, 4097])
def test_all_routes_give_the_same(monkeypatch, tmp_path, nsamps, dm_lo):
    few(monkeypatch, 10)
    header, source = make(24, nsamps, skip=1)
    plan = make_plan(header, DedispConfig(dm_lo=dm_lo, dm_hi=300.0, dm_step=3.0, tolerance=0.4), source.freqs)
    assert len(plan.stages) >= 2
    assert (plan.stages[0].downsample == 1) == (dm_lo == 0.0)
    with dedisperse(source, plan) as store:
        want = [store.row(i) for i in range(plan.ndms)]
    seen = {}
    for kind, memory in (("samples", 1 << 30), ("passes", 2_000_000), ("scratch", 1 << 22)):
        route = Route(kind, 0, memory, 0, 0, 0.0)
        seen[kind] = []
        for batch in dedispersed(source, plan, route, threads=2, scratch=tmp_path):
            seen[kind].append(batch.first)
            for i in range(batch.stage.ndms):
                np.testing.assert_array_equal(batch.row(i), want[batch.first + i])
    assert seen["samples"] == seen["scratch"]
    assert len(seen["samples"]) > 5


def test_the_route_follows_the_memory(monkeypatch):
    few(monkeypatch, 10)
    header, source = make(200, 100_000, tsamp=1e-3, width=1.0)
    plan = make_plan(header, DedispConfig(dm_hi=150.0, dm_step=1.0, max_downsample=1), source.freqs)
    samples = source.data.nbytes
    assert plan.nbytes > samples
    routes = [choose_route(plan, threads=1, memory=int(memory)) for memory in (4e9, 2.2e7, 5e6)]
    assert [route.kind for route in routes] == ["samples", "passes", "scratch"]
    assert samples < routes[0].held < 1.5 * samples
    assert routes[1].passes == 2
    assert routes[2].scratch_bytes == plan.nbytes
    seconds = [route.seconds for route in routes]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("gulp", [64, 37_000, 60_000, 120_000])
@pytest.mark.parametrize("dm_lo", [0.0, 150.0])
def test_kept_samples_take_what_the_route_says(monkeypatch, gulp, dm_lo):
    """Also where the highest channels are masked: delays begin at the highest of the observation."""
    # Two of all downsamplings in use, when the original is not.
    monkeypatch.setattr("pulsar.dedisp.batches.GULP_BYTES", 14 * gulp)
    header, source = make(24, 60_000, width=40.0, skip=10)
    plan = make_plan(header, DedispConfig(dm_lo=dm_lo, dm_hi=600.0, dm_step=10.0), source.freqs)
    route = choose_route(plan, threads=1, memory=1 << 30)
    assert route.kind == "samples"
    assert (plan.stages[0].downsample == 1) == (dm_lo == 0.0)
    sizes = []
    allocate = Channels.allocate

    def watched(level, *args, **options):
        allocate(level, *args, **options)
        sizes.append(level.buffer.nbytes)

    monkeypatch.setattr(Channels, "allocate", watched)
    largest = max(batch.stage.nbytes for batch in dedispersed(source, plan, route))
    assert sum(sizes) + largest <= route.held


def test_passes_keep_within_the_memory(monkeypatch, tmp_path):
    few(monkeypatch, 10)
    header, source = make(24, 60_000, tsamp=1e-3)
    plan = make_plan(header, DedispConfig(dm_hi=50.0, dm_step=0.5), source.freqs)
    stores = []

    class Watched(DMStore):
        def __init__(self, part, scratch):
            stores.append(part.nbytes)
            super().__init__(part, scratch)

    monkeypatch.setattr("pulsar.dedisp.batches.DMStore", Watched)
    memory = 5_000_000
    for _ in dedispersed(source, plan, Route("passes", 0, memory, 0, 0, 0.0)):
        pass
    assert sum(stores) == plan.nbytes
    assert len(stores) > 2
    assert max(stores) <= memory


def test_several_downsamplings_are_used():
    # The test above means something only if plans like its own have several stages.
    header, source = make(16, 4000, tsamp=1e-3)
    plan = make_plan(header, DedispConfig(dm_hi=300.0, dm_step=3.0, tolerance=0.4), source.freqs)
    assert len({stage.downsample for stage in plan.stages}) >= 3
    with dedisperse(source, plan, threads=2) as store:
        for stage in store.stages:
            np.testing.assert_array_equal(stage.data, expected(source, stage.plan, "tree"))


@pytest.mark.parametrize("gulp", [64, 1000])
def test_coarse_stages_that_go_on_after_the_fine_ones_are_done(monkeypatch, gulp):
    """Their delays are longer: the buffers of finished stages must not be read past their ends meanwhile."""
    from pulsar_kernels.dedisperse import halve

    def watched(x, out):
        assert x.shape[1] == 2 * out.shape[1]
        halve(x, out)

    monkeypatch.setattr("pulsar.dedisp.stream.halve", watched)
    header, source = make(16, 20_000, tsamp=1e-3)
    plan = make_plan(header, DedispConfig(dm_hi=3000.0, dm_step=20.0, tolerance=0.4), source.freqs)
    assert [stage.downsample for stage in plan.stages][:2] == [1, 2]
    with dedisperse(source, plan, gulp=gulp) as store:
        for stage in store.stages:
            np.testing.assert_array_equal(stage.data, expected(source, stage.plan, "tree"))


def test_kept_samples_that_are_longer_downsampled(monkeypatch):
    """Every stage has its delays beyond the end: of short data the coarse ones together outgrow the original."""
    monkeypatch.setattr("pulsar.dedisp.batches.GULP_BYTES", 1 << 12)
    header, source = make(16, 20_000, tsamp=1e-3)
    plan = make_plan(header, DedispConfig(dm_hi=3000.0, dm_step=20.0, tolerance=0.4), source.freqs)
    assert plan.stages[0].downsample == 1
    with dedisperse(source, plan) as store:
        want = [store.row(i) for i in range(plan.ndms)]
    for batch in dedispersed(source, plan, Route("samples", 1, 1 << 30, 0, 0, 0.0), threads=2):
        for i in range(batch.stage.ndms):
            np.testing.assert_array_equal(batch.row(i), want[batch.first + i])


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_memory_that_was_asked_for_ahead(monkeypatch, share):
    """The same series, whether it is enough or not; and it is given back with the last batch."""
    header, source = make(200, 100_000, tsamp=1e-3, width=1.0)
    plan = make_plan(header, DedispConfig(dm_hi=50.0, dm_step=1.0, max_downsample=1), source.freqs)
    route = choose_route(plan, threads=1, memory=1 << 30)
    reserve = Reserve(int(share * route.held), 64)
    of_room = []
    allocate = Channels.allocate

    def watched(level, *args, **options):
        free = list(reserve._free)
        allocate(level, *args, **options)
        of_room.append(np.shares_memory(level.buffer, free[0]))

    monkeypatch.setattr(Channels, "allocate", watched)
    with dedisperse(source, plan) as store:
        of_room.clear()
        for batch in dedispersed(source, plan, route, threads=2, reserve=reserve):
            assert not reserve._free
            for i in range(batch.stage.ndms):
                np.testing.assert_array_equal(batch.row(i), store.row(batch.first + i))
    assert of_room == [share == 1.0]


def batches_of_all_downsamplings(most, memory):
    """Plan, samples, and what is left of them after all batches, which are as they should be."""
    header, source = make(24, 60_000, tsamp=1e-3)
    plan = make_plan(header, DedispConfig(dm_hi=3000.0, dm_step=20.0, tolerance=0.4, max_downsample=most), source.freqs)
    room = next(m for m in range(memory, 1 << 30, 1 << 16) if choose_route(plan, threads=1, memory=m).kind == "samples")
    route = choose_route(plan, threads=1, memory=room)
    reserve = Reserve(route.apart, route.held - route.apart)
    with dedisperse(source, plan) as store:
        for batch in dedispersed(source, plan, route, reserve=reserve):
            assert reserve.left() is None
            for i in range(batch.stage.ndms):
                np.testing.assert_array_equal(batch.row(i), store.row(batch.first + i))
    rows = reserve.left()
    assert reserve.left() is None
    return plan, source, rows


@pytest.mark.parametrize(("most", "memory"), [(1, 1 << 20), (16, 1 << 29)])
def test_samples_that_nothing_took_the_place_of_are_handed_on_once(most, memory):
    plan, source, rows = batches_of_all_downsamplings(most, memory)
    assert (len(plan.stages) == 1) == (most == 1)
    np.testing.assert_array_equal(rows.data[:, rows.first : rows.first + 60_000], source.data)
    assert not rows.data[:, : rows.first].any()
    assert not rows.data[:, rows.first + 60_000 :].any()
    # They alone take memory now.
    assert rows.data.base is None or rows.data.base.nbytes < 1.5 * source.data.nbytes


def test_samples_of_which_only_downsampled_ones_were_wanted_are_not_handed_on(monkeypatch):
    """As a run is gone on with that has searched all trials of the first stage: they pass by in gulps."""
    monkeypatch.setattr("pulsar.dedisp.batches.GULP_BYTES", 1 << 18)
    header, source = make(24, 60_000, tsamp=1e-3)
    plan = make_plan(header, DedispConfig(dm_hi=3000.0, dm_step=20.0, tolerance=0.4), source.freqs)
    route, reserve = choose_route(plan, threads=1, memory=1 << 29), Reserve()
    first = plan.stages[0].ndms
    with dedisperse(source, plan) as store:
        for batch in dedispersed(source, plan, route, reserve=reserve, start=first):
            np.testing.assert_array_equal(batch.row(0), store.row(batch.first))
    assert route.apart > 0
    assert reserve.left() is None


def test_with_little_memory_downsampled_samples_take_their_place():
    plan, _, rows = batches_of_all_downsamplings(16, 1 << 20)
    assert len(plan.stages) > 1
    assert rows is None


def test_memory_that_other_routes_do_not_need_is_given_back(tmp_path):
    header, source = make(24, 60_000, tsamp=1e-3)
    plan = make_plan(header, DedispConfig(dm_hi=5.0, dm_step=1.0), source.freqs)
    reserve = Reserve(1 << 20)
    next(dedispersed(source, plan, SCRATCH, scratch=tmp_path, reserve=reserve))
    assert not reserve._free


def test_memory_asked_for_is_zero_and_begins_at_a_cache_line():
    with Reserve(1 << 20) as reserve:
        first = reserve.zeros((3, 1001), np.int8)
        second = reserve.zeros((5,), np.int16)
        more = reserve.zeros((1 << 20,), np.int16)
        for array in (first, second, more):
            assert not array.any()
            assert array.ctypes.data % 64 == 0
            assert array.flags.c_contiguous
        first[:] = 1
        assert not second.any()
        assert more.shape == (1 << 20,)


def test_a_scratch_file_and_its_end(tmp_path):
    header, source = make(24, 60_000, tsamp=1e-3)
    plan = make_plan(header, DedispConfig(dm_hi=50.0, dm_step=1.0), source.freqs)
    assert plan.nbytes > 4_000_000
    batches = dedispersed(source, plan, SCRATCH, scratch=tmp_path, threads=2)
    batch = next(batches)
    assert not list(tmp_path.iterdir())  # the file has no name
    with pytest.raises(IndexError):
        batch.row(plan.ndms)
    batches.close()
    with pytest.raises(PulsarError, match="closed"):
        batch.row(0)


def test_scratch_is_removed_after_an_error(tmp_path):
    header, source = make(24, 60_000)
    plan = make_plan(header, DedispConfig(dm_hi=50.0, tolerance=0.2), source.freqs)
    source.fail_at = 40_000
    for kind in ("samples", "passes", "scratch"):
        with pytest.raises(OSError, match="disk went away"):
            next(dedispersed(source, plan, Route(kind, 0, 1 << 30, 0, 0, 0.0), scratch=tmp_path, threads=2))
    assert not list(tmp_path.iterdir())


def test_refusals(tmp_path):
    header, source = make(24, 60_000)
    plan = make_plan(header, DedispConfig(dm_hi=50.0, tolerance=0.2), source.freqs)
    with pytest.raises(ConfigError, match="memory"):
        dedisperse(source, plan, memory=1000)
    for kind in ("passes", "scratch"):
        with pytest.raises(ConfigError, match="memory"):
            next(dedispersed(source, plan, Route(kind, 0, 1000, 0, 0, 0.0), scratch=tmp_path))
    with pytest.raises(ConfigError, match="not a folder"):
        next(dedispersed(source, plan, SCRATCH, scratch=tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="scratch folder"):
        next(dedispersed(source, plan, SCRATCH))
    other, _ = make(24, 50_000)
    with pytest.raises(ConfigError, match="this observation"):
        dedisperse(source, make_plan(other, DedispConfig(dm_hi=50.0), source.freqs))
    source.freqs = source.freqs[:0]
    with pytest.raises(ConfigError, match="no channel"):
        dedisperse(source, plan)


def test_bright_pulse_saturates_and_does_not_wrap():
    header, source = make(600, 300, width=0.5)
    source.data[:, 100:110] = 127
    rows, wanted = {}, {}
    for method in ("tree", "brute"):
        plan = make_plan(header, DedispConfig(dm_hi=0.0, method=method), source.freqs)
        with dedisperse(source, plan) as store:
            rows[method] = store.row(0)
            wanted[method] = expected(source, store.stages[0].plan, method)[0]
    # The nodes of the tree saturate before its root does, at many times the noise (of 8 levels a channel).
    np.testing.assert_array_equal(rows["tree"], wanted["tree"])
    assert (rows["tree"][100:110] > 64 * 8 * np.sqrt(600)).all()
    assert (rows["brute"][100:110] == 32767).all()
    np.testing.assert_array_equal(rows["brute"], oracle.clamp16(source.data.sum(axis=0, dtype=np.int64)))


def test_noise_keeps_its_level_through_downsampling():
    rng = np.random.default_rng(3)
    header, source = make(32, 40_000, tsamp=1e-4)
    source.data = np.clip(np.rint(8 * rng.standard_normal(source.data.shape)), -127, 127).astype(np.int8)
    plan = make_plan(header, DedispConfig(dm_hi=200.0, dm_step=5.0, tolerance=0.5), source.freqs)
    with dedisperse(source, plan) as store:
        assert store.stages[-1].plan.downsample >= 4
        for stage in store.stages:
            series = stage.row(0)[: stage.plan.nsamps // 2].astype(float)
            assert series.std() == pytest.approx(8 * np.sqrt(32), rel=0.05)


def test_source_follows_the_protocol():
    _, source = make(4, 10)
    checked: SampleSource = source
    assert checked.nsamps == 10
