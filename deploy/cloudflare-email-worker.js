// A Cloudflare Email Worker: hands each mail to Postern as it was sent, signed as a Standard Webhook.
//
// Variables of the worker: POSTERN_URL, such as https://postern.example.com/in/mail, and the secret POSTERN_SECRET:
// "whsec_" and base64, the same as the secret of the source. Email Routing takes messages of up to 25 MiB
// (developers.cloudflare.com/email-routing). The id is "mail_" and the SHA-256 of envelope and mail, so the same mail for
// the same address is one event however often it is sent, and the signature, which covers the id, covers the envelope.
const encoder = new TextEncoder();
const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const sha256 = async (bytes) => hex(await crypto.subtle.digest("SHA-256", bytes));
const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
// Header values are bytes: international addresses go as UTF-8.
const header = (text) => String.fromCharCode(...encoder.encode(text));
const toBase64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));

async function sign(secret, id, timestamp, body) {
  const head = encoder.encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(head.length + body.length);
  signed.set(head);
  signed.set(body, head.length);
  const bytes = fromBase64(secret.replace(/^whsec_/, ""));
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return "v1," + toBase64(await crypto.subtle.sign("HMAC", key, signed));
}

export default {
  async email(message, env) {
    const raw = new Uint8Array(await new Response(message.raw).arrayBuffer());
    // Bounces have no sender.
    const from = message.from || "<>";
    const to = message.to;
    const envelope = encoder.encode(`${from}\n${to}\n`);
    const whole = new Uint8Array(envelope.length + raw.length);
    whole.set(envelope);
    whole.set(raw, envelope.length);
    const id = `mail_${await sha256(whole)}`;
    const timestamp = Math.floor(Date.now() / 1000).toString();
    const response = await fetch(env.POSTERN_URL, {
      method: "POST",
      body: raw,
      redirect: "manual",
      headers: {
        "Content-Type": "message/rfc822",
        "X-Envelope-From": header(from),
        "X-Envelope-To": header(to),
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": await sign(env.POSTERN_SECRET, id, timestamp, raw),
      },
    });
    if (response.ok) return;
    // What Postern believed and can never read: the sender's server tells its user.
    if ([400, 406, 410, 413, 422].includes(response.status)) return message.setReject("Message refused");
    // Anything else may pass: the sender's server tries again.
    throw new Error(`postern answered ${response.status}`);
  },
};
