"""A search that is killed goes on from the trials that it had; what it has stored is small, and stored seldom."""

import threading
from contextlib import nullcontext

import numpy as np
import pytest
from reference.products import everything

from pulsar.config.load import load_config
from pulsar.pipeline import checkpoint, ranges
from pulsar.pipeline.checkpoint import Checkpoint, Pace
from pulsar.pipeline.ranges import Searched
from pulsar.pipeline.stages import SearchResult, SeriesSearch
from pulsar.run import search
from pulsar.synthesis.model import Pulsar, Rfi, Sky

SKY = Sky(
    nchans=32, fch1=1450.0, foff=-12.0, tsamp=5e-4, nsamps=16_384, seed=3,
    pulsars=(Pulsar(name="p", period=0.0913, dm=40, snr=25, duty=0.05),),
    rfi=(Rfi(kind="mains", rate=50.0, strength=0.05),),
)  # fmt: skip
THREADS, NDMS = 2, 101
SETTINGS = [
    "dedisp.dm_hi=100", "dedisp.dm_step=1.0", "ffa.enabled=false", "fold.ncands=4", f"run.threads={THREADS}",
]  # fmt: skip


class Killed(BaseException):
    """Nothing is done any more: what is on the disk by now is all that there is."""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("pulsar.dedisp.engine.TREE_DMS", 25)


@pytest.fixture(scope="module")
def undisturbed(searched):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pulsar.dedisp.engine.TREE_DMS", 25)
        return everything(searched().path)


@pytest.fixture
def trials(monkeypatch):
    """Those that are searched from now on."""
    real, done = SeriesSearch.search, []

    def noted(self, series, dm, dm_index=0, **more):
        done.append(dm_index)
        return real(self, series, dm, dm_index, **more)

    monkeypatch.setattr(SeriesSearch, "search", noted)
    return done


@pytest.fixture
def killed(sky_file, tmp_path, monkeypatch, trials):
    """A run that is killed in the middle of its third batch, and has stored what each trial gave."""
    with monkeypatch.context() as patch:
        patch.setattr(Searched, "kept", lambda _: nullcontext())
        patch.setattr(Pace, "due", lambda _: True)
        real, alone = Searched.add, threading.Lock()

        def add(self, *more):
            with alone:
                if self.ndone == 60:
                    raise Killed
                real(self, *more)

        patch.setattr(Searched, "add", add)
        with pytest.raises(Killed):
            search(sky_file, load_config(None, SETTINGS), tmp_path / "run.h5")
    assert 60 <= len(trials) <= 60 + THREADS
    trials.clear()
    return tmp_path / "run.h5"


def stored(out):
    """Files of what was found, and in how many trials that is."""
    found = {}
    for path in sorted(out.with_name("run.h5.parts").glob("searched-*.npz")):
        with np.load(path) as kept:
            found[path] = int(np.diff(kept["ranges"]).sum())
    return found


def test_a_killed_search_goes_on_within_the_batch(killed, sky_file, trials, undisturbed):
    search(sky_file, load_config(None, SETTINGS), killed, resume=True)
    assert len(trials) == len(set(trials)) == NDMS - 60
    assert everything(killed) == undisturbed


def test_what_the_disk_has_lost_alone_is_searched_again(killed, sky_file, trials, undisturbed):
    files = stored(killed)
    assert sum(files.values()) == 60
    first, *rest, last = files
    middle = rest[len(rest) // 2]
    first.write_bytes(first.read_bytes()[:100])
    middle.unlink()
    last.write_bytes(b"")
    search(sky_file, load_config(None, SETTINGS), killed, resume=True)
    assert len(trials) == len(set(trials)) == NDMS - 60 + files[first] + files[middle] + files[last]
    assert everything(killed) == undisturbed
    assert [path.name for path in killed.parent.iterdir()] == ["run.h5"]


def test_told_to_end_nothing_is_lost(sky_file, tmp_path, monkeypatch, trials, undisturbed):
    real = Searched.add

    def add(self, *more):
        real(self, *more)
        if self.ndone >= 40:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Searched, "add", add)
        patch.setattr(Pace, "due", lambda _: False)
        with pytest.raises(KeyboardInterrupt):
            search(sky_file, load_config(None, SETTINGS), tmp_path / "run.h5")
    assert len(stored(tmp_path / "run.h5")) == 1
    search(sky_file, load_config(None, SETTINGS), tmp_path / "run.h5", resume=True)
    assert sorted(trials) == list(range(NDMS))
    assert everything(tmp_path / "run.h5") == undisturbed


@pytest.mark.parametrize("cost", [0.002, 0.05, 3.0])
def test_storing_takes_a_hundredth_of_the_time(monkeypatch, cost):
    now = 0.0
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now)
    pace, at = Pace(), [0.0]
    while now < 10_000.0:
        now += 0.05
        if pace.due():
            with pace:
                now += cost
            at.append(now)
    # The first, before it is known what it takes, on top.
    assert cost * (len(at) - 2) <= 0.01 * now
    waits = np.diff(at)
    assert (waits <= np.maximum(0.01 * np.array(at[1:]), 100.0 * cost) + cost + 1.0).all()
    assert 30 < len(at) < 1000


def one(first, last, snr):
    """What a range might give: two events and a detection for each trial."""
    empty = SearchResult.join([])
    events, detections = (
        np.zeros(2 * (last - first), empty.events.dtype),
        np.zeros(last - first, empty.detections.dtype),
    )
    events["dm_index"], detections["dm_index"] = np.repeat(np.arange(first, last), 2), np.arange(first, last)
    events["snr"] = snr[2 * first : 2 * last]
    events["time"] = np.arange(2 * first, 2 * last)
    return SearchResult(detections, events)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("killed_after", [1, 3, 99])
def test_neither_order_nor_kills_matter(monkeypatch, tmp_path, seed, killed_after):
    monkeypatch.setattr(ranges, "MOST_EVENTS", 12)
    chance = np.random.default_rng(seed)
    # Many equal ones: which of them stay must not depend on the order either.
    snr = chance.integers(5, 8, 80).astype(np.float32)
    want = ranges.bounded(one(0, 40, snr), str)
    kept = Checkpoint(tmp_path / "run.h5", "f", resume=True)
    state, edges = Searched(kept, str), [0, 3, 5, 10, 12, 15, 22, 30, 33, 36, 40]
    state.birdies = []
    for count, k in enumerate(chance.permutation(10)):
        state.add(edges[k], edges[k + 1], one(edges[k], edges[k + 1], snr))
        state.save()
        if count % killed_after == killed_after - 1:
            state = Searched(kept, str)
    state = Searched(kept, str)
    got = ranges.bounded(state.found, str)
    assert got.events.tobytes() == want.events.tobytes()
    assert got.detections.tobytes() == want.detections.tobytes()
    assert state.ranges == [(0, 40)]
    # Twice what is kept at most, and as much that is written over next.
    on_disk = [kept.load(path.stem)["events"].size for path in kept.folder.glob("*.npz")]
    assert sum(on_disk) <= 4 * 12 + 16


def test_what_is_left(tmp_path):
    state = Searched(Checkpoint(tmp_path / "run.h5", "f", resume=True), str)
    for piece in ((20, 30), (0, 5), (30, 35)):
        state.add(*piece, one(*piece, np.full(80, 6.0)))
    assert state.left(0, 40) == [(5, 20), (35, 40)]
    assert state.left(3, 25) == [(5, 20)]
    assert state.left(21, 34) == []
    assert state.ndone == 20
