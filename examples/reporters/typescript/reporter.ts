// Reports what a worker does to agent-scaler; one Reporter per process. Needs ioredis, version 5 or later.
import type { Redis } from "ioredis";

/** The bucket of a duration: bounds grow by a fifth from one to the next. */
export const bucket = (seconds: number) => Math.floor(4 * Math.log2(Math.max(seconds * 1000, 1)));

export class Reporter {
  constructor(private redis: Redis, scope: string, private worker: string, private slots: number,
    private key = `agent-scaler:{${scope}}:`) {}

  /** Every 10 s, and when a task starts. running: task → when it was taken; counts: since the last beat. */
  async beat(running: Map<string, number>, counts: Record<string, number>, state?: "draining") {
    const now = Number((await this.redis.time())[0]) * 1000;
    const me = { seen: now, state: state ?? (running.size ? "busy" : "idle"), slots: this.slots, running: running.size };
    const oldest = running.size ? Math.min(...running.values()) : undefined;
    const [pipe, minute] = [this.redis.multi(), `${this.key}m:${Math.floor(now / 60_000)}`];
    pipe.hset(`${this.key}workers`, this.worker, JSON.stringify({ ...me, oldest }));
    for (const task of running.keys()) pipe.zadd(`${this.key}leases`, now + 30_000, `${this.worker}/${task}`);
    for (const [field, amount] of Object.entries(counts)) pipe.hincrby(minute, field, amount);
    await pipe.expire(minute, 1_800).exec();
  }

  /** When a task ends, however it ends. */
  end = (task: string) => this.redis.zrem(`${this.key}leases`, `${this.worker}/${task}`);

  /** Last of all, after a last beat; removes those too that were killed before they could. */
  async leave() {
    const [said, [now]] = [await this.redis.hgetall(`${this.key}workers`), await this.redis.time()];
    const gone = Object.keys(said).filter((name) => JSON.parse(said[name]!).seen < Number(now) * 1000 - 90_000);
    await this.redis.hdel(`${this.key}workers`, this.worker, ...gone);
  }
}
