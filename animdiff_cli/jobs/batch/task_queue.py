"""The queue of a batch: which worker renders which task next."""

import threading
from collections import Counter, deque
from collections.abc import Iterable

from animdiff_cli.jobs.batch.tasks import Task


class TaskQueue:
    """Tasks by group. A worker gets tasks of its last group while there are any, so that weights load seldom.

    Safe for threads. A task that was taken is in progress until `finish`, `put_back` or `pass_over`.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._waiting: dict[int, deque[Task]] = {}  # by group
        self._in_progress: Counter[int] = Counter()  # by group
        self._passed_over: list[Task] = []
        self._looked_again: set[str] = set()
        self._is_closed = False
        self._changed = threading.Condition()
        for task in tasks:
            self._waiting.setdefault(task.group, deque()).append(task)

    def take(self, group: int | None) -> Task | None:
        """Return the next task for a worker that has the weights of `group`; None if there are no more.

        Waits while the last tasks are in progress, because they may be put back.
        """
        with self._changed:
            while not self._is_closed:
                chosen = self._choose(group)
                if chosen is not None:
                    self._in_progress[chosen] += 1
                    return self._waiting[chosen].popleft()
                if not self._in_progress.total():
                    return None
                self._changed.wait()
            return None

    def is_over(self) -> bool:
        """Return whether no more tasks will be handed out."""
        with self._changed:
            return self._is_closed or not (any(self._waiting.values()) or self._in_progress.total())

    def finish(self, task: Task) -> None:
        """Remove a task that is done or has failed for good."""
        self._end(task)

    def put_back(self, task: Task) -> None:
        """Add a task in progress again, after the others of its group."""
        self._end(task, again=task)

    def pass_over(self, task: Task) -> bool:
        """Set a task aside that another process is rendering. It is taken again when all others are done, but once.

        Returns False the second time.
        """
        is_first = task.job not in self._looked_again
        self._looked_again.add(task.job)
        if is_first:
            self._passed_over.append(task)
        self._end(task)
        return is_first

    def close(self) -> None:
        """Hand out no more tasks. May be called by a signal handler: the lock can be taken twice by a thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _end(self, task: Task, again: Task | None = None) -> None:
        with self._changed:
            self._in_progress[task.group] -= 1
            if again:
                self._waiting[task.group].append(again)
            elif not self._in_progress.total() and not any(self._waiting.values()):
                for passed in self._passed_over:
                    self._waiting[passed.group].append(passed)
                self._passed_over.clear()
            self._changed.notify_all()

    def _choose(self, group: int | None) -> int | None:
        """Choose the group of the next task: that of the worker, else the one with the most work for each worker."""
        if group is not None and self._waiting.get(group):
            return group
        groups = [other for other, tasks in self._waiting.items() if tasks]
        return max(groups, key=lambda other: len(self._waiting[other]) / (1 + self._in_progress[other]), default=None)
