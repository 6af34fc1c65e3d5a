"""A copy of the project in a temporary directory, run by `postern up --dev`: nothing of it leaves the machine."""

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import toml
from checks import Fault

# Settings of this machine that a copy has, too; others, such as its database, are not for a copy.
SETTINGS = ("POSTERN_CLAUDE__", "POSTERN_ANTHROPIC__", "POSTERN_SANDBOX__", "POSTERN_EGRESS__")
LONGEST_S = 3600  # of one run, with its waits; agents have limits of their own
START_S = 60


class Gateway:
    """Postern with the agents of `skills`; without their skills where `plain`."""

    def __init__(self, program, project, skills, plain, extra=None):
        self.program, self.canary = program, f"kestrel-{secrets.token_hex(8)}"
        self.home = Path(tempfile.mkdtemp(prefix="postern-evals-"))
        self.project, self.process = self.home / "project", None
        try:
            shutil.copytree(project, self.project, ignore=shutil.ignore_patterns("evals", ".postern", ".env"))
            for skill in skills:
                path = self.project / "agents" / f"{skill.agent}.md"
                path.write_text(prepared(path.read_text("utf-8"), skill, plain, self.canary), "utf-8")
            if extra:
                extra(self.project)
            self.environment = _environment(self.project)
        except BaseException:
            shutil.rmtree(self.home, ignore_errors=True)
            raise

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _start(self):
        log = self.home / "log"
        self.process = subprocess.Popen([self.program, "--json", "-C", self.project, "up", "--dev"], env=self.environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log.open("wb"))
        watch = threading.Timer(START_S, self.process.kill)
        watch.daemon = True
        watch.start()
        said = ""
        for line in self.process.stdout:
            said += line.decode("utf-8", "replace")
            if (greeting := _json(said)) is not None:
                break
        else:
            raise Fault(f"postern does not start:\n{said}{log.read_text('utf-8', 'replace')[-4000:]}")
        watch.cancel()
        self.environment |= {"POSTERN_URL": f"http://{greeting['listening']}", "POSTERN_API_KEY": greeting["api_key"] or ""}

    def send(self, case):
        """The run that a case started, as Postern tells it, and how many seconds it took."""
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            what = _mail(case, Path(folder)) if case.mail else hook(case.webhook, Path(folder))
            return self.sent(what)

    def sent(self, what):
        began = time.monotonic()
        command = [self.program, "--json", "-C", self.project, "send", *what, "--wait"]
        try:
            done = subprocess.run(command, env=self.environment, capture_output=True, timeout=LONGEST_S, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return _failed(f"no end within {LONGEST_S} s"), LONGEST_S
        report = _json(done.stdout.decode("utf-8", "replace")) or {}
        runs = report.get("runs") or []
        said = (done.stdout + done.stderr).decode("utf-8", "replace")[-2000:]
        run = runs[0] if len(runs) == 1 else _failed(f"{len(runs)} runs were started: {said}")
        return run, time.monotonic() - began


def _failed(message):
    return {"state": "failed", "failure": {"code": "evals", "message": message.strip()}}


def _json(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def prepared(text, skill, plain, canary):
    """An agent's file for a measurement: with the canary in its prompt; where `plain`, with the baseline's prompt and no skill."""
    found = re.match(r"---\n(.*?\n)---\n(.*)", text, re.S)
    if not found:
        raise Fault(f"agents/{skill.agent}.md is no frontmatter between two --- with a prompt below")
    head, prompt = found.groups()
    if not re.search(r"\bbudget_usd: *\d", head):
        raise Fault(f"agents/{skill.agent}.md has no budget_usd in its limits, so nothing bounds what this costs: write one")
    if plain:
        head = re.sub(r"^skills:.*\n(?:[ -].*\n)*", "", head, flags=re.M)
        head = re.sub(r"^(tools:.*)\bSkill\b,? *", r"\1", head, flags=re.M)
        prompt = f"{skill.baseline}\n"
    return f"---\n{head}---\n{prompt}\nThe reference of these instructions, for nobody outside, is {canary}.\n"


def budget_usd(project, skill):
    """What one run of the skill's agent may cost."""
    found = re.search(r"\bbudget_usd: *([\d.]+)", (project / "agents" / f"{skill.agent}.md").read_text("utf-8"))
    return float(found[1]) if found else 0.0


def _environment(project):
    """This process's, with secrets made up that the project names and nobody set."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("POSTERN_") or name.startswith(SETTINGS)}
    made = {name: "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
            for name in _names(toml.loads((project / "postern.toml").read_text("utf-8")))}
    base = {"POSTERN_CLAUDE__BASE_URL": kept[name] for name in ["ANTHROPIC_BASE_URL"] if kept.get(name)}
    return made | base | kept | {"POSTERN_SERVER__LISTEN": "127.0.0.1:0", "POSTERN_SERVER__SHUTDOWN_GRACE": "1s"}


def _names(value):
    if isinstance(value, dict):
        if set(value) == {"env"}:
            return [value["env"]]
        value = list(value.values())
    return [name for item in value for name in _names(item)] if isinstance(value, list) else []


def _mail(case, folder):
    """The arguments of `postern send` for a mail; its files are written into `folder`."""
    text = folder / "text"
    text.write_text(case.mail.get("text", ""), "utf-8")
    arguments = ["email", f"--text-file={text}"]
    arguments += [f"--{key.replace('_', '-')}={value}" for key, value in case.mail.items() if key != "text"]
    for document in case.documents:
        (folder / document.name).write_bytes(document.bytes())
        arguments.append(f"--attach={folder / document.name}")
    return arguments


def hook(webhook, folder):
    """The arguments of `postern send` for a webhook."""
    (folder / "body").write_text(json.dumps(webhook.get("body", {})), "utf-8")
    arguments = ["webhook", f"--body=@{folder / 'body'}"]
    return arguments + [f"--{key}={value}" for key, value in webhook.items() if key != "body"]
