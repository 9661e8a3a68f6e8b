// BullMQ's own API, for the tests: producer and counts on stdin and stdout, a worker, or what shows its metrics.
//
//   driver.js produce VERSION PORT QUEUE
//   driver.js work VERSION PORT QUEUE CONCURRENCY [MAX DURATION]
//   driver.js export VERSION PORT QUEUE HTTP_PORT
"use strict";
const [mode, version, port, name, concurrency, max, duration] = process.argv.slice(2);
const { Queue, Worker } = require(`bullmq${version}`);
const connection = { host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null };

function work() {
  const limiter = max && { max: Number(max), duration: Number(duration) };
  // A job that fails does so at once; all others run for ever.
  const process_ = (job) => (job.name === "fail" ? Promise.reject(new Error("fails")) : new Promise(() => {}));
  new Worker(name, process_, { connection, concurrency: Number(concurrency), ...(limiter && { limiter }) });
}

function show() {
  const queue = new Queue(name, { connection });
  const answer = async (_, response) => response.end(await queue.exportPrometheusMetrics());
  require("node:http").createServer(answer).listen(Number(concurrency), "127.0.0.1");
}

async function produce() {
  const queue = new Queue(name, { connection });
  const commands = {
    async add(count, options = "{}", job = "work") {
      for (let i = 0; i < Number(count); i++) await queue.add(job, {}, JSON.parse(options));
    },
    counts: () => queue.getJobCounts(),
    pause: () => queue.pause(),
    resume: () => queue.resume(),
    concurrency: (most) => queue.setGlobalConcurrency(Number(most)),
    rate: (most, window) => queue.setGlobalRateLimit(Number(most), Number(window)),
    limited: () => queue.getRateLimitTtl(),
  };
  const lines = require("node:readline").createInterface({ input: process.stdin });
  for await (const line of lines) {
    const [command, ...words] = line.split(" ");
    const answer = await commands[command](...words);
    console.log(JSON.stringify(answer ?? 0));
  }
  process.exit(0);
}

if (mode === "work") work();
else if (mode === "export") show();
else produce();
