"""What processors get to run: vector instructions in assembly for x86-64-v2, v3, v4 and aarch64, made on any machine.

Vectors written by hand are made into a function of their own. Loops of kernels whose sums may be reordered go through
numba, whose code is taken before LLVM has looked at it, and through LLVM as numba calls it.
"""

import json
import os
import re
import subprocess
import sys
from typing import NamedTuple

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from pulsar_kernels import (
    _ir,
    bandsums,
    coherent,
    correlate,
    drifts,
    ffa_vectors,
    fft,
    fold,
    harmonics,
    lanes,
    tree,
    unpack,
    whiten,
)

pytestmark = pytest.mark.jit


class Target(NamedTuple):
    """A processor: what code is made for, and its widest register in the assembly."""

    triple: str
    cpu: str
    register: str
    too_wide: str


X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
TARGETS = {
    "v2": Target(X86, "x86-64-v2", r"%xmm", r"%[yz]mm"),
    "v3": Target(X86, "x86-64-v3", r"%ymm", r"%zmm"),
    "v4": Target(X86, "x86-64-v4", r"%zmm", r"$^"),
    "arm": Target(ARM, "generic", r"\bv\d+\.", r"\bz\d+\."),
}
#: What is done to whole registers: instructions of x86-64 before AVX, since, and of aarch64.
WORK = {
    "add floats": (r"(add|sub)ps", r"v(add|sub)ps", r"f(add|sub)\s+v\d+\.4s"),
    "multiply floats": (r"mulps", r"vmulps", r"fmul\s+v\d+\.4s"),
    "multiply and add": (r"mulps", r"vfn?m(add|sub)\d+ps", r"fml[as]\s+v\d+\.4s"),
    "compare floats": (r"cmp\w*ps", r"vcmp\w*ps", r"fcmg[te]\s+v\d+\.4s"),
    "to floats": (r"cvtdq2ps", r"vcvtu?dq2ps", r"[su]cvtf\s+v\d+\.4s"),
    "to integers": (r"cvttps2dq", r"vcvttps2dq", r"fcvtzs\s+v\d+\.4s"),
    "add bytes, held": (r"paddsb", r"vpaddsb", r"sqadd\s+v\d+\.16b"),
    "add unsigned bytes, held": (r"paddusb", r"vpaddusb", r"uqadd\s+v\d+\.16b"),
    "add words, held": (r"paddsw", r"vpaddsw", r"sqadd\s+v\d+\.8h"),
    "add words": (r"paddw", r"vpaddw", r"(add|[su]addw2?|usra|ssra)\s+v\d+\.8h"),
    "add integers": (r"paddd", r"vpaddd", r"(add|saddw2?|uaddlp?2?|uaddw2?|uadalp|usra|addp)\s+v\d+\.4s"),
    "mean of bytes": (r"pavgb", r"vpavgb", r"urhadd\s+v\d+\.16b"),
    "larger integers": (r"pmaxsd", r"vpmaxsd", r"smax\s+v\d+\.4s"),
    "shuffle bytes": (r"pshufb", r"vpshufb", r"tbl\s+v\d+\.16b"),
    "interleave": (r"punpck[lh]\w+", r"vpunpck[lh]\w+", r"zip[12]\s+v\d+\."),
}

#: Instructions that write past the caches.
PAST = re.compile(r"v?movnt|stnp")

#: Arguments: numbers (q: 64-bit integer, f: float) and arrays of them (*), with b for bytes, h for words of two bytes
#: and w of four.
KINDS = {"b": _ir.I8, "h": _ir.I16, "w": _ir.I32, "q": _ir.I64, "f": _ir.F32}


class Code(NamedTuple):
    """Vectors written by hand: what `@vector` is given, the arguments, its literal one, and the work."""

    code: object
    arguments: str
    literal: int | None
    work: tuple[str, ...]
    most: int | None = None


