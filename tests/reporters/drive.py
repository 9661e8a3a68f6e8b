"""Plays the part of a worker with the reporter of examples/: one step for each line it is told."""
import sys

import redis
from reporter import Reporter, bucket

url, scope, worker, taken = sys.argv[1:]
reporter = Reporter(redis.Redis.from_url(url), scope, worker, slots=4)
running = {"task-1": int(taken), "task-2": int(taken) + 5_000}
busy = {f"w{bucket(0.25)}": 2, "busy_ms": 20_000, "throttle_ms": 0, "llm_ms": 15_000}
busy |= {"req": 7, "itok": 9_000, "otok": 800}
steps = {
    "busy": lambda: reporter.beat(running, busy),
    "ended": lambda: (running.pop("task-1"), reporter.end("task-1")),
    "draining": lambda: reporter.beat(running, {"done": 1, f"d{bucket(90)}": 1, "r429": 1}, "draining"),
    "left": lambda: (reporter.end("task-2"), reporter.beat({}, {"fail": 1, f"d{bucket(0)}": 1}), reporter.leave()),
}
for line in sys.stdin:
    steps[line.strip()]()
    print("done", flush=True)
