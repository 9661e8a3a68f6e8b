"""Dramatiq's own API, for the tests: producer and counts on stdin and stdout, or what its command line loads."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import dramatiq
from dramatiq.brokers.redis import RedisBroker

sys.path.insert(0, str(Path(__file__).parent.parent))
from drive import drive

broker = RedisBroker(url=os.environ["BROKER"])
# Where its workers show what they do, if they are to.
if "dramatiq_prom_port" in os.environ:
    from dramatiq.middleware.prometheus import Prometheus

    broker.add_middleware(Prometheus())
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="research")
def work(seconds: float) -> None:
    time.sleep(seconds)


@dramatiq.actor(queue_name="research", max_retries=0)
def fail() -> None:
    raise ValueError


def send(count: str, delay: str = "") -> int:
    for _ in range(int(count)):
        work.send_with_options(args=(600,), delay=int(delay) if delay else None)
    return int(count)


def send_lasting(count: str, seconds: str) -> int:
    for _ in range(int(count)):
        work.send(float(seconds))
    return int(count)


def send_failing(count: str) -> int:
    for _ in range(int(count)):
        fail.send()
    return int(count)


def size(queue: str) -> int:
    """Messages of the queue and of its delayed ones, running ones included, as the broker counts them."""
    return broker.do_qsize(queue)


if __name__ == "__main__":
    drive({"send": send, "send_lasting": send_lasting, "send_failing": send_failing, "size": size})
