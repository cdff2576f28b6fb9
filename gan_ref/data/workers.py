"""Processes that decode or draw samples side by side, without torch, within one bound on their memory."""

import multiprocessing
import os
import signal
import sys
import threading
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from gan_ref.errors import UserError

T = TypeVar("T")
UNIT = 32 << 20  # bytes; a job that needs less is not counted
UNITS = 24  # all counted jobs together hold at most 24 · 32 MiB, however many processes there are

_shared: tuple[Any, Any] | None = None  # in a worker: the semaphore of free units, and a lock to take turns


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(work: Callable[[Any], T], jobs: Iterable[Any], workers: int) -> Iterator[T]:
    """Yield ``work(job)`` for each job in order, done by ``workers`` processes (1: by this one).

    Only a few jobs are ever under way, so a slow disk does not pile up results. Raises UserError if a process
    dies.
    """
    if workers == 1:
        yield from map(work, jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    with quiet():  # multiprocessing's resource tracker starts here, and would complain after a signal
        shared = spawn.Semaphore(UNITS), spawn.Lock()
        pool = ProcessPoolExecutor(workers, spawn, _start_worker, (shared,))
    pending: deque = deque()
    with pool:
        try:
            for job in jobs:
                with _without_main():  # the first jobs start the processes
                    pending.append(pool.submit(work, job))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise UserError("a decoding process died (killed for lack of memory?); try again") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker(shared: tuple[Any, Any]) -> None:
    """Leave Ctrl-C to the parent, and end when the parent ends, even by kill -9."""
    global _shared
    _shared = shared

    def follow_parent() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=follow_parent, daemon=True).start()


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the program's main module, which spawned processes do first.

    It would bring all of torch: 2 s and 200 MB each. The work is found by its own module's name.
    """
    main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def reserve(size: int) -> Iterator[None]:
    """Wait until the workers together can hold ``size`` bytes more. One process alone does not wait."""
    count = min(size // UNIT, UNITS)
    if _shared is None or not count:
        yield
        return
    free, turn = _shared
    with turn:  # two processes that each held half of what they need would wait for ever
        for _ in range(count):
            free.acquire()
    try:
        yield
    finally:
        for _ in range(count):
            free.release()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings, and what C libraries write to file descriptor 2, from the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            terminal = os.dup(2)
        except OSError:  # standard error is closed
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            os.close(nowhere)
