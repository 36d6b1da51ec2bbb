"""Recordings read on this machine, by a process for each job."""

import queue
import threading
from collections.abc import Iterator, Sequence

from engines.cores import usable_cores
from service.archive.reader import Reader
from service.archive.task import Finished, Reading, Task


def read_all(tasks: Sequence[Task], reading: Reading, jobs: int) -> Iterator[Finished]:
    """Yield each task with what came of it (see `task.read_one`), in the order in which they are done.

    `jobs` processes read at once; all end with the iterator. Raise `UserError` if the model cannot be loaded.
    """
    jobs = max(1, min(jobs, len(tasks)))
    interrupted = False
    readers = [Reader(reading, cores) for cores in _shares(jobs)]
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    done: queue.SimpleQueue[Finished | BaseException] = queue.SimpleQueue()
    try:
        readers[0].start()  # alone, so that weights are fetched and networks compiled once
        for reader in readers:
            threading.Thread(target=_work, args=(reader, waiting, done), daemon=True).start()
        for _ in tasks:
            try:
                answer = done.get_nowait() if interrupted else done.get()
            except KeyboardInterrupt:
                interrupted = True  # what is answered already is still handed on
                continue
            except queue.Empty:
                break
            if isinstance(answer, BaseException):
                raise answer
            yield answer
        if interrupted:
            raise KeyboardInterrupt
    finally:
        for reader in readers:
            reader.end()


def _work(reader: Reader, waiting: queue.SimpleQueue[Task], done: queue.SimpleQueue[Finished | BaseException]) -> None:
    """Read recordings until none waits."""
    while True:
        try:
            task = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            done.put((task, reader.read(task)))
        except BaseException as error:  # raised where the answers are taken
            done.put(error)
            return


def _shares(jobs: int) -> list[list[int]]:
    """Return the cores of each job: all of them for one, a share for several."""
    cores = usable_cores()
    if jobs >= len(cores):
        return [[cores[job % len(cores)]] if jobs > 1 else cores for job in range(jobs)]
    return [cores[job::jobs] for job in range(jobs)]
