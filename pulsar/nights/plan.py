"""Plans of the searches of a night."""

from collections.abc import Sequence
from contextlib import closing

from pulsar.errors import PulsarError
from pulsar.io.open import open_observation
from pulsar.nights.night import Job
from pulsar.pipeline.plan import dry_run
from pulsar.pipeline.run_plan import RunPlan


def plan_jobs(todo: Sequence[Job]) -> tuple[dict[str, RunPlan], list[tuple[str, PulsarError]]]:
    """Plans of the searches of a night by their names, and those that would fail, with why.

    Parameters
    ----------
    todo : sequence of Job
        Of :func:`pulsar.nights.night.jobs`.
    """
    plans: dict[str, RunPlan] = {}
    failures: list[tuple[str, PulsarError]] = []
    alike: dict[tuple[object, ...], RunPlan] = {}
    for job in todo:
        name = job.out.stem
        try:
            with closing(open_observation(*job.pointing.paths, config=job.config.input)) as obs:
                h = obs.header
                shape = (h.nsamps, h.tsamp, h.is_series, obs.chan_ok.tobytes(), h.freqs.tobytes())
                if shape not in alike:
                    # Beams of one time differ in nothing that a plan depends on.
                    alike[shape] = dry_run(obs, job.config)
                plans[name] = alike[shape]
        except PulsarError as failure:
            failures.append((name, failure))
    return plans, failures
