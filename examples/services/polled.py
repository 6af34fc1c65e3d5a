#!/usr/bin/env python3
"""Polled: a service that cannot call back. Answers with a task, and with the task's lines whenever it is asked for them."""
import http.server
import json
import os
import threading
import time
import urllib.parse

TASKS = {}


def work(lines):
    for number in range(1, 4):
        time.sleep(0.3)
        lines.append({"type": "status", "text": f"at {number}"})
        lines.append({"type": "usage", "model": "small", "output_tokens": number, "cost_usd": 0.001})
    lines.append({"type": "result", "text": "Counted to 3."})


class Service(http.server.BaseHTTPRequestHandler):
    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        run = json.loads(self.rfile.read(int(self.headers["content-length"])))
        # The same run again is the same task.
        if run["run"] not in TASKS:
            TASKS[run["run"]] = []
            threading.Thread(target=work, args=(TASKS[run["run"]],)).start()
        self.answer(202, "application/json", json.dumps({"task": run["run"]}).encode())

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        lines = TASKS.get(url.path.strip("/"))
        if lines is None:
            return self.answer(404, "text/plain", b"no such task")
        known = int(urllib.parse.parse_qs(url.query)["from"][0])
        body = "".join(json.dumps(line) + "\n" for line in lines[known:])
        self.answer(200, "application/x-ndjson", body.encode())


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Service)
    print(f"listens on {server.server_port}", flush=True)
    server.serve_forever()
