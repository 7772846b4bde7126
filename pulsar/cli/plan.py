"""``pulsar plan``: what a search would do, before it is done."""

import json

from pulsar.cli.console import (
    Debug,
    DMRange,
    Files,
    Json,
    Memory,
    Ncands,
    Preset,
    Sets,
    Threads,
    effective_config,
    out,
)


def command(
    files: Files,
    config: Preset = None,
    sets: Sets = None,
    dm: DMRange = None,
    ncands: Ncands = None,
    threads: Threads = None,
    memory: Memory = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Show the DM plan with its smearing, the number of trials, memory, scratch space and expected time."""
    settings = effective_config(config, sets, dm=dm, fold__ncands=ncands, run__threads=threads, run__memory=memory)
    from pulsar.io.open import open_observation
    from pulsar.pipeline.plan import dry_run

    obs = open_observation(*files, config=settings.input)
    try:
        run_plan = dry_run(obs, settings)
    finally:
        obs.close()
    if as_json:
        out(json.dumps(plain(run_plan), indent=2))
