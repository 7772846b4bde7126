"""What masking costs and what it gains: a zoo of interference times injected pulsars and bursts, by method.

Every observation of zoo.py (each kind of interference alone, and three mixes) is made twice, clean and
contaminated, with the same noise, four pulsars (2 ms to 2 s) and four bursts (0.5 to 10 ms) of S/N 10 to 20 and DM 10
to 500, and searched as a user searches it over DM 0 to 520. Of what is found in the clean one: how much is found in the
other? How many candidates and pulses above 3 sigma (corrected for trials) are neither injected nor flagged? With the
settings as they are, with nothing, and with each method alone changed. In the clean ones: what does each method cost?

    python benchmarks/rfi_zoo.py                             # the settings as they are, and nothing
    python benchmarks/rfi_zoo.py --methods all --seeds 2     # each method on and off
    python benchmarks/rfi_zoo.py --only mix-fast --method default --verbose
    python benchmarks/rfi_zoo.py --bright                    # what is very bright must not be masked
    python benchmarks/rfi_zoo.py --low-dm                    # methods against broadband interference, at DM 0 to 300
    python benchmarks/rfi_zoo.py --inject real.fil --seeds 5 # signals injected into real files
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from zoo import RECEIVERS, ZOO, Verdict, draw, judge, skies

from pulsar.cleaning import cleaned_source, make_mask, measure
from pulsar.config.load import load_config
from pulsar.config.model import Config, RfiConfig
from pulsar.errors import PulsarError
from pulsar.io.open import open_observation
from pulsar.run import search
from pulsar.synthesis import Burst, Pulsar, inject, make, write_filterbank

# A search that covers what is injected, no more: the folding search of pulses of 1 % and more of 0.5 to 5 s.
BASE = ["dedisp.dm_hi=520", "ffa.duty_min=0.01", "ffa.p_max=5", "run.threads=1", "output.detections=false"]
BASE += ["single_pulse.cutouts=40"]
# FAST's settings know the period of the noise diode; the ranges that they zap are a method of their own here.
BY_RECEIVER = {"fast": ["rfi.diodes=[0.201326592, 2.0]"], "parkes": []}

# How strong a method is where it is off by default [sigma].
ON = 6.0
ZERODM = tuple(kind for kind in get_args(RfiConfig.model_fields["zerodm"].annotation) if kind != "off")
# Strange candidates, and pulses, of a search that are told in words.
MOST_WORDS = 12


def switches() -> dict[str, tuple[Any, Any]]:
    """Fields of the section rfi that can be switched off: what is off, and what is on."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, field in RfiConfig.model_fields.items():
        if isinstance(field.default, bool):
            found[name] = (False, True)
        elif (field.description or "").endswith("0: off"):
            found[name] = (0.0, field.default or ON)
    return found


def methods() -> dict[str, dict[str, Any]]:
    """Changes of the section rfi by name of the method: as it is, nothing, and each switch alone turned over."""
    default = RfiConfig()
    off: dict[str, Any] = {name: no for name, (no, _) in switches().items()}
    found: dict[str, dict[str, Any]] = {"default": {}, "nothing": {**off, "zerodm": "off", "diodes": ()}}
    for name, (no, yes) in switches().items():
        is_on = getattr(default, name) != no
        found[f"{'without' if is_on else 'with'} {name}"] = {name: no if is_on else yes}
    for kind in ZERODM:
        if kind != default.zerodm:
            found[f"with zerodm {kind}"] = {"zerodm": kind}
    if default.zerodm != "off":
        found["without zerodm"] = {"zerodm": "off"}
    found["without diodes"] = {"diodes": ()}
    found["with zaps of FAST"] = {"zap": load_config("fast-19beam", []).rfi.zap}
    return found


def settings(receiver: str, changes: dict[str, Any], extra: Iterable[str]) -> Config:
    """The settings of a run."""
    config = load_config(None, [*BASE, *BY_RECEIVER[receiver], *extra])
    rfi = RfiConfig.model_validate({**config.rfi.model_dump(), **changes})
    return config.model_copy(update={"rfi": rfi})


def run(path: Path, config: Config, pulsars: tuple[Pulsar, ...], bursts: tuple[Burst, ...]) -> Verdict:
    """Search a file and judge what is found."""
    out = path.with_suffix(".h5")
    began = time.process_time()
    try:
        found = search(path, config, out, overwrite=True)
    except PulsarError as error:
        # All masked: nothing is found, and nothing strange.
        print(f"{path.name}: {error}", flush=True)
        return Verdict((0.0,) * len(pulsars), (0.0,) * len(bursts), 0, (), (), 0, 1.0, time.process_time() - began)
    cpu = time.process_time() - began
    verdict = judge(
        found.rows("candidates"), found.rows("single_pulses"), found.observation, pulsars, bursts, found.rfi, cpu
    )
    out.unlink()
    return verdict


