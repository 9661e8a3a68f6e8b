"""RQ's own API, for the tests: producer and counts on stdin and stdout, or a worker."""

from __future__ import annotations

import logging
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from redis import Redis
from rq import Queue, SimpleWorker
from rq.registry import FailedJobRegistry, ScheduledJobRegistry, StartedJobRegistry
from rq.suspension import resume, suspend

sys.path.insert(0, str(Path(__file__).parent.parent))
from drive import drive

logging.disable()
connection = Redis.from_url(os.environ["BROKER"])


def work(seconds: float) -> None:
    time.sleep(seconds)


def fail() -> None:
    raise ValueError


def queue(name: str) -> Queue:
    return Queue(name, connection=connection, default_timeout=900)


def enqueue(name: str, count: str) -> int:
    for _ in range(int(count)):
        queue(name).enqueue("driver.work", 600)
    return int(count)


def enqueue_in(name: str, count: str, seconds: str) -> int:
    for _ in range(int(count)):
        queue(name).enqueue_in(timedelta(seconds=float(seconds)), "driver.work", 600)
    return int(count)


def enqueue_failing(name: str, count: str) -> int:
    for _ in range(int(count)):
        queue(name).enqueue("driver.fail")
    return int(count)


def counts(name: str) -> dict[str, int]:
    registries = {"started": StartedJobRegistry, "scheduled": ScheduledJobRegistry, "failed": FailedJobRegistry}
    numbers = {
        key: registry(name, connection=connection).get_job_count(cleanup=False) for key, registry in registries.items()
    }
    return {"queued": queue(name).count, **numbers}


def expire(name: str) -> int:
    """Lets the heartbeats of all that runs be over, as they are a minute and a half after a crash."""
    registry = StartedJobRegistry(name, connection=connection)
    members = connection.zrange(registry.key, 0, -1)
    return connection.zadd(registry.key, {member: time.time() - 1 for member in members}, ch=True)


def clean(name: str) -> int:
    """What every worker does at its start."""
    StartedJobRegistry(name, connection=connection).cleanup()
    return 0


def pause(on: str) -> int:
    suspend(connection) if on == "on" else resume(connection)
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        sys.path.insert(0, str(Path(__file__).parent))
        SimpleWorker([queue(sys.argv[2])], connection=connection).work(burst="burst" in sys.argv, logging_level="ERROR")
    else:
        drive({"enqueue": enqueue, "enqueue_in": enqueue_in, "enqueue_failing": enqueue_failing, "counts": counts,
               "expire": expire, "clean": clean, "pause": pause})
