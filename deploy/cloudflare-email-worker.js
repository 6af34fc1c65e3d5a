// A Cloudflare Email Worker: hands each mail to Postern as it was sent, signed as a Standard Webhook.
//
// Variables of the worker: POSTERN_URL, such as https://postern.example.com/in/mail, and the secret POSTERN_SECRET:
// "whsec_" and base64, the same as the secret of the source. Email Routing takes messages of up to 25 MiB
// (developers.cloudflare.com/email-routing). The id is made of the mail and its envelope, so the same mail for the same
// address is one event however often it is sent.
const encoder = new TextEncoder();
const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const sha256 = async (bytes) => hex(await crypto.subtle.digest("SHA-256", bytes));
const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
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
    const envelope = await sha256(encoder.encode(`${message.from}\n${message.to}`));
    const id = `mail_${(await sha256(raw)).slice(0, 24)}_${envelope.slice(0, 16)}`;
    const timestamp = Math.floor(Date.now() / 1000).toString();
    const response = await fetch(env.POSTERN_URL, {
      method: "POST",
      body: raw,
      redirect: "manual",
      headers: {
        "Content-Type": "message/rfc822",
        "X-Envelope-From": message.from,
        "X-Envelope-To": message.to,
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
