#!/usr/bin/env python3
"""Hydrated: an empty container that each run fills with its files and skills. Answers with a task, and reports back."""
import base64
import http.server
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import urllib.request


def report(callback, line):
    headers = {"authorization": f"Bearer {callback['token']}", "content-type": "application/json"}
    request = urllib.request.Request(callback["url"], json.dumps(line).encode(), headers)
    urllib.request.urlopen(request).close()


def put(root, path, content):
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(base64.b64decode(content))


def work(run):
    with tempfile.TemporaryDirectory() as place:
        root = pathlib.Path(place)
        for file in run["files"]:
            put(root, file["path"], file["content"])
        for skill in run["skills"]:
            for path, content in skill["files"].items():
                put(root / "skills" / skill["name"], path, content)
        (root / "prompt.txt").write_text("\n\n".join(run["prompt"]["blocks"]))
        report(run["callback"], {"type": "status", "text": "the place is ready"})
        done = subprocess.run(["sh", "context/bin/agent.sh"], cwd=root, capture_output=True, text=True)
        if done.returncode == 0:
            report(run["callback"], {"type": "result", "text": done.stdout})
        else:
            report(run["callback"], {"type": "error", "code": "agent", "message": done.stderr[-2000:]})


class Container(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        run = json.loads(self.rfile.read(int(self.headers["content-length"])))
        threading.Thread(target=work, args=(run,)).start()
        body = json.dumps({"task": run["run"]}).encode()
        self.send_response(202)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Container)
    print(f"listens on {server.server_port}", flush=True)
    server.serve_forever()
