import threading

from animdiff_cli.jobs.batch.task_queue import TaskQueue
from animdiff_cli.jobs.batch.tasks import Task


def task(job, group=0):
    return Task(job, job, {}, {}, group, {})


def test_a_worker_stays_with_its_weights_and_others_begin_elsewhere():
    queue = TaskQueue([task("a1", 1), task("a2", 1), task("a3", 1), task("b1", 2), task("b2", 2)])
    first = queue.take(None)
    second = queue.take(None)
    assert (first.job, second.job) == ("a1", "b1")
    assert [queue.take(1).job, queue.take(2).job, queue.take(2).job] == ["a2", "b2", "a3"]


def test_a_task_that_is_put_back_comes_last_and_a_waiting_worker_gets_it():
    queue = TaskQueue([task("a"), task("b")])
    first, second = queue.take(None), queue.take(None)
    got = []
    waiting = threading.Thread(target=lambda: got.append(queue.take(0)))
    waiting.start()
    queue.finish(second)
    queue.put_back(first)
    waiting.join(10)
    assert got == [first]
    queue.finish(first)
    assert queue.take(0) is None


def test_locked_tasks_are_taken_once_more_after_all_others():
    queue = TaskQueue([task("a"), task("b"), task("c")])
    assert queue.pass_over(queue.take(None))
    assert queue.pass_over(queue.take(None))
    queue.finish(queue.take(None))
    again = [queue.take(0), queue.take(0)]
    assert [one.job for one in again] == ["a", "b"]
    assert not queue.pass_over(again[0])
    queue.finish(again[1])
    assert queue.take(0) is None


def test_a_closed_queue_gives_nothing_and_wakes_who_waits():
    queue = TaskQueue([task("a"), task("b")])
    queue.take(None)
    queue.take(None)
    got = []
    waiting = threading.Thread(target=lambda: got.append(queue.take(0)))
    waiting.start()
    queue.close()
    waiting.join(10)
    assert got == [None] and not waiting.is_alive()
