// Measures pg-boss in a database of its own on POSTERN_TEST_POSTGRES and prints one JSON line: how many jobs a second
// it takes in one by one with 16 in flight, how many no-op jobs a second its workers work off as its manual sets them for
// throughput (batches of 100, 4 at once, no pause while batches are full), and how many go through by fetching and
// completing whole batches by hand from 4 loops, without a worker, at whichever size of a batch is fastest here.
//   pgboss.js [SINGLE_ADDS] [JOBS]
"use strict";
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { Pool } = require("pg");
const { PgBoss } = require("pg-boss");

// its package exports no package.json
const { version } = JSON.parse(readFileSync(join(process.env.NODE_PATH, "pg-boss", "package.json"), "utf8"));

const singleAdds = Number(process.argv[2] ?? 3000);
const jobs = Number(process.argv[3] ?? 30000);
const inFlight = 16;
const loops = 4;
const batchSizes = [100, 500, 2000];
const payload = { body: "x".repeat(1000) };
const database = `pgboss_${process.pid}`;

const perSecond = (count, beganAt) => Math.round(count / ((performance.now() - beganAt) / 1000));

async function measureAdds(boss) {
  let left = singleAdds;
  const add = async () => {
    while (left-- > 0) await boss.send("single", payload);
  };
  const beganAt = performance.now();
  await Promise.all(Array.from({ length: inFlight }, add));
  return perSecond(singleAdds, beganAt);
}

async function fill(boss, pool, queue) {
  await boss.createQueue(queue);
  for (let added = 0; added < jobs; added += 1000) {
    const count = Math.min(1000, jobs - added);
    await boss.insert(queue, Array.from({ length: count }, () => ({ data: payload })));
  }
  await pool.query("analyze");
}

async function measureWorkers(boss, pool) {
  const queue = "noop-workers";
  await fill(boss, pool, queue);
  const options = { batchSize: 100, localConcurrency: loops, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
  const beganAt = performance.now();
  let seen = 0;
  await new Promise((resolve) => {
    boss.work(queue, options, async (batch) => {
      seen += batch.length;
      if (seen >= jobs) resolve();
    });
  });
  const rate = perSecond(jobs, beganAt);
  await boss.offWork(queue);
  return rate;
}

async function measureJobs(boss, pool, batchSize) {
  const queue = `noop-${batchSize}`;
  await fill(boss, pool, queue);
  let done = 0;
  const work = async () => {
    while (done < jobs) {
      const batch = await boss.fetch(queue, { batchSize });
      if (batch.length === 0) return;
      await boss.complete(queue, batch.map((job) => job.id));
      done += batch.length;
    }
  };
  const beganAt = performance.now();
  await Promise.all(Array.from({ length: loops }, work));
  const rate = perSecond(jobs, beganAt);
  if (done !== jobs) throw new Error(`${done} of ${jobs} jobs were worked off`);
  return rate;
}

async function main() {
  const url = process.env.POSTERN_TEST_POSTGRES;
  if (!url) throw new Error("POSTERN_TEST_POSTGRES is not set: run under scripts/with-services");
  const admin = new Pool({ connectionString: url, max: 1 });
  await admin.query(`create database ${database}`);
  const own = new URL(url);
  own.pathname = `/${database}`;
  const pool = new Pool({ connectionString: own.href, max: 1 });
  const report = (error) => console.error(error.message);
  pool.on("error", report);
  const boss = new PgBoss({ connectionString: own.href, max: inFlight, supervise: false, schedule: false });
  boss.on("error", report);
  try {
    await boss.start();
    await boss.createQueue("single");
    const addsPerSecond = await measureAdds(boss);
    const workersPerSecond = await measureWorkers(boss, pool);
    const rates = [];
    for (const batchSize of batchSizes) rates.push([await measureJobs(boss, pool, batchSize), batchSize]);
    const [jobsPerSecond, batchSize] = rates.reduce((best, one) => (one[0] > best[0] ? one : best));
    console.log(
      JSON.stringify({
        peer: "pg-boss",
        version: version,
        node: process.version,
        single_adds: singleAdds,
        adds_in_flight: inFlight,
        adds_per_second: addsPerSecond,
        jobs,
        loops,
        batch_size: batchSize,
        worker_jobs_per_second: workersPerSecond,
        jobs_per_second: jobsPerSecond,
      }),
    );
  } finally {
    await boss.stop({ graceful: false });
    await pool.end();
    await admin.query(`drop database if exists ${database} with (force)`);
    await admin.end();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
