"""Ranges of DMs searched apart and in any order: the same candidates as by one process."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from pulsar.config.load import load_config
from pulsar.errors import ConfigError, DataError, PulsarError
from pulsar.io.memory import Filterbank
from pulsar.pipeline import ranges
from pulsar.pipeline.ranges import Searched, cut, search_range
from pulsar.run import search
from pulsar.synthesis.model import Pulsar, Rfi, Sky

SKY = Sky(
    nchans=32, fch1=1450.0, foff=-12.0, tsamp=5e-4, nsamps=16_384, seed=3,
    pulsars=(Pulsar(name="p", period=0.0913, dm=40, snr=25, duty=0.05),),
    rfi=(Rfi(kind="mains", rate=50.0, strength=0.05),),
)  # fmt: skip
SETTINGS = ["dedisp.dm_hi=100", "dedisp.dm_step=1.0", "ffa.enabled=false", "fold.ncands=4", "run.threads=1"]


class Here:
    """Workers that are this process, and take the last task first."""

    count, threads, memory = 3, 1, 1 << 30

    def __init__(self, most=99):
        self.most, self.tasks = most, []

    def search(self, tasks):
        for task in sorted(tasks, key=lambda task: -task.first):
            if len(self.tasks) == self.most:
                raise KeyboardInterrupt
            self.tasks.append(task)
            yield task, search_range(task)

    @contextmanager
    def __call__(self):
        ranges._opened.cache_clear()
        yield self
        ranges._opened.cache_clear()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("pulsar.dedisp.engine.TREE_DMS", 25)


def found(run):
    return [run.rows(table).tobytes() for table in ("candidates", "single_pulses", "detections")]


@pytest.fixture(scope="module")
def ordinary(searched):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pulsar.dedisp.engine.TREE_DMS", 25)
        run = searched()
        assert len(run) > 0
        return found(run)


def test_the_same_candidates_bit_by_bit(sky_file, tmp_path, ordinary):
    crew = Here()
    run = search(sky_file, load_config(None, SETTINGS), tmp_path / "run.h5", crew=crew)
    assert found(run) == ordinary
    assert len(crew.tasks) > 3
    # Each trial once, and more than one part of some batch.
    trials = [i for task in crew.tasks for i in range(task.first, task.last)]
    assert sorted(trials) == list(range(len(trials)))
    assert {task.first for task in crew.tasks} - {0, 25, 50, 75, 76, 101}


@pytest.mark.parametrize("second", [None, Here()])
def test_whoever_goes_on_finds_the_same(sky_file, tmp_path, ordinary, second):
    config, first = load_config(None, SETTINGS), Here(most=2)
    with pytest.raises(KeyboardInterrupt) as stopped:
        search(sky_file, config, tmp_path / "run.h5", crew=first)
    assert stopped.value.__notes__ == ["use --resume to go on"]
    run = search(sky_file, config, tmp_path / "run.h5", resume=True, crew=second)
    assert found(run) == ordinary
    if second is not None:
        done = {i for task in first.tasks for i in range(task.first, task.last)}
        assert not done & {i for task in second.tasks for i in range(task.first, task.last)}


def test_a_crew_goes_on_where_one_process_stopped(sky_file, tmp_path, ordinary, monkeypatch):
    config, out, crew = load_config(None, SETTINGS), tmp_path / "run.h5", Here()
    real = Searched.search

    def once(self, *batch):
        real(self, *batch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Searched, "search", once)
        with pytest.raises(KeyboardInterrupt):
            search(sky_file, config, out)
    assert found(search(sky_file, config, out, resume=True, crew=crew)) == ordinary
    assert min(task.first for task in crew.tasks) > 0


def test_what_a_worker_must_have(sky_file, tmp_path, monkeypatch):
    crew = Here(most=0)
    given = []

    def stop(tasks):
        given.extend(tasks)
        raise KeyboardInterrupt

    monkeypatch.setattr(crew, "search", stop)
    with pytest.raises(KeyboardInterrupt):
        search(sky_file, load_config(None, SETTINGS), tmp_path / "run.h5", crew=crew)
    task = given[0]
    for change, kind, told in (
        ({"version": "0"}, PulsarError, "same installation"),
        ({"stamps": ((1, 2.0),)}, DataError, "not the file that the run began with"),
        ({"folder": str(tmp_path / "none")}, PulsarError, "must see the folder of the product"),
        ({"dms": ""}, PulsarError, "same versions"),
    ):
        other = replace(task, shared=replace(task.shared, **change))
        with pytest.raises(kind, match=told):
            search_range(other)


def test_nothing_to_share(tmp_path):
    data = np.random.default_rng(1).normal(size=(16, 4096)).astype(np.float32)
    obs = Filterbank.from_array(data, np.linspace(1400.0, 1250.0, 16), 1e-3)
    with pytest.raises(ConfigError, match="in files"):
        search(obs, load_config(None, ["dedisp.dm_hi=20"]), tmp_path / "run.h5", crew=Here())


@pytest.mark.parametrize("workers", [1, 2, 7, 100])
@pytest.mark.parametrize("left", [[(0, 300)], [(3, 17), (90, 300)]])
def test_cuts_are_equal_and_whole(workers, left):
    batches = [(0, 64), (64, 128), (128, 200), (200, 300)]
    costs = np.concatenate([np.full(128, 4.0), np.full(172, 1.0)])
    pieces = cut(batches, costs, left, workers, 0.0)
    assert sorted(i for first, last in pieces for i in range(first, last)) == [
        i for first, last in left for i in range(first, last)
    ]
    sums = [costs[first:last].sum() for first, last in pieces]
    assert sums == sorted(sums, reverse=True)
    share = sum(costs[first:last].sum() for first, last in left) / (3 * workers)
    quarter = max(costs[first:last].sum() for first, last in batches) / 4
    assert max(sums) <= 2 * max(share, quarter)


def test_reading_must_be_worth_it():
    costs = np.full(400, 1.0)
    batches = [(i, i + 10) for i in range(0, 400, 10)]
    # A share would be 13 trials: two batches are too many.
    assert len(cut(batches, costs, [(0, 400)], 10, 0.1)) == 40
    # 20 ranges read for a fifth of what they search; ten workers get one each whatever that takes.
    assert len(cut(batches, costs, [(0, 400)], 10, 4.0)) == 20
    assert len(cut(batches, costs, [(0, 400)], 10, 100.0)) == 10