CODES = {
    "lanes.butterfly": Code(
        lanes._butterfly_code, "q *f q q *f q q *f q", 8, ("add floats", "multiply floats", "multiply and add")
    ),
    "fft.row": Code(fft._row_code, "*h q *f f f *f q", None, ("to floats", "multiply and add")),
    "fft.separate": Code(fft._separate_code, "*f q q *f q *f *f q", None, ("multiply floats", "multiply and add")),
    "correlate.first": Code(correlate._first_code, "q *f *f q *f q *f q *f q", 16, ("add floats", "multiply and add")),
    "correlate.bytes": Code(correlate._bytes_code, "q *f q q *b", 8, ("add floats", "multiply and add")),
    "harmonics.half_16": Code(harmonics._half_16_code, "*f *f q *f *f q f", None, ("multiply and add",)),
    "harmonics.sums_32": Code(harmonics._sums_32_code, "*f q q *f *f q", 5, ("add floats", "compare floats")),
    "harmonics.raised": Code(harmonics._raised_code, "*b q q *b *q", 5, ("add unsigned bytes, held", "shuffle bytes")),
    "harmonics.maxima_32": Code(harmonics._maxima_32_code, "*f q f", None, ("compare floats",)),
    "coherent.dots": Code(coherent._dots_code, "*f *f *f *q *q q *f *f q", None, ("add floats", "multiply floats")),
    "coherent.pair": Code(coherent._pair_code, "*f *f *f q q", None, ("add floats",)),
    "coherent.shapes": Code(coherent._shapes_code, "*f q q *f", None, ("add floats",)),
    "drifts.scan": Code(drifts._scan_code, "*b *q q q *b q", 4, ("add unsigned bytes, held", "shuffle bytes"), 320),
    "whiten.between": Code(whiten._between_code, "*f q f f *f q", None, ("compare floats",), 90),
    "tree.half_sum": Code(tree._quarter_code, "*b q q q q *b q q", 4, ("mean of bytes", "add bytes, held")),
    "tree.sum": Code(tree._sum_code, "*b *q q q *h q q q", 1, ("add words", "add words, held")),
    "ffa.sum_rows": Code(ffa_vectors._merge_code, "*h q *h q q q q q q q q q", None, ("add words, held",)),
    "ffa.turn_block": Code(ffa_vectors._turn_code, "*h q q *w q", None, ("add integers",)),
    "ffa.largest_boxes": Code(ffa_vectors._boxes_code, "q *w q *q q *w", 4, ("larger integers",)),
    "bandsums.bytes": Code(bandsums._sum_bytes_code, "q *b q *q q q *h q", 1, ("add words",)),
    "bandsums.two": Code(bandsums._add_two_code, "*b q q *b q q", None, ("add bytes, held",)),
    "unpack.lanes": Code(unpack._lanes_code, "*b q q *b q q", 1, ("interleave",)),
    "fold.interleave": Code(fold._interleave_code, "*h q q *h q", None, ("interleave",)),
}
#: Instructions that put one number into a vector or take it out (of small ones: halves of a register are cheap).
ONE_BY_ONE = re.compile(r"v?p(insr|extr)[bwd]\s|(ins|mov|umov|smov)\s.*v\d+\.[bh]\[")
MOST_ONE_BY_ONE = 8


