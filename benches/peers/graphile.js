// Measures graphile-worker in a database of its own on POSTERN_TEST_POSTGRES and prints one JSON line:
// how many jobs a second it takes in one by one with 16 in flight, and how many no-op jobs a second it works off
// at the best settings of its documentation (24 concurrent jobs, a local queue of 500, batched completion).
//   graphile.js [SINGLE_ADDS] [JOBS]
"use strict";
const { dirname, join } = require("node:path");
const { Pool } = require("pg");
const { run, runMigrations, makeWorkerUtils, Logger } = require("graphile-worker");

// its package exports no package.json
const { version } = require(join(dirname(require.resolve("graphile-worker")), "..", "package.json"));

const singleAdds = Number(process.argv[2] ?? 3000);
const jobs = Number(process.argv[3] ?? 30000);
const inFlight = 16;
const concurrentJobs = 24;
const localQueueSize = 500;
const payload = { body: "x".repeat(1000) };
const database = `graphile_${process.pid}`;
const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});

const perSecond = (count, beganAt) => Math.round(count / ((performance.now() - beganAt) / 1000));

async function measureAdds(utils) {
  let left = singleAdds;
  const add = async () => {
    while (left-- > 0) await utils.addJob("noop", payload);
  };
  const beganAt = performance.now();
  await Promise.all(Array.from({ length: inFlight }, add));
  return perSecond(singleAdds, beganAt);
}

async function preload(pool, utils) {
  await pool.query("delete from graphile_worker._private_jobs");
  for (let added = 0; added < jobs; added += 1000) {
    const count = Math.min(1000, jobs - added);
    await utils.addJobs(Array.from({ length: count }, () => ({ identifier: "noop", payload })));
  }
  await pool.query("analyze");
}

// From the start of the runner until the last job has run and none is left in the table.
async function measureJobs(pool) {
  let done = 0;
  let finished;
  const allRan = new Promise((resolve) => (finished = resolve));
  const beganAt = performance.now();
  const runner = await run({
    pgPool: pool,
    logger,
    noHandleSignals: true,
    taskList: {
      noop: async () => {
        if (++done === jobs) finished();
      },
    },
    preset: {
      worker: {
        concurrentJobs,
        maxPoolSize: concurrentJobs,
        pollInterval: 2000,
        localQueue: { size: localQueueSize },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
  });
  await allRan;
  await runner.stop();
  const rate = perSecond(jobs, beganAt);
  const left = await pool.query("select count(*)::int as count from graphile_worker._private_jobs");
  if (left.rows[0].count !== 0) throw new Error(`${left.rows[0].count} jobs are left over`);
  return rate;
}

async function main() {
  const url = process.env.POSTERN_TEST_POSTGRES;
  if (!url) throw new Error("POSTERN_TEST_POSTGRES is not set: run under scripts/with-services");
  const admin = new Pool({ connectionString: url, max: 1 });
  await admin.query(`create database ${database}`);
  const own = new URL(url);
  own.pathname = `/${database}`;
  const pool = new Pool({ connectionString: own.href, max: concurrentJobs });
  const report = (error) => console.error(error.message);
  pool.on("error", report);
  pool.on("connect", (client) => client.on("error", report));
  try {
    await runMigrations({ pgPool: pool, logger });
    const utils = await makeWorkerUtils({ pgPool: pool, logger });
    const addsPerSecond = await measureAdds(utils);
    await preload(pool, utils);
    const jobsPerSecond = await measureJobs(pool);
    await utils.release();
    console.log(
      JSON.stringify({
        peer: "graphile-worker",
        version: version,
        node: process.version,
        single_adds: singleAdds,
        adds_in_flight: inFlight,
        adds_per_second: addsPerSecond,
        jobs,
        concurrent_jobs: concurrentJobs,
        local_queue: localQueueSize,
        jobs_per_second: jobsPerSecond,
      }),
    );
  } finally {
    await pool.end();
    await admin.query(`drop database if exists ${database} with (force)`);
    await admin.end();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
