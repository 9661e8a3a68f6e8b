"""Reports what a worker does to agent-scaler; one Reporter per process. Needs redis-py, version 5 or later."""
import json, math


def bucket(seconds):
    """The bucket of a duration: bounds grow by a fifth from one to the next."""
    return int(4 * math.log2(max(seconds * 1000, 1)))


class Reporter:
    def __init__(self, redis, scope, worker, slots):
        self.redis, self.worker, self.slots, self.key = redis, worker, slots, f"agent-scaler:{{{scope}}}:"

    def beat(self, running, counts, state=None):
        """Every 10 s, and when a task starts. running: task → when it was taken; counts: since the last beat."""
        now = self.redis.time()[0] * 1000
        me = {"seen": now, "state": state or ("busy" if running else "idle"), "slots": self.slots}
        me |= {"running": len(running), "oldest": min(running.values(), default=None)}
        pipe, minute = self.redis.pipeline(), f"{self.key}m:{now // 60_000}"
        pipe.hset(self.key + "workers", self.worker, json.dumps(me))
        for task in running:
            pipe.zadd(self.key + "leases", {f"{self.worker}/{task}": now + 30_000})
        for field, amount in counts.items():
            pipe.hincrby(minute, field, amount)
        pipe.expire(minute, 1_800).execute()

    def end(self, task):
        """When a task ends, however it ends."""
        self.redis.zrem(self.key + "leases", f"{self.worker}/{task}")

    def leave(self):
        """Last of all, after a last beat; removes those too that were killed before they could."""
        said, now = self.redis.hgetall(self.key + "workers"), self.redis.time()[0] * 1000
        gone = [name for name, me in said.items() if json.loads(me)["seen"] < now - 90_000]
        self.redis.hdel(self.key + "workers", self.worker, *gone)
