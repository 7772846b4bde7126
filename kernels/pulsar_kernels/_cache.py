"""Where compiled kernels are kept on disk: the only file that knows numba's own names for it.

numba numbers the code files of a kernel: two processes that add a version at once, or computers with different
processors and one home, take the same number, and one loads what the other has compiled. Here the name of a file is
made of what is inside, and the code is there before the index says so; an index entry that is lost costs a
compilation. numba also looks only at the time and size of the file in which a kernel stands: here a kernel is stale
when what stands in any file of this package has changed, as it carries the code of helpers of other files. An
installation that writes the same files again (another extra, say) makes nothing stale.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.runtime.nrt import rtsys


class KernelCache(FunctionCache):
    """The versions of a kernel on disk, loaded without what only compiling needs."""

    _load_overload: Callable[[Any, Any], Any]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """One version, or None: whoever compiles then loads what numba knows of functions and types, 0.15 CPU s."""
        rtsys.initialize(target_context)
        return self._load_overload(sig, target_context)


class KernelFiles(IndexDataCacheFile):
    """The files of a kernel on disk: an index and the code of each version."""

    _save_data: Callable[[str, Any], None]
    _load_index: Callable[[], dict[Any, str]]
    _save_index: Callable[[dict[Any, str]], None]

    def save(self, key: Any, data: Any) -> None:
        """Store the code of one version."""
        version = repr((key, self._source_stamp, self._version))
        name = self._data_name_pattern.format(number=int(hashlib.sha256(version.encode()).hexdigest()[:15], 16))
        # A full disk or a folder that is gone costs the next run its time, not this one its work.
        with contextlib.suppress(OSError):
            self._save_data(name, data)
            overloads = self._load_index()
            overloads[key] = name
            self._save_index(overloads)


def keep(kernel: Any) -> None:
    """Have a kernel kept on disk, if there is a place that can be written.

    numba tries $NUMBA_CACHE_DIR, the folder beside the source, and the user's cache, in this order.
    """
    try:
        kernel.enable_caching()
    except RuntimeError:
        return
    files = getattr(kernel._cache, "_cache_file", None)
    # Another release may keep them in another way: then as it does.
    if type(kernel._cache) is FunctionCache and type(files) is IndexDataCacheFile:
        kernel._cache.__class__ = KernelCache
        files.__class__ = KernelFiles
        inside = Path(kernel.py_func.__code__.co_filename).parent == Path(__file__).parent
        files._source_stamp = _sources() if inside else (files._source_stamp, _sources())


def is_kept(kernel: Any, signature: tuple[Any, ...]) -> bool:
    """True if a version has been compiled for this processor from the present sources."""
    files = getattr(kernel._cache, "_cache_file", None)
    return files is not None and kernel._cache._index_key(signature, kernel.targetctx.codegen()) in files._load_index()


@functools.cache
def _sources() -> str:
    """Digest of the names and contents of the files of this package."""
    contents = [(path.name, path.read_bytes()) for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(repr(contents).encode()).hexdigest()
