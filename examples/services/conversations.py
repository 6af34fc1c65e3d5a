#!/usr/bin/env python3
"""Long-running: one service, many conversations by their ids. Answers line by line, and believes signed requests alone."""
import base64
import hashlib
import hmac
import http.server
import json
import os
import time
import uuid

KEY = base64.b64decode(os.environ["SERVICE_SECRET"].removeprefix("whsec_"))
CONVERSATIONS = {}


def is_signed(headers, body):
    at = headers.get("webhook-timestamp", "0")
    text = f"{headers.get('webhook-id')}.{at}.".encode() + body
    due = "v1," + base64.b64encode(hmac.new(KEY, text, hashlib.sha256).digest()).decode()
    fresh = abs(time.time() - int(at)) < 300
    return fresh and any(hmac.compare_digest(due, one) for one in headers.get("webhook-signature", "").split())


class Service(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not is_signed(self.headers, body):
            return self.send_error(401)
        run = json.loads(body)
        conversation = run["conversation"] or str(uuid.uuid4())
        said = CONVERSATIONS.setdefault(conversation, [])
        # The same run asked again, after a worker died, is not heard twice.
        if run["run"] not in said:
            said.append(run["run"])
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.end_headers()
        self.say(type="status", text=f"turn {len(said)}")
        self.say(type="text", text="Let me think.")
        self.say(type="result", text=f"This is turn {len(said)}.", conversation=conversation)

    def say(self, **line):
        self.wfile.write(json.dumps(line).encode() + b"\n")
        self.wfile.flush()


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Service)
    print(f"listens on {server.server_port}", flush=True)
    server.serve_forever()
