"""``pulsar plan``: what a search would do, before it is done."""

import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

from pulsar.cli.console import out
from pulsar.cli.options import (
    AccelMax,
    Debug,
    DMRange,
    Files,
    Json,
    Memory,
    Ncands,
    NoFFA,
    NoFFT,
    NoSinglePulse,
    Preset,
    Sets,
    Threads,
    WMax,
    ZMax,
    effective_config,
    searches,
)
from pulsar.cli.tables import print_table


def command(
    files: Files,
    config: Preset = None,
    sets: Sets = None,
    dm: DMRange = None,
    zmax: ZMax = None,
    accel_max: AccelMax = None,
    wmax: WMax = None,
    no_fft: NoFFT = False,
    no_ffa: NoFFA = False,
    no_single_pulse: NoSinglePulse = False,
    ncands: Ncands = None,
    threads: Threads = None,
    memory: Memory = None,
    as_json: Json = False,
    _debug: Debug = False,
) -> None:
    """Show the DM plan with its smearing, the number of trials, memory, scratch space and expected time."""
    settings = effective_config(
        config,
        sets,
        dm=dm,
        fold__ncands=ncands,
        run__threads=threads,
        run__memory=memory,
        **searches(zmax, accel_max, wmax, no_fft, no_ffa, no_single_pulse),
    )
    from pulsar.io.open import open_observation
    from pulsar.pipeline.plan import dry_run

    obs = open_observation(*files, config=settings.input)
    try:
        run_plan = dry_run(obs, settings)
    finally:
        obs.close()
    if as_json:
        out(json.dumps(plain(run_plan), indent=2))
        return
    if run_plan.dm is not None:
        print_stages(run_plan.dm.stages)
    for line in run_plan.summary():
        out(line)
    out("expected: " + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in run_plan.seconds.items()))


def _steps(stage: Any) -> str:
    if stage.ndms < 2:
        return "-"
    low, high = f"{stage.steps[0]:.3g}", f"{stage.steps[-1]:.3g}"
    return low if low == high else f"{low}-{high}"


def print_stages(stages: Any) -> None:
    """One line for each stage of the DM plan, with the parts of the smearing at its first trial [us]."""

    def micro(part: str) -> Callable[[Any], str]:
        return lambda stage: f"{1e6 * getattr(stage.smearing, part):.0f}"

    print_table(
        {
            "DM from": lambda s: f"{s.dm_first:.2f}",
            "to": lambda s: f"{s.dm_last:.2f}",
            "step": _steps,
            "trials": lambda s: str(s.ndms),
            "downsample": lambda s: str(s.downsample),
            "tsamp [us]": lambda s: f"{1e6 * s.tsamp:.6g}",
            "channel": micro("channel"),
            "sampling": micro("sampling"),
            "step err": micro("step"),
            "arrival": micro("arrival"),
            "total [us]": micro("total"),
            "over best": lambda s: f"{s.excess:.2f}",
            "memory": lambda s: f"{s.nbytes / 2**20:.0f} MiB",
        },
        stages,
        title="DM plan (smearing in us at the first trial of the stage)",
    )


def plain(value: Any) -> Any:
    """Dataclasses, arrays and tuples as what JSON knows; lists of all DMs and frequencies are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if f.name not in ("freqs", "dms")]
        names += [name for name in ("dm_first", "dm_last", "ndms") if hasattr(value, name)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
