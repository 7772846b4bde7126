"""How numba's compiler is kept from work that is of no use for these kernels.

Results stay the same. numba makes machine code of each function that it compiles; a function that only kernels call is
never run by itself, as they carry its code in their own. And numba compiles its own functions (``np.empty``) anew for
each combination of options of the functions that call them.
"""

from typing import Any, ClassVar, Final

import numba
from numba.core.codegen import CPUCodegen, JITCodeLibrary
from numba.core.compiler import Compiler, Flags
from numba.core.cpu import CPUContext
from numba.core.imputils import builtin_registry

from pulsar_kernels import _lowering, _passes

#: The last release of numba with which this has been tried (`.ci/versions` runs the kernels' tests with the newest): in
#: a later one the same names may mean something else.
LAST: Final = (0, 68)

#: What is stood in for below is not public in numba: where a release has it otherwise, kernels compile as usual.
KNOWN: Final = (numba.version_info.short <= LAST and _passes.KNOWN and _lowering.KNOWN) and all(
    hasattr(owner, name)
    for owner, names in (
        (JITCodeLibrary, ("_optimize_functions", "_finalize_final_module", "_finalize_dynamic_globals")),
        (JITCodeLibrary, ("_verify_declare_only_symbols", "add_linking_library", "codegen")),
        (CPUCodegen, ("_function_pass_manager",)),
        (Flags(), ("_values", "discard", "no_cpython_wrapper")),
        (Compiler, ("define_pipelines",)),
        (CPUContext, ("get_abi_sizeof", "install_registry", "load_additional_registries", "refresh")),
        (CPUContext, ("compile_subroutine", "fastmath", "subtarget")),
    )
    for name in names
)


class _Context(CPUContext):
    """The target of one compilation; what stays the same is asked for once."""

    _sizes: ClassVar[dict[Any, int]] = {}

    def get_abi_sizeof(self, ty: Any) -> int:
        """Bytes of a type; numba has LLVM read a module for each variable."""
        if ty not in self._sizes:
            self._sizes[ty] = super().get_abi_sizeof(ty)
        return self._sizes[ty]

    def compile_subroutine(self, *args: Any, **kwargs: Any) -> Any:
        """A function of numba's own that a kernel calls (the product of complex numbers, powers): its sums stay.

        numba keeps one for all kernels, which would have its sums reordered where the first that calls it may do so.
        """
        return super(_Context, self.subtarget(fastmath=False)).compile_subroutine(*args, **kwargs)

    def refresh(self) -> None:
        """What was told numba since the compilation began, when its own modules were looked through."""
        self.install_registry(builtin_registry)
        self.typing_context.refresh()


class _Nowhere:
    """numba's code generator for a function without machine code: there is no place for the address of its globals."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, _name: str, _env: Any) -> None:
        """Nothing to be set."""


class _Whole(JITCodeLibrary):
    """The code of a kernel."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout
        for function in ll_module.functions:
            # numba prepares all its means for each of those that are only declared, too.
            if not function.is_declaration:
                passes, builder = self._codegen._function_pass_manager()
                passes.run(function, builder)

    def _finalize_final_module(self) -> None:
        # Code that came from other functions stays that of this kernel: a name that is seen from outside would be taken
        # from whichever kernel is loaded first, and copies that were made better in other callers may have other last
        # digits where sums may be reordered.
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage.name == "linkonce_odr":
                function.linkage = "internal"
        super()._finalize_final_module()


class _Part(_Whole):
    """The code of a function that only kernels call: linked with theirs, never loaded.

    It is optimised before, as the loops in it are better made into vectors by themselves. Making machine code changes
    it once more, so that is kept where sums may be reordered, here or in what is called: for their last digits.
    """

    loose = False

    @property
    def codegen(self) -> Any:
        """The generator owning this."""
        return self._codegen if self.loose else _Nowhere(self._codegen)

    def add_linking_library(self, library: Any) -> None:
        super().add_linking_library(library)
        self.loose = self.loose or getattr(library, "loose", False)

    def _optimize_functions(self, ll_module: Any) -> None:
        # All that may be reordered may be contracted as well.
        self.loose = self.loose or " contract " in str(ll_module)
        super()._optimize_functions(ll_module)

    def _finalize_final_module(self) -> None:
        if self.loose:
            super()._finalize_final_module()
        else:
            self._finalize_dynamic_globals()
            self._verify_declare_only_symbols()
            self._finalized = True


_DEFAULTS: Final = {name: option.default for name, option in Flags.options.items()}


class _Options(Flags):
    """Options of a compilation, compared in one step where numba looks up each of thirty by its name."""

    __slots__ = ()
    # numba's hash sees the names of the options only; any other would part these from equal ones of its own kind.
    _HASH = hash(Flags())

    def __hash__(self) -> int:
        return self._HASH

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Flags):
            return NotImplemented
        return self._values == other._values or _DEFAULTS | self._values == _DEFAULTS | other._values


class ForPython(Compiler):
    """Compiles a kernel."""

    lean = False

    def __init__(
        self, typingctx: Any, targetctx: Any, library: Any, args: Any, return_type: Any, flags: Any, names: Any
    ) -> None:
        super().__init__(typingctx, targetctx, library, args, return_type, _Options(flags), names)
        self.state.targetctx.__class__ = _Context
        # The context of the target has it by now; numba's functions are told the same by all kernels.
        self.state.flags.discard("fastmath")

    def define_pipelines(self) -> Any:
        """The passes; from here on the options are those of this function alone."""
        self.state.flags.no_cpython_wrapper = self.lean
        if self.state.library is None:
            kind = _Part if self.lean else _Whole
            self.state.library = kind(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
            if not self.lean:
                self.state.library.enable_object_caching()
        return [_passes.lean(usual, self.state.func_id.func) for usual in super().define_pipelines()]


class ForKernels(ForPython):
    """Compiles a function that only kernels call."""

    lean = True
