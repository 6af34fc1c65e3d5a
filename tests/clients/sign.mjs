// Providers' own libraries sign requests to a running server. On stdin: {"address", "secrets"}; POSTERN_TEST_CLIENTS
// is where the libraries are. Prints a line of JSON for each request: what the library itself says of it (`believed`)
// and what the server answered.
import { createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, sign as signWith } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const modules = join(process.env.POSTERN_TEST_CLIENTS, 'node_modules');
const require = createRequire(join(modules, 'none.cjs'));
const twilio = require('twilio/lib/webhooks/webhooks.js');
const stripe = require('stripe')('none');
const slack = require('@slack/bolt/dist/receivers/verify-request.js');
const svix = require('svix');
const sendgrid = require('@sendgrid/eventwebhook');
const standard = require('standardwebhooks');
const github = await import(pathToFileURL(join(modules, '@octokit/webhooks-methods/dist-node/index.js')));

const { address, secrets } = JSON.parse(readFileSync(0, 'utf8'));
const DAY_S = 86_400;
const now = Math.floor(Date.now() / 1000);

const believes = (verify) => {
  try {
    return verify() !== false;
  } catch {
    return false;
  }
};

const standardClient = (Webhook, prefix) => ({
  body: JSON.stringify({ type: 'greeting', text: 'Hello' }),
  old: now - DAY_S,
  other: 'whsec_' + Buffer.from('another secret, also long enough').toString('base64'),
  sign: (secret, at, body) => ({
    [`${prefix}-id`]: `msg_${prefix}_1`,
    [`${prefix}-timestamp`]: String(at),
    [`${prefix}-signature`]: new Webhook(secret).sign(`msg_${prefix}_1`, new Date(at * 1000), body),
  }),
  verify: (secret, headers, body) => believes(() => new Webhook(secret).verify(body, headers)),
});

// Its library only verifies: the signature is made as its documentation says. The secret is PKCS#8; the server has the
// public half.
const sendgridKey = (secret) => createPrivateKey({ key: Buffer.from(secret, 'base64'), format: 'der', type: 'pkcs8' });
const sendgridPublic = (secret) =>
  createPublicKey(sendgridKey(secret)).export({ format: 'der', type: 'spki' }).toString('base64');
const SENDGRID_SIGNATURE = sendgrid.EventWebhookHeader.SIGNATURE();
const SENDGRID_TIME = sendgrid.EventWebhookHeader.TIMESTAMP();

const twilioUrl = `http://${address}/in/twilio`;
const fieldsOf = (body) => Object.fromEntries(new URLSearchParams(body));

const clients = {
  twilio: {
    type: 'application/x-www-form-urlencoded',
    body: new URLSearchParams({
      MessageSid: 'SM00000000000000000000000000000001',
      From: '+15551112222',
      To: '+15550009999',
      Body: 'Hello & welcome, ünïcode 👋',
      NumMedia: '0',
    }).toString(),
    other: 'another auth token',
    sign: (secret, _at, body) => ({
      'x-twilio-signature': twilio.getExpectedTwilioSignature(secret, twilioUrl, fieldsOf(body)),
    }),
    verify: (secret, headers, body) =>
      twilio.validateRequest(secret, headers['x-twilio-signature'], twilioUrl, fieldsOf(body)),
  },
  stripe: {
    body: JSON.stringify({ id: 'evt_1', object: 'event', type: 'invoice.paid', data: { object: { note: 'Hello' } } }),
    old: now - DAY_S,
    other: 'whsec_another',
    sign: (secret, timestamp, payload) => ({
      'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp }),
    }),
    verify: (secret, headers, body) =>
      believes(() => stripe.webhooks.constructEvent(body, headers['stripe-signature'], secret)),
  },
  // Its library only verifies: the signature is made as its documentation says.
  slack: {
    body: JSON.stringify({
      type: 'event_callback',
      event_id: 'Ev1',
      event: { type: 'message', user: 'U1', channel: 'C1', ts: '1.0001', text: 'Hello' },
    }),
    old: now - DAY_S,
    other: 'another signing secret',
    sign: (secret, at, body) => ({
      'x-slack-request-timestamp': String(at),
      'x-slack-signature': 'v0=' + createHmac('sha256', secret).update(`v0:${at}:${body}`).digest('hex'),
    }),
    verify: (signingSecret, headers, body) => slack.isValidSlackRequest({ signingSecret, headers, body }),
  },
  svix: standardClient(svix.Webhook, 'svix'),
  standard: standardClient(standard.Webhook, 'webhook'),
  sendgrid: {
    body:
      JSON.stringify([
        { email: 'Hello@example.com', timestamp: now, event: 'bounce', sg_event_id: 'sg-1', sg_message_id: 'm-1' },
      ]) + '\r\n',
    old: now - 2 * DAY_S,
    other: generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
      .privateKey.export({ format: 'der', type: 'pkcs8' })
      .toString('base64'),
    sign: (secret, at, body) => ({
      [SENDGRID_TIME]: String(at),
      [SENDGRID_SIGNATURE]: signWith('sha256', Buffer.from(at + body), sendgridKey(secret)).toString('base64'),
    }),
    verify: (secret, headers, body) => {
      const library = new sendgrid.EventWebhook();
      const key = library.convertPublicKeyToECDSA(sendgridPublic(secret));
      return library.verifySignature(key, body, headers[SENDGRID_SIGNATURE], headers[SENDGRID_TIME]);
    },
  },
  github: {
    body: JSON.stringify({ action: 'opened', issue: { number: 7, title: 'Hello' } }),
    other: 'another secret',
    sign: async (secret, _at, body) => ({
      'x-github-event': 'issues',
      'x-github-delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
      'x-hub-signature-256': await github.sign(secret, body),
    }),
    verify: (secret, headers, body) => github.verify(secret, body, headers['x-hub-signature-256']),
  },
};

for (const [name, client] of Object.entries(clients)) {
  const { body } = client;
  const secret = secrets[name];
  const headers = await client.sign(secret, now, body);
  const requests = [
    ['valid', headers, body],
    ['again', headers, body],
    ['changed', headers, body.replace('Hello', 'Hallo')],
    ['wrong_secret', await client.sign(client.other, now, body), body],
  ];
  if (client.old) requests.push(['old', await client.sign(secret, client.old, body), body]);
  for (const [what, headers, body] of requests) {
    const believed = await client.verify(secret, headers, body);
    const reply = await fetch(`http://${address}/in/${name}`, {
      method: 'POST',
      headers: { 'content-type': client.type ?? 'application/json', ...headers },
      body,
      signal: AbortSignal.timeout(10_000),
    });
    console.log(JSON.stringify({ client: name, what, believed, status: reply.status, body: await reply.text() }));
  }
}
