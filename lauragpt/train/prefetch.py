"""Batches before the step that needs them: made by a thread, or by worker processes that are forked when training begins.

A batch is a function of its number alone, so that it is the same whoever makes it. Of n workers each makes every n-th batch, and batches
arrive in order, through a socket a worker: what they hold is received straight into memory from which the device copies without waiting.
No shared memory is needed, of which containers have little.

Workers share what was in memory before they were forked, recordings above all. They must not touch a device other than the CPU.
"""

import multiprocessing
import os
import pickle
import signal
import socket
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lauragpt.errors import LauraError

PINNED = 4096  # bytes from which an array is received into memory from which the device copies by itself
WINDOW = 1 << 20  # bytes that a socket holds


@contextmanager
def batches_ahead(make: Callable[[int], Any], numbers: Sequence[int], workers: int = 0, pin: bool = False) -> Iterator[Iterator[Any]]:
    """`make(number)` of each number in order, the next one while the last is used. `workers`: processes that make them; 0 is a thread.
    `pin`: received by CUDA's rules. What a batch raises is raised where it is taken. All workers are gone when this is left."""
    with forked(make, numbers, workers, pin) if workers else _made(make, numbers) as batches, ThreadPoolExecutor(1) as thread:
        yield _ahead(batches, thread)


def _ahead(batches: Iterator[Any], thread: ThreadPoolExecutor) -> Iterator[Any]:
    end = object()
    coming = thread.submit(next, batches, end)
    while (batch := coming.result()) is not end:
        coming = thread.submit(next, batches, end)
        yield batch


@contextmanager
def _made(make: Callable[[int], Any], numbers: Sequence[int]) -> Iterator[Iterator[Any]]:
    yield map(make, numbers)


@contextmanager
def forked(make: Callable[[int], Any], numbers: Sequence[int], workers: int, pin: bool = False) -> Iterator[Iterator[Any]]:
    """As `batches_ahead`, without the thread that receives. LauraError where the system cannot fork."""
    processes, ends = [], []
    try:
        for worker in range(min(workers, len(numbers))):
            here, there = socket.socketpair()
            for end in (here, there):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WINDOW)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
            ends.append(here)
            # A worker holds no other's end: when this process dies, all of them find their sockets closed.
            processes.append(fork(_work, make, numbers[worker::workers], there, list(ends)))
            there.close()
        yield _received(ends, len(numbers), pin)
    finally:
        for process in processes:
            process.kill()  # nothing but memory is theirs
        for process in processes:
            process.join()
        for end in ends:
            end.shutdown(socket.SHUT_RDWR)  # a thread that waits there goes on
            end.close()


def fork(target: Callable[..., None], *arguments: Any) -> multiprocessing.Process:
    """A process that shares what is in memory now. Ctrl-C and SIGTERM, which a terminal or a scheduler sends to all processes, are left to
    the one that began it. LauraError where the system cannot fork."""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise LauraError("workers: this system cannot fork processes: set workers to 0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # threads do not survive a fork
    process = multiprocessing.get_context("fork").Process(target=_child, args=(target, arguments), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the threads of this process hold no lock that the target takes
        process.start()
    return process


def _child(target: Callable[..., None], arguments: tuple) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    target(*arguments)


def _work(make: Callable[[int], Any], numbers: Sequence[int], end: socket.socket, others: list[socket.socket]) -> None:
    for other in others:
        other.close()
    with ThreadPoolExecutor(1) as thread:  # sends a batch while the next is made
        sent = None
        try:
            for number in numbers:
                message = _message(make, number)
                if sent is not None:
                    sent.result()
                sent = thread.submit(_send, end, *message)
            if sent is not None:
                sent.result()
        except OSError:  # nobody is there any more
            os._exit(1)
    end.close()


def _message(make: Callable[[int], Any], number: int) -> tuple[bytes, list[memoryview]]:
    """(pickled batch, the arrays' bytes)"""
    try:
        return _dumps((True, make(number)))
    except Exception as error:
        try:
            return _dumps((False, error))
        except Exception:  # some errors cannot be pickled
            return _dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _dumps(value: Any) -> tuple[bytes, list[memoryview]]:
    buffers: list[pickle.PickleBuffer] = []
    file = BytesIO()
    _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
    return file.getvalue(), [buffer.raw() for buffer in buffers]


class _Pickler(pickle.Pickler):
    """Tensors as arrays, whose bytes are not copied."""

    def reducer_override(self, value: Any) -> Any:
        return (_tensor, (value.contiguous().numpy(),)) if isinstance(value, Tensor) else NotImplemented


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)


def _send(end: socket.socket, pickled: bytes, arrays: list[memoryview]) -> None:
    sizes = [len(pickled), *(array.nbytes for array in arrays)]
    end.sendall(struct.pack(f"<{1 + len(sizes)}Q", len(sizes), *sizes) + pickled)
    for array in arrays:
        end.sendall(array)


def _received(ends: list[socket.socket], count: int, pin: bool) -> Iterator[Any]:
    for number in range(count):
        good, value = _receive(ends[number % len(ends)], pin)
        if not good:
            raise value
        yield value


def _receive(end: socket.socket, pin: bool) -> tuple[bool, Any]:
    (count,) = struct.unpack("<Q", _fill(end, bytearray(8)))
    size, *sizes = struct.unpack(f"<{count}Q", _fill(end, bytearray(8 * count)))
    pickled = _fill(end, bytearray(size))
    # Each array has memory of its own, which the allocator does not give away again before the device has read it.
    arrays = [torch.empty(n, dtype=torch.uint8, pin_memory=pin and n >= PINNED).numpy() for n in sizes]
    return pickle.loads(pickled, buffers=[_fill(end, array) for array in arrays])


def _fill(end: socket.socket, into: bytearray | np.ndarray) -> bytearray | np.ndarray:
    view = memoryview(into).cast("B") if len(into) else memoryview(b"")
    done = 0
    while done < len(view):
        got = end.recv_into(view[done:], 0, socket.MSG_WAITALL)
        if not got:
            raise LauraError("a worker process ended while it made a batch, perhaps for lack of memory: set workers lower, or to 0")
        done += got
    return into
