"""``pulsar inject``: synthetic pulsars, bursts and interference in a real observation."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pulsar.cli.console import out
from pulsar.cli.options import Files, Overwrite, Preset, Sets, Threads, Told, effective_config, shared
from pulsar.cli.simulate import OnePulsar, Seed, check_truth, thread_count


@shared
def command(
    files: Files,
    output: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT.fil", help="SIGPROC file to write.", show_default=False)
    ],
    sky: Annotated[
        Path | None, typer.Option("--sky", metavar="FILE.toml", help="List of [[pulsars]], [[bursts]] and [[rfi]].")
    ] = None,
    *,
    one_pulsar: OnePulsar,
    seed: Seed = None,
    nbits: Annotated[
        int | None, typer.Option("--nbits", metavar="N", help="Depth of the output.", show_default="as the input")
    ] = None,
    config: Preset = None,
    sets: Sets = None,
    threads: Threads = None,
    overwrite: Overwrite = False,
    told: Told,
) -> None:
    """Add pulsars, bursts and interference to an observation: a new file, with what was added as TOML beside it."""
    from pulsar.errors import ConfigError

    settings = effective_config(config, sets)
    if output.suffix.lower() != ".fil":
        raise ConfigError(f"{output}: inject writes SIGPROC files: end the name in .fil")
    pulsar = one_pulsar.values()

    from pulsar.synthesis import Injection, inject, load_injection, truth_path, validate

    what: dict[str, Any] = {} if sky is None else load_injection(sky).model_dump()
    if pulsar is not None:
        what["pulsars"] = [*what.get("pulsars", ()), pulsar]
    if seed is not None:
        what["seed"] = seed
    injection = validate(Injection, what, "inject")
    workers = thread_count(threads)
    if not output.exists():
        check_truth(output, sky, overwrite=overwrite)

    from pulsar.io.open import open_observation

    obs = open_observation(*files, config=settings.input)
    progress = told.progress()
    try:
        with progress.stage("injecting", total=obs.header.nsamps, unit="samples") as tick:
            inject(
                obs,
                output,
                pulsars=injection.pulsars,
                bursts=injection.bursts,
                rfi=injection.rfi,
                nbits=nbits,
                seed=injection.seed,
                threads=workers,
                overwrite=overwrite,
                progress=tick,
            )
    finally:
        obs.close()
    out(str(output))
    progress.message(f"what was added: {truth_path(output)}")
