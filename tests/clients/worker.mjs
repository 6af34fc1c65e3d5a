// Runs deploy/cloudflare-email-worker.js (argv[2], a copy whose name ends in .mjs) with the mails on standard input, and
// prints one line of JSON for each: what became of it.
import { pathToFileURL } from "node:url";

const { default: worker } = await import(pathToFileURL(process.argv[2]));
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { env, mails } = JSON.parse(Buffer.concat(chunks));
for (const { from, to, raw } of mails) {
  let rejected = null;
  const message = { from, to, raw: new Blob([raw]).stream(), setReject: (reason) => { rejected = reason; } };
  const thrown = await worker.email(message, env).then(() => null, (fault) => fault.message);
  console.log(JSON.stringify({ rejected, thrown }));
}
