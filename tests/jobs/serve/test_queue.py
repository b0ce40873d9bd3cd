import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.event_records import NoteRecord
from animdiff_cli.jobs.serve import queue as queues
from animdiff_cli.jobs.serve.planning import Planned
from animdiff_cli.jobs.serve.queue import Cancelled, QueueFull, Rendered, RenderQueue, Stopping


def planned(seed=1, *, keep=True):
    config = GenerateConfig(prompt="a red ball", model="pocket", seed=seed)
    return Planned(config, ("gif",), f"clip_{seed}", keep)


def rendered(job, folder):
    return Rendered({"event": "done", "version": 1, "job": job.id}, (), folder)


@asynccontextmanager
async def working(renders, *, limit=100):
    """A queue that renders; its records are in `queue.seen`."""
    seen = []
    queue = RenderQueue(renders, limit=limit, watch=seen.append)
    queue.seen = seen
    task = asyncio.create_task(queue.work())
    yield queue
    task.cancel()
    await asyncio.wait([task])


async def finished(job):
    return [record["event"] async for _, record in job.follow()]


def test_jobs_are_rendered_in_order_and_their_records_arrive_in_order(tmp_path):
    order = []

    def render(job, write):
        order.append(job.planned.config.seed)
        for number in range(50):
            write(NoteRecord(job=job.id, message=str(number)).record())
        return rendered(job, tmp_path)

    async def main():
        async with working([render]) as queue:
            jobs = [queue.add(planned(seed)) for seed in range(5)]
            assert [queue.view(job).position for job in jobs] == [0, 1, 2, 3, 4]
            for job in jobs:
                records = [record async for _, record in job.follow()]
                assert [record["message"] for record in records[2:-1]] == [str(number) for number in range(50)]
                assert [record["event"] for record in (*records[:2], records[-1])] == ["queued", "started", "done"]

    asyncio.run(main())
    assert order == [0, 1, 2, 3, 4]


def test_each_device_renders_one_clip_at_a_time(tmp_path):
    both = threading.Barrier(2, timeout=10)  # passed only while two clips are rendered
    running = [0, 0]

    def on_device(number):
        def render(job, write):
            running[number] += 1
            assert running[number] == 1
            both.wait()
            running[number] -= 1
            return rendered(job, tmp_path)

        return render

    async def main():
        async with working([on_device(0), on_device(1)]) as queue:
            jobs = [queue.add(planned(seed)) for seed in range(6)]
            assert [await finished(job) for job in jobs] == [["queued", "started", "done"]] * 6

    asyncio.run(main())


def test_a_bug_in_one_job_is_reported_and_the_next_one_is_rendered(tmp_path, caplog):
    def render(job, write):
        if job.planned.config.seed == 1:
            raise ZeroDivisionError("no")
        return rendered(job, tmp_path)

    async def main():
        async with working([render]) as queue:
            bug, following = queue.add(planned(1)), queue.add(planned(2))
            assert await finished(bug) == ["queued", "started", "failed"]
            assert await finished(following) == ["queued", "started", "done"]
            assert queue.view(bug).error.code == 1 and "ZeroDivisionError: no" in queue.view(bug).error.error

    asyncio.run(main())
    assert "ZeroDivisionError" in caplog.text and "Traceback" in caplog.text


def test_a_full_or_stopping_queue_takes_nothing():
    async def main():
        queue = RenderQueue([], limit=2, watch=lambda record: None)
        jobs = [queue.add(planned()), queue.add(planned())]
        with pytest.raises(QueueFull):
            queue.add(planned())
        queue.cancel(jobs[0])
        queue.add(planned())
        queue.stop()
        assert {job.state for job in queue.jobs.values()} == {"interrupted"}
        with pytest.raises(Stopping):
            queue.add(planned())

    asyncio.run(main())


def test_an_abandoned_job_ends_once_whatever_its_thread_does():
    started, leave = threading.Event(), threading.Event()

    def render(job, write):
        started.set()
        assert leave.wait(10) and job.cancel.is_set()
        write(NoteRecord(job=job.id, message="too late").record())
        raise Cancelled

    async def main():
        async with working([render]) as queue:
            job = queue.add(planned())
            await asyncio.to_thread(started.wait, 10)
            queue.abandon_running()
            assert await finished(job) == ["queued", "started", "interrupted"]
            leave.set()
            await queue.idle()
            assert [record["event"] for record in queue.seen] == ["queued", "started", "interrupted"]

    asyncio.run(main())


def test_the_oldest_finished_jobs_are_forgotten_and_their_files_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(queues, "HISTORY", 2)

    def render(job, write):
        folder = tmp_path / job.id
        folder.mkdir()
        return rendered(job, folder)

    async def main():
        async with working([render]) as queue:
            jobs = [queue.add(planned(seed, keep=seed == 0)) for seed in range(4)]
            for job in jobs:
                await finished(job)
            assert list(queue.jobs) == [job.id for job in jobs[2:]]
            # the first job keeps its files, the second does not
            assert sorted(path.name for path in tmp_path.iterdir()) == sorted(job.id for job in (jobs[0], *jobs[2:]))
            queue.forget_all()
            assert [path.name for path in tmp_path.iterdir()] == [jobs[0].id]

    asyncio.run(main())
