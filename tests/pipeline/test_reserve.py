"""When memory for samples is asked for before they are read."""

from dataclasses import replace
from pathlib import Path

from pulsar.config.load import load_config
from pulsar.io.open import open_observation
from pulsar.pipeline.plan import dry_run
from pulsar.pipeline.room import reserve_ahead
from pulsar.synthesis.model import Sky
from pulsar.synthesis.write import write_filterbank


def test_it_is_where_samples_are_kept_and_the_statistics_fit_beside_them(tmp_path: Path) -> None:
    sky = Sky(nchans=400, fch1=1499.5, foff=-1.0, tsamp=1e-3, nsamps=50_000)
    path = write_filterbank(sky, tmp_path / "a.fil")
    config = load_config(None, ["dedisp.dm_hi=300", "run.threads=2", "run.memory=2GiB"])
    without = load_config(None, ["subtract.pulsars=['B1937+21']"])
    with open_observation(path) as obs:  # type: ignore[attr-defined]
        plan = dry_run(obs, config)
        assert plan.route is not None
        assert plan.route.kind == "samples"
        with reserve_ahead(obs, config, plan) as reserve:
            assert reserve is not None
        for other, settings in (
            (replace(plan, route=None), config),
            (replace(plan, route=replace(plan.route, kind="passes")), config),
            (replace(plan, threads=1), config),
            (replace(plan, memory=plan.route.held + (1 << 20)), config),
            (plan, without),
        ):
            with reserve_ahead(obs, settings, other) as reserve:
                assert reserve is None