def observe(task: tuple[str, int, list[str], bool, list[str]]) -> dict[str, Any]:
    """Make an observation of the zoo, clean and contaminated, and search it with each method."""
    kind, seed, names, costs, extra = task
    receiver = ZOO[kind][0]
    clean, dirty = skies(kind, seed)
    table = methods()
    result: dict[str, Any] = {"kind": kind, "seed": seed, "clean": {}, "dirty": {}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{kind}-{seed}.fil"
        write_filterbank(clean, path)
        # With nothing done: what is there to be found. With the settings as they are, and others: what they cost.
        for name in dict.fromkeys(["nothing", "default", *(names if costs else ())]):
            config = settings(receiver, table[name], extra)
            result["clean"][name] = run(path, config, clean.pulsars, clean.bursts)
        write_filterbank(dirty, path, overwrite=True)
        for name in names:
            config = settings(receiver, table[name], extra)
            result["dirty"][name] = run(path, config, dirty.pulsars, dirty.bursts)
    return result


def percent(part: float, digits: int = 1) -> str:
    """As the table shows it."""
    return "-" if np.isnan(part) else f"{100 * part:.{digits}f} %"


def recall(pairs: Iterable[tuple[Verdict, Verdict]], which: Callable[[Verdict], tuple[float, ...]]) -> tuple[int, int]:
    """What is found in the clean observations, and how much of it in the contaminated ones."""
    found = kept = 0
    for clean, dirty in pairs:
        for a, b in zip(which(clean), which(dirty), strict=True):
            found += a > 0
            kept += a > 0 and b > 0
    return found, kept


def cost(results: list[dict[str, Any]], name: str) -> float:
    """Median loss of S/N of what is found in clean data with a method and with nothing."""
    ratios = []
    for result in results:
        clean = result["clean"]
        if name in clean and "nothing" in clean:
            pairs = zip(clean[name].signals, clean["nothing"].signals, strict=True)
            ratios += [a / b for a, b in pairs if a > 0 and b > 0]
    return 1.0 - float(np.median(ratios)) if ratios else float("nan")


def by_kind(results: list[dict[str, Any]], name: str) -> list[str]:
    """Lines of the table of observations for one method."""
    lines = [
        "| interference | found in clean | of these in contaminated | pulsars | bursts | flagged | candidates | "
        "pulses | with flags | masked | clean: unflagged | masked |",
        "| --- |" + " ---: |" * 11,
    ]
    for kind in dict.fromkeys(r["kind"] for r in results):
        some = [r for r in results if r["kind"] == kind]
        pairs = [(r["clean"]["nothing"], r["dirty"][name]) for r in some]
        found, kept = recall(pairs, lambda v: v.signals)
        parts = []
        for which in (lambda v: v.pulsars, lambda v: v.bursts):
            a, b = recall(pairs, which)
            parts.append(f"{b}/{a}")
        n = len(some)
        tidy = [r["clean"]["default"] for r in some]
        total = sum(len(c.signals) for c, _ in pairs)
        lines.append(
            f"| {kind} | {found}/{total} | {percent(kept / max(found, 1), 0)} | {parts[0]} | {parts[1]} | "
            f"{sum(d.flagged for _, d in pairs)} | {sum(len(d.candidates) for _, d in pairs) / n:.3g} | "
            f"{sum(len(d.pulses) for _, d in pairs) / n:.3g} | {sum(d.others for _, d in pairs) / n:.3g} | "
            f"{percent(float(np.mean([d.masked for _, d in pairs])))} | {sum(c.strange for c in tidy) / n:.3g} | "
            f"{percent(float(np.mean([c.masked for c in tidy])), 2)} |"
        )
    return lines


def by_method(results: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Lines of the table of methods over all observations."""
    lines = [
        "| method | found of what clean has | pulsars | bursts | worst | flagged | unflagged per observation | worst | "
        "with flags | masked | clean: lost | S/N lost | masked | CPU [s] |",
        "| --- |" + " ---: |" * 13,
    ]
    for name in names:
        pairs = [(r["clean"]["nothing"], r["dirty"][name]) for r in results]
        found, kept = recall(pairs, lambda v: v.signals)
        parts = []
        for which in (lambda v: v.pulsars, lambda v: v.bursts):
            a, b = recall(pairs, which)
            parts.append(percent(b / max(a, 1), 0))
        kinds = {}
        for kind in dict.fromkeys(r["kind"] for r in results):
            some = [(r["clean"]["nothing"], r["dirty"][name]) for r in results if r["kind"] == kind]
            a, b = recall(some, lambda v: v.signals)
            kinds[kind] = (b / max(a, 1), float(np.mean([d.strange for _, d in some])))
        lost = min(kinds, key=lambda k: kinds[k][0])
        most = max(kinds, key=lambda k: kinds[k][1])
        n = len(results)
        tidy = [(r["clean"]["nothing"], r["clean"][name]) for r in results if name in r["clean"]]
        found_clean, kept_clean = recall(tidy, lambda v: v.signals)
        masked = [r["clean"][name].masked for r in results if name in r["clean"]]
        lines.append(
            f"| {name} | {kept}/{found} = {percent(kept / max(found, 1))} | {parts[0]} | {parts[1]} | "
            f"{lost} {percent(kinds[lost][0], 0)} | {sum(d.flagged for _, d in pairs)} | "
            f"{sum(d.strange for _, d in pairs) / n:.2f} | {most} {kinds[most][1]:.3g} | "
            f"{sum(d.others for _, d in pairs) / n:.1f} | {percent(float(np.mean([d.masked for _, d in pairs])))} | "
            f"{found_clean - kept_clean} of {found_clean} | {percent(cost(results, name), 2)} | "
            f"{percent(float(np.mean(masked)) if masked else float('nan'), 2)} | "
            f"{np.mean([d.cpu for _, d in pairs]):.2f} |"
        )
    return lines


def zoo(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The whole zoo."""
    table = methods()
    names = ["default", "nothing"]
    if args.method:
        names = list(dict.fromkeys(args.method))
    elif args.methods == "all":
        names = list(table)
    unknown = [n for n in names if n not in table]
    if unknown:
        raise SystemExit(f"unknown method {unknown[0]!r}: known are {', '.join(table)}")
    kinds = args.only or list(ZOO)
    unknown = [k for k in kinds if k not in ZOO]
    if unknown:
        raise SystemExit(f"unknown observation {unknown[0]!r}: known are {', '.join(ZOO)}")
    seeds = range(args.first, args.first + args.seeds)
    # What every method costs in clean data is measured on the first few observations of each receiver.
    few: dict[str, int] = {}
    tasks = []
    for kind in kinds:
        for seed in seeds:
            receiver = ZOO[kind][0]
            few[receiver] = few.get(receiver, 0) + 1
            tasks.append((kind, seed, names, few[receiver] <= args.costs, args.sets))
    began = time.monotonic()
    results = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for result in pool.map(observe, tasks):
            results.append(result)
            told = ", ".join(
                f"{name} {sum(s > 0 for s in v.signals)}/{sum(s > 0 for s in result['clean']['nothing'].signals)} "
                f"+{v.strange}"
                for name, v in result["dirty"].items()
            )
            print(f"{result['kind']} {result['seed']}: {told} [{time.monotonic() - began:.0f} s]", flush=True)
            if args.verbose:
                explain(result)
    for name in names if args.tables else names[:1]:
        print(f"\n{name}:\n")
        print("\n".join(by_kind(results, name)))
    if len(names) > 1:
        print()
        print("\n".join(by_method(results, names)))
    print(f"\n{len(tasks)} observations, {len(names)} methods: {time.monotonic() - began:.0f} s elapsed")
    return results


def explain(result: dict[str, Any]) -> None:
    """What was lost and what is strange, in words."""
    _, dirty = skies(result["kind"], result["seed"])
    signals = [f"P {1e3 * p.period:.3f} ms DM {p.dm:.1f} S/N {p.snr:.1f}" for p in dirty.pulsars]
    signals += [f"burst t {b.time:.2f} s DM {b.dm:.1f} {1e3 * b.width:.2f} ms S/N {b.snr:.1f}" for b in dirty.bursts]
    clean = result["clean"]["nothing"].signals
    for words in (*result["clean"]["default"].candidates, *result["clean"]["default"].pulses):
        print(f"    default, in clean: {words}")
    for name, verdict in result["dirty"].items():
        for words, was, now in zip(signals, clean, verdict.signals, strict=True):
            if was > 0 and now == 0:
                print(f"    {name}: lost {words} (in clean {was:.1f})")
        for listed in (verdict.candidates, verdict.pulses):
            for words in listed[:MOST_WORDS]:
                print(f"    {name}: unflagged {words}")
            if len(listed) > MOST_WORDS:
                print(f"    {name}: ... {len(listed) - MOST_WORDS} more")


def bright(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Pulsars and bursts of S/N 500 in clean data: what is masked, and what S/N is kept of that without masking."""
    cases: dict[str, tuple[tuple[Pulsar, ...], tuple[Burst, ...]]] = {}
    for period, dm in ((0.005, 20.0), (0.089, 68.0), (0.715, 27.0), (1.9, 150.0)):
        cases[f"pulsar P {period:g} s DM {dm:g}"] = ((Pulsar(period=period, dm=dm, snr=500, duty=0.04),), ())
    for width, dm in ((5e-4, 30.0), (3e-3, 30.0), (3e-3, 350.0), (3e-2, 100.0)):
        cases[f"burst {1e3 * width:g} ms DM {dm:g}"] = ((), (Burst(time=8.3, dm=dm, snr=500, width=width),))
    table = methods()
    names = args.method or (list(table) if args.methods == "all" else ["default", "nothing"])
    results = []
    print("| signal | receiver | method | masked | S/N | of that with nothing | flags |\n|" + " --- |" * 7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bright.fil"
        for receiver, base in RECEIVERS.items():
            for case, (pulsars, bursts) in cases.items():
                sky = base.model_copy(update={"pulsars": pulsars, "bursts": bursts, "seed": 77})
                write_filterbank(sky, path, overwrite=True)
                without = float("nan")
                for name in ["nothing", *(n for n in names if n != "nothing")]:
                    verdict = run(path, settings(receiver, table[name], args.sets), pulsars, bursts)
                    snr = verdict.signals[0]
                    if name == "nothing":
                        without = snr
                        continue
                    results.append(
                        {"case": case, "receiver": receiver, "method": name, "masked": verdict.masked, "snr": snr,
                         "kept": snr / without if without else float("nan"), "flagged": verdict.flagged}
                    )  # fmt: skip
                    print(
                        f"| {case} | {receiver} | {name} | {percent(verdict.masked, 2)} | {snr:.1f} | "
                        f"{percent(results[-1]['kept'])} | {verdict.flagged} |",
                        flush=True,
                    )
    return results


def real(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Pulsars and bursts injected into real files as noise: how many are found, and what masking costs of the S/N."""
    table = methods()
    names = args.method or (list(table) if args.methods == "all" else ["default", "nothing"])
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for file in args.inject:
            verdicts: dict[str, list[Verdict]] = {name: [] for name in names}
            asked: list[float] = []
            for seed in range(args.first, args.first + args.seeds):
                path = Path(folder) / "injected.fil"
                with open_observation(file) as obs:
                    pulsars, bursts = draw(obs.header, seed)
                    inject(obs, path, pulsars=pulsars, bursts=bursts, seed=seed, overwrite=True)
                asked += [signal.snr for signal in (*pulsars, *bursts)]
                for name in names:
                    verdicts[name].append(run(path, settings("parkes", table[name], args.sets), pulsars, bursts))
            for name in names:
                some = verdicts[name]
                signals = [s for v in some for s in v.signals]
                ratios = [s / a for s, a in zip(signals, asked, strict=True) if s > 0]
                against = [
                    a / b
                    for v, w in zip(some, verdicts.get("nothing", some), strict=True)
                    for a, b in zip(v.signals, w.signals, strict=True)
                    if a > 0 and b > 0
                ]
                results.append(
                    {
                        "file": file.name,
                        "method": name,
                        "pulsars": sum(p > 0 for v in some for p in v.pulsars),
                        "bursts": sum(b > 0 for v in some for b in v.bursts),
                        "each": sum(len(v.pulsars) for v in some),
                        "flagged": sum(v.flagged for v in some),
                        "ratio": float(np.median(ratios)) if ratios else float("nan"),
                        "against": float(np.median(against)) if against else float("nan"),
                        "strange": float(np.mean([v.strange for v in some])),
                        "masked": float(np.mean([v.masked for v in some])),
                    }
                )
    print("| file | method | pulsars | bursts | flagged | S/N over injected | over nothing's | unflagged | masked |")
    print("|" + " --- |" * 9)
    for r in results:
        print(
            f"| {r['file']} | {r['method']} | {r['pulsars']}/{r['each']} | {r['bursts']}/{r['each']} | "
            f"{r['flagged']} | {r['ratio']:.3f} | {r['against']:.3f} | {r['strange']:.2g} | "
            f"{percent(r['masked'], 2)} |"
        )
    return results


def low_dm(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What the methods against broadband interference, each alone, leave of pulsars and bursts at low DM in clean data.

    A matched filter on the cleaned samples, over the same with nothing done.
    """
    dms = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
    table = methods()
    nothing = {**table["nothing"], "enabled": True}  # what masking does to bright signals is another question
    alone: dict[str, dict[str, Any]] = {f"zerodm {kind}": {"zerodm": kind} for kind in ZERODM}
    alone["clip"] = {"clip": switches()["clip"][1]}
    names = list(alone)
    signals: dict[str, Callable[[float], dict[str, Any]]] = {}
    for snr in (15.0, 150.0):
        for period, duty in ((0.005, 0.1), (0.089, 0.05), (1.3, 0.03)):
            signals[f"pulsar {1e3 * period:g} ms, duty {duty:g}, S/N {snr:g}"] = lambda dm, p=period, d=duty, s=snr: {
                "pulsars": (Pulsar(period=p, dm=dm, duty=d, snr=s),)
            }
        for width in (1e-3, 1e-2):
            signals[f"burst {1e3 * width:g} ms, S/N {snr:g}"] = lambda dm, w=width, s=snr: {
                "bursts": (Burst(time=8.3, dm=dm, width=w, snr=s),)
            }
    results = []
    print("| method | receiver | signal | " + " | ".join(f"DM {dm:g}" for dm in dms) + " |")
    print("| --- | --- | --- |" + " ---: |" * len(dms))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "low.fil"
        for receiver, base in RECEIVERS.items():
            bare = make(base, nbits=32).data
            for signal, fields in signals.items():
                kept: dict[str, list[float]] = {name: [] for name in names}
                for dm in dms:
                    sky = base.model_copy(update=fields(dm))
                    write_filterbank(sky, path, overwrite=True)
                    # In units of the noise of each channel.
                    template = (make(sky, nbits=32).data - bare) / bare.std(axis=1, keepdims=True)
                    template -= template.mean(axis=1, keepdims=True)
                    without = filtered(path, template, settings(receiver, nothing, args.sets))
                    for name, changes in alone.items():
                        with_it = filtered(path, template, settings(receiver, {**nothing, **changes}, args.sets))
                        kept[name].append(with_it / without)
                for name in names:
                    results.append(
                        {"method": name, "receiver": receiver, "signal": signal, "dms": dms, "kept": kept[name]}
                    )
                    cells = " | ".join(f"{100 * k:.0f} %" for k in kept[name])
                    print(f"| {name} | {receiver} | {signal} | {cells} |", flush=True)
    return results


def filtered(path: Path, template: NDArray[np.float32], config: Config) -> float:
    """S/N of a matched filter on what is left of a file after cleaning."""
    with open_observation(path) as obs:
        mask = make_mask(obs, measure(obs, config.rfi), config.rfi)
        source = cleaned_source(obs, mask, config.rfi)
        out = np.empty((source.nchans, obs.header.nsamps), dtype=np.int8)
        source.read_into(0, out)
    ours = template[mask.chan_ok]
    total = float(np.einsum("ij,ij->", ours, out, dtype=np.float64))
    return total / float(np.sqrt(np.einsum("ij,ij->", ours, ours, dtype=np.float64)))


def plain(value: Any) -> Any:
    """For JSON."""
    if isinstance(value, Verdict):
        return vars(value)
    raise TypeError(type(value))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="KIND", help="this observation of the zoo; may be repeated")
    parser.add_argument("--method", action="append", metavar="NAME", help="this method; may be repeated")
    parser.add_argument("--methods", choices=["few", "all"], default="few", help="few: default and nothing")
    parser.add_argument("--seeds", type=int, default=1, help="observations of each kind")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--costs", type=int, default=3, help="clean observations of each receiver with every method")
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tables", action="store_true", help="the table of observations for every method")
    parser.add_argument("--verbose", action="store_true", help="what is lost and what is strange")
    parser.add_argument("--bright", action="store_true", help="very bright signals in clean data instead")
    parser.add_argument(
        "--low-dm", action="store_true", help="what methods against broadband interference leave at low DM instead"
    )
    parser.add_argument("--inject", type=Path, nargs="+", metavar="FILE", help="real files as noise instead")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.bright:
        results = bright(args)
    elif args.low_dm:
        results = low_dm(args)
    elif args.inject:
        results = real(args)
    else:
        results = zoo(args)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1, default=plain))


if __name__ == "__main__":
    main()
