#!/usr/bin/env python3
"""Ephemeral: one run, then the end. Whoever starts containers starts one of these for each run."""
import http.server
import json
import os


class Once(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        run = json.loads(self.rfile.read(int(self.headers["content-length"])))
        # The agent's work goes here; nothing of it outlives this process.
        answer = {"text": f"Seen: {run['prompt']['text']}", "usage": {"input_tokens": 0, "output_tokens": 0}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = http.server.HTTPServer(("", int(os.environ.get("PORT", "8080"))), Once)
    print(f"listens on {server.server_port}", flush=True)
    server.handle_request()
