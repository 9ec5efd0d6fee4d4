"""Heavy work beside the server: one job at a time, the others wait; each can be cancelled."""

from __future__ import annotations

import queue
import threading
import time
import traceback
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from topoact_gpu.device import Stopped, stopped_by
from topoact_gpu.errors import TopoactError

from .faults import Conflict, NotFound

__all__ = ["Job", "Jobs", "Progress"]

MOST_WAITING, MOST_KEPT = 20, 200
Progress = Callable[[str, int, int], None]


@dataclass(eq=False)
class Job:
    """A piece of work and how far it is.

    Attributes
    ----------
    id : str
    work : callable
        Gets a progress callback, returns the id of the run it made.
    state : {"running", "done", "failed", "cancelled"}
        One that waits for its turn is running, in the stage "waiting".
    """

    id: str
    work: Callable[[Progress], str]
    state: str = "running"
    stage: str = "waiting"
    done: int = 0
    total: int = 1
    run: str | None = None
    error: str | None = None
    begun: float = field(default_factory=time.monotonic)
    ended: float | None = None
    asked_to_stop: threading.Event = field(default_factory=threading.Event)

    def to_dict(self) -> dict[str, Any]:
        """What the page is told."""
        end = self.ended if self.ended is not None else time.monotonic()
        return {
            "state": self.state,
            "stage": self.stage,
            "done": int(self.done),
            "total": int(self.total),
            "seconds": end - self.begun,
            "run": self.run,
            "error": self.error,
        }

    def tell(self, stage: str, done: int, total: int) -> None:
        """Take note of progress; where the job was cancelled, stop the work instead."""
        if self.asked_to_stop.is_set():
            raise Stopped
        self.stage, self.done, self.total = stage, int(done), int(total)


class Jobs:
    """A queue with one thread, which begins with the first job.

    Examples
    --------
    >>> jobs = Jobs()
    >>> job = jobs.submit(lambda tell: "r7")
    >>> jobs.wait(job.id).run
    'r7'
    """

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[Progress], str]) -> Job:
        """Put work into the queue.

        Raises
        ------
        Conflict
            Too much is waiting.
        """
        job = Job(uuid.uuid4().hex, work)
        with self._changed:
            waiting = [j for j in self._jobs.values() if j.state == "running"]
            if len(waiting) > MOST_WAITING:
                raise Conflict(
                    f"{len(waiting)} jobs are waiting already; let some end, or cancel them"
                )
            self._jobs[job.id] = job
            ended = [id for id, each in self._jobs.items() if each.state != "running"]
            for id in ended[: max(0, len(self._jobs) - MOST_KEPT)]:
                del self._jobs[id]
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="topoact-jobs", daemon=True
                )
                self._thread.start()
        self._waiting.put(job)
        return job

    def get(self, id: str) -> Job:
        """The job with this id.

        Raises
        ------
        NotFound
        """
        with self._changed:
            found = self._jobs.get(id)
        if found is None:
            raise NotFound(f"there is no job {id[:40]!r}; the server may have been started again")
        return found

    def cancel(self, id: str) -> Job:
        """Ask a job to stop; one that has ended stays as it is. It stops within a second or so.

        What no thread of ours does (UMAP, another library's clustering of one interval) ends first.
        """
        job = self.get(id)
        job.asked_to_stop.set()
        with self._changed:
            if job.stage == "waiting" and job.state == "running":
                self._end(job, "cancelled")
        return job

    def wait(self, id: str, timeout: float | None = None) -> Job:
        """Wait until a job has ended, at most ``timeout`` seconds."""
        job = self.get(id)
        with self._changed:
            self._changed.wait_for(lambda: job.state != "running", timeout)
        return job

    def _serve(self) -> None:
        while True:
            job = self._waiting.get()
            with self._changed:
                if job.state != "running":
                    continue
                job.stage = "starting"
            self._run(job)

    def _run(self, job: Job) -> None:
        try:
            with stopped_by(job.asked_to_stop):
                job.run = job.work(job.tell)
        except Stopped:
            self._finish(job, "cancelled")
        except TopoactError as error:
            self._finish(job, "failed", " ".join(str(error).split()))
        except MemoryError:
            self._finish(
                job, "failed", "memory ran out; take more intervals, less overlap, or a smaller eps"
            )
        except Exception as error:  # noqa: BLE001  # the page waits for an answer, whatever it is
            traceback.print_exc()
            self._finish(job, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}")
        else:
            self._finish(job, "done")

    def _finish(self, job: Job, state: str, error: str | None = None) -> None:
        with self._changed:
            job.error = error
            self._end(job, state)

    def _end(self, job: Job, state: str) -> None:
        job.ended = time.monotonic()
        job.state = state
        job.work = _forgotten  # it may hold the rows
        self._changed.notify_all()


def _forgotten(_tell: Progress) -> str:
    raise AssertionError("a job runs once")