def machine(target):
    """LLVM for a processor; where this build of it has none, the test is left out."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        found = llvm.Target.from_triple(target.triple)
    except RuntimeError as error:
        pytest.skip(f"this llvmlite makes no code for {target.triple}: {error}")
    return found.create_target_machine(cpu=target.cpu, opt=3)


def assembly(text, target):
    """Instructions that LLVM makes of a module for a processor, as numba has it do."""
    made_for = machine(target)
    text = re.sub(r'^target (triple|datalayout) = ".*"$', "", text, flags=re.MULTILINE)
    layout = f'target datalayout = "{made_for.target_data}"\ntarget triple = "{target.triple}"\n'
    module = llvm.parse_assembly(layout + text)
    module.verify()
    for level in (0, 3):
        options = llvm.PipelineTuningOptions(speed_level=level)
        options.loop_vectorization = options.slp_vectorization = level > 0
        builder = llvm.create_pass_builder(made_for, options)
        passes = builder.getModulePassManager()
        if level == 0:
            # Loops in the form in which they can be made vectors.
            passes.add_loop_rotate_pass()
            passes.add_instruction_combine_pass()
            passes.add_jump_threading_pass()
        passes.run(module, builder)
    lines = made_for.emit_assembly(module).splitlines()
    return [line.strip() for line in lines if re.match(r"\t[a-z]", line)]


def written(code):
    """LLVM's text of a function with the instructions of one `@vector`."""
    module = ir.Module()
    kinds = [KINDS[one[-1]].as_pointer() if one.startswith("*") else KINDS[one] for one in code.arguments.split()]
    function = ir.Function(module, ir.FunctionType(_ir.I64, kinds), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    result = code.code(builder, list(function.args), *([] if code.literal is None else [code.literal]))
    builder.ret(_ir.I64(0) if result is None else result)
    return str(module)


def missing(lines, work, level, register):
    """Of this work, what no instruction does in such registers."""
    column = {"v2": 0, "arm": 2}.get(level, 1)
    return [
        one
        for one in work
        if not any(re.match(WORK[one][column] + r"\b", line) and re.search(register, line) for line in lines)
    ]


@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("name", CODES)
def test_vectors_written_by_hand_fill_the_registers(name, level, monkeypatch):
    code, target = CODES[name], TARGETS[level]
    # As on such a processor.
    monkeypatch.setattr(whiten, "_COMPRESSES", level == "v4")
    monkeypatch.setattr(drifts, "_PIECE", drifts.WIDE if level == "v4" else 16)
    monkeypatch.setattr(harmonics, "_PIECE", 16)
    lines = assembly(written(code), target)
    assert missing(lines, code.work, level, target.register) == []
    assert [line for line in lines if re.search(target.too_wide, line)] == []
    assert len([line for line in lines if ONE_BY_ONE.match(line)]) <= MOST_ONE_BY_ONE
    assert len(lines) <= (code.most or len(lines))


@pytest.mark.parametrize("level", TARGETS)
def test_series_are_written_past_the_caches(level):
    past, plain = (
        [
            line
            for line in assembly(written(CODES["tree.sum"]._replace(literal=form)), TARGETS[level])
            if PAST.match(line)
        ]
        for form in (1, 0)
    )
    assert past
    assert not plain


@pytest.mark.parametrize(("level", "form", "least", "most"), [("v4", True, 1, 30), ("v3", True, 100, 200)])
def test_one_instruction_that_picks_lanes_is_many_without_avx512(level, form, least, most, monkeypatch):
    """Why there are two ways: this one is for AVX-512 only."""
    monkeypatch.setattr(whiten, "_COMPRESSES", form)
    lines = assembly(written(CODES["whiten.between"]), TARGETS[level])
    assert least <= len(lines) <= most
    assert any(line.startswith("vcompressps") for line in lines) == (level == "v4")


#: Loops that the compiler makes vectors of, as `pulsar_kernels.ahead` names versions.
LOOPS = {
    "moments.moments_u8(uint8[:,::1], int64, float64[::1], float64[:,::1], int64[::1])": (
        "to floats",
        "add integers",
        "multiply and add",
    ),
    "moments.add_bands_u8(uint8[:,::1], int64[::1], int64, float32[:,::1])": ("add words", "to floats", "add floats"),
    "clean.normalise_integers(uint8[:,::1], int64[::1], float32[::1], float32[::1], float32[:], int64, float32[::1]"
    ", float32[::1], int8[:,:])": ("to floats", "multiply and add", "to integers"),
    "interference.most_beyond(float32[:,::1], int64, float32[:,:,::1], bool, int64[:,::1])": (
        "add floats",
        "compare floats",
    ),
    "matched.scan_either(int16[::1], float32[::1], float32[::1], float32[::1], float32[::1], int64[:,::1]"
    ", float64[:,::1], int16[::1], float64[:,::1])": ("add words, held",),
    "spectra.strongest(float32[:,:,::1], int64, bool[::1], float32[::1], int64[::1])": ("add floats",),
    "whiten.powers(float32[::1], float32[::1], float32[::1])": ("multiply and add",),
    "whiten._times(float32[::1], float32, float32)": ("multiply floats", "multiply and add"),
}
CHILD = """
import json, sys
from pulsar_kernels.ahead import _version
texts = {}
for name in json.load(sys.stdin):
    kernel, signature = _version(name)
    kernel.compile(signature)
    texts[name] = kernel.overloads[signature].library.get_llvm_str()
json.dump(texts, sys.stdout)
"""


@pytest.fixture(scope="module")
def loops(tmp_path_factory):
    """LLVM's text of kernels as numba has it before LLVM looks at it."""
    cache = tmp_path_factory.mktemp("cache")
    env = {**os.environ, "NUMBA_OPT": "0", "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(list(LOOPS)),
        env=env,
        text=True,
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("level", TARGETS)
@pytest.mark.parametrize("name", LOOPS)
def test_loops_become_vectors(name, level, loops):
    target = TARGETS[level]
    # Of 64 bytes the compiler makes use by itself where it finds them worth it.
    register = r"%[yz]mm" if level == "v4" else target.register
    lines = assembly(loops[name], target)
    assert missing(lines, LOOPS[name], level, register) == []
    assert [line for line in lines if re.search(target.too_wide, line)] == []
