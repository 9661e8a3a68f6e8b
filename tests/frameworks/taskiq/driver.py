"""Taskiq's own API, for the tests: a producer on stdin and stdout, or what its command line loads."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from taskiq_redis import RedisStreamBroker

sys.path.insert(0, str(Path(__file__).parent.parent))
from drive import drive

broker = RedisStreamBroker(url=os.environ["BROKER"], xread_count=2)


@broker.task(task_name="work")
async def work(seconds: float) -> None:
    await asyncio.sleep(seconds)


if __name__ == "__main__":
    loop = asyncio.new_event_loop()

    def start() -> int:
        loop.run_until_complete(broker.startup())
        return 0

    def kick(count: str, seconds: str) -> int:
        for _ in range(int(count)):
            loop.run_until_complete(work.kiq(float(seconds)))
        return int(count)

    drive({"start": start, "kick": kick})
