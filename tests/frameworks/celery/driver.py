"""Celery's own API, for the tests: producer and counts on stdin and stdout, or a worker."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from celery import Celery

sys.path.insert(0, str(Path(__file__).parent.parent))
from drive import drive

app = Celery("driver", broker=os.environ["BROKER"])
app.conf.update(
    task_acks_late=os.environ.get("ACKS_LATE") == "1",
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "global_keyprefix": os.environ.get("PREFIX", ""),
        "sep": os.environ.get("SEPARATOR", "\x06\x16"),
        "visibility_timeout": float(os.environ.get("VISIBILITY", "3600")),
        "priority_steps": [int(step) for step in os.environ.get("STEPS", "0,3,6,9").split(",")],
    },
)


@app.task(name="work")
def work(seconds: float) -> None:
    time.sleep(seconds)


def send(queue: str, count: str, priority: str = "", countdown: str = "") -> int:
    options = {"priority": int(priority)} if priority else {}
    if countdown:
        options["countdown"] = float(countdown)
    for _ in range(int(count)):
        work.apply_async(args=[600], queue=queue, **options)
    return int(count)


def size(queue: str) -> int:
    """Messages that wait, as the broker's transport counts them."""
    with app.connection_for_read() as connection:
        # A passive declaration says the same, but does not find a queue under a prefix.
        return connection.default_channel._size(queue)


def worker_has(_: str = "") -> dict[str, int]:
    """What the workers say that they have."""
    inspect = app.control.inspect(timeout=5, limit=1)
    answers = {name: getattr(inspect, name)() or {} for name in ("active", "reserved", "scheduled")}
    return {name: sum(len(tasks) for tasks in answer.values()) for name, answer in answers.items()}


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        app.worker_main(["worker", "--pool=threads", "-c2", "-Q", sys.argv[2], "--without-mingle", "--without-gossip",
                         "--loglevel=ERROR"])
    else:
        drive({"send": send, "size": size, "worker_has": worker_has})
