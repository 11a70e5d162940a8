"""How much memory a pass takes: the caching allocator's own count on a GPU, the live tensors' bytes on a CPU."""

# torch is untyped to mypy here, so its dispatch mode is Any:
# mypy: allow-subclassing-any

import contextlib
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from profiler.timing import Runnable


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Bytes of one pass, by the names of `LayerRow`."""

    resident_bytes: int
    kept_bytes: int
    peak_bytes: int


class MemoryMeter(Protocol):
    """Counts the bytes that torch has allocated."""

    def building(self) -> AbstractContextManager[object]:
        """Enter while what will be measured is built."""

    def watching(self) -> AbstractContextManager[object]:
        """Enter while a pass runs; forgets the peak so far."""

    def allocated(self) -> int:
        """Bytes now."""

    def peak(self) -> int:
        """Most bytes at once since `watching` was entered."""


class CudaMemory:
    """The caching allocator's statistics beyond what was there before: a point's own workspaces count; those that
    earlier points left, the CUDA context and what is cached do not."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = int(torch.cuda.memory_allocated(device))

    def building(self) -> AbstractContextManager[object]:
        """Nothing to do: the allocator always counts."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Start the peak anew."""
        torch.cuda.reset_peak_memory_stats(self._device)
        yield

    def allocated(self) -> int:
        """Bytes now."""
        return int(torch.cuda.memory_allocated(self._device)) - self._before

    def peak(self) -> int:
        """Most bytes at once since the peak was started anew."""
        return int(torch.cuda.max_memory_allocated(self._device)) - self._before


class TensorMemory:
    """Bytes of the storages of all tensors that were touched while building or watching, for as long as they live.

    CPUs have no allocator that counts. What a kernel takes and frees inside itself is not seen.
    """

    def __init__(self) -> None:
        self._live: set[int] = set()
        self._bytes = 0
        self._peak = 0

    def building(self) -> AbstractContextManager[object]:
        """Learn of the tensors that are built."""
        return _Touched(self._touch)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Learn of the tensors of a pass; start the peak anew."""
        self._peak = self._bytes
        with _Touched(self._touch):
            yield

    def allocated(self) -> int:
        """Bytes now."""
        return self._bytes

    def peak(self) -> int:
        """Most bytes at once since the peak was started anew."""
        return self._peak

    def _touch(self, storage: torch.UntypedStorage) -> None:
        # A storage keeps its one Python object, so its address names it and its end is seen.
        key, size = storage._cdata, storage.nbytes()
        if key not in self._live:
            self._live.add(key)
            self._bytes += size
            self._peak = max(self._peak, self._bytes)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._live.remove(key)
        self._bytes -= size


class _Touched(TorchDispatchMode):
    """Shows the storage of every tensor that an operator reads or writes."""

    def __init__(self, touch: Callable[[torch.UntypedStorage], None]) -> None:
        super().__init__()
        self._touch = touch

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, torch.Tensor):
                self._touch(leaf.untyped_storage())
        return result


def memory_meter(device: torch.device, *, compiled: bool) -> MemoryMeter | None:
    """What counts memory on `device`; None where nothing can: compiled code on a CPU."""
    if device.type == "cuda":
        return CudaMemory(device)
    return None if compiled else TensorMemory()


def memory_of_pass(runnable: Runnable, meter: MemoryMeter) -> MemoryUse:
    """Memory of one repetition of a workload that has been repeated before.

    Its gradients and an optimizer's state are then where they will be in every later repetition.
    """
    with meter.watching():
        resident = meter.allocated()
        output = runnable.forward(0)
        kept = meter.allocated() - resident
        if runnable.backward is not None:
            runnable.backward(output)
        del output
        runnable.reset()
        return MemoryUse(resident_bytes=resident, kept_bytes=kept, peak_bytes=meter.peak())
