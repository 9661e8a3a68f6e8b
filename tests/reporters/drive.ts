// Plays the part of a worker with the reporter of examples/: one step for each line it is told. Without a ready check,
// which a user with the least rights may not make.
import { createInterface } from "node:readline";

import { Redis } from "ioredis";

import { Reporter, bucket } from "./reporter.js";

const [url, scope, worker, taken] = process.argv.slice(2) as [string, string, string, string];
const redis = new Redis(url, { enableReadyCheck: false });
const reporter = new Reporter(redis, scope, worker, 4);
const running = new Map([["task-1", Number(taken)], ["task-2", Number(taken) + 5_000]]);
const busy = { [`w${bucket(0.25)}`]: 2, busy_ms: 20_000, throttle_ms: 0, llm_ms: 15_000, req: 7, itok: 9_000, otok: 800 };
const steps: Record<string, () => Promise<unknown>> = {
  busy: () => reporter.beat(running, busy),
  ended: async () => running.delete("task-1") && (await reporter.end("task-1")),
  draining: () => reporter.beat(running, { done: 1, [`d${bucket(90)}`]: 1, r429: 1 }, "draining"),
  left: async () => {
    await reporter.end("task-2");
    await reporter.beat(new Map(), { fail: 1, [`d${bucket(0)}`]: 1 });
    await reporter.leave();
  },
};
for await (const line of createInterface({ input: process.stdin })) {
  await steps[line.trim()]!();
  console.log("done");
}
redis.disconnect();
