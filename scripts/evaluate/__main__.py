"""Measures the skills of a project: sends each case to its agent by Postern's front door and looks at the answer.

Without a model it tells whether the checks can fail (--self-test) and shows the documents (--documents)."""

import argparse
import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cases
import gateway
import judge
import selftest
import table
from checks import Fault

KEY = "ANTHROPIC_API_KEY"


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/evals", description=__doc__)
    parser.add_argument("cases", nargs="*", help="parts of names as in answer-mail/angry; default: all")
    parser.add_argument("--project", type=Path, default=Path("examples/assistants"))
    parser.add_argument("--program", default="postern", help="the postern to run")
    parser.add_argument("--runs", type=_count, default=1, help="of each case")
    parser.add_argument("--jobs", type=_count, default=4, help="runs at the same time")
    parser.add_argument("--baseline", action="store_true", help="also without the skill")
    parser.add_argument("--judge", metavar="MODEL", help="also ask this model for its opinion")
    parser.add_argument("--threshold", type=float, default=0.9, help="of each skill's runs that must pass (0 to 1)")
    parser.add_argument("--json", action="store_true", help="a report for programs, with every answer")
    parser.add_argument("--self-test", action="store_true", help="try the checks, ask no model")
    parser.add_argument("--documents", metavar="DIR", type=Path, help="write the cases' documents there, ask no model")
    return parser.parse_args()


def _count(text):
    if not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError("1 to 1000")
    return int(text)


def main():
    given = arguments()
    if not given.project.joinpath("postern.toml").is_file():
        raise Fault(f"{given.project} is no project: it has no postern.toml")
    skills = cases.read(given.project, given.cases)
    if given.documents:
        return write_documents(skills, given.documents)
    found, tried = selftest.faults(skills)
    if found:
        raise Fault("\n".join(["these cases measure nothing:", *found]))
    if given.self_test:
        print(f"{sum(len(skill.cases) for skill in skills)} cases, {tried} checks: each passes its good answer and fails its bad ones")
        return 0
    if not os.environ.get(KEY):
        raise Fault(f"{KEY} is not set: export the key of the Messages API that is to be asked (and ANTHROPIC_BASE_URL when it "
                    "is not Anthropic's). Without a key, --self-test tries the checks alone")
    say(given, bound(given, skills))
    results = []
    try:
        for way in ["skill", "baseline"] if given.baseline else ["skill"]:
            for result in measured(given, skills, way):
                results.append(result)
    except KeyboardInterrupt:
        say(given, f"interrupted after {len(results)} runs")
        # They are paid for.
        return 130 if not results else max(report(given, results), 130)
    return report(given, results)


def say(given, text):
    print(text, file=sys.stderr if given.json else sys.stdout, flush=True)


def bound(given, skills):
    """What it may cost, before it starts."""
    ways = 2 if given.baseline else 1
    count = sum(len(skill.cases) for skill in skills) * given.runs * ways
    most = sum(len(skill.cases) * gateway.budget_usd(given.project, skill) for skill in skills) * given.runs * ways
    most += count * judge.BUDGET_USD if given.judge else 0
    return (f"{count} runs of {', '.join(skill.name for skill in skills)}{', with and without' if ways == 2 else ''}; at most "
            f"${most:.2f} by the budget_usd of the agents (a run overshoots by its last call at most; most take far less)")


def measured(given, skills, way):
    """The results of every run of one way, as they end."""
    extra = judge.added(skills, given.judge) if given.judge else None
    with gateway.Gateway(given.program, given.project, skills, way == "baseline", extra) as running, \
            ThreadPoolExecutor(given.jobs) as pool:
        work = [pool.submit(one, given, running, case, way)
                for _ in range(given.runs) for skill in skills for case in skill.cases]
        try:
            for future in work:
                result = future.result()
                say(given, table.line(result))
                yield result
        except BaseException:
            # What is sent waits for a server; without one it ends.
            running.stop()
            pool.shutdown(cancel_futures=True)
            raise


def one(given, running, case, way):
    run, seconds = running.send(case)
    answer = run.get("result_text") or ""
    failure = None if run.get("state") == "succeeded" else (run.get("failure") or {}).get("message") or run.get("state")
    checked = {"ends well": failure} | {check.name: check.why(answer) for check in case.checks(running.canary)}
    met = sum(why is None for why in checked.values())
    result = {"skill": case.skill, "case": case.name, "with": way, "passed": met == len(checked), "met": met, "checks": checked,
              "usd": (run.get("usage") or {}).get("cost_micros", 0) / 1e6, "seconds": seconds, "model": run.get("model"),
              "run": run.get("id"), "answer": answer}
    if given.judge and answer:
        result["score"], result["reason"], micros = judge.opinion(running, case, answer)
        result["judge_usd"] = micros / 1e6
    return result


def report(given, results):
    found = table.summary(results)
    low = [skill for skill, arms in found.items() if arms["skill"]["rate"] < given.threshold]
    if given.json:
        told = {"threshold": given.threshold, "below": low, "usd": table.costs(results), "skills": found, "results": results}
        print(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        print("", *table.lines(found), f"in all ${table.costs(results):.2f}, models: {models(results)}", sep="\n")
    if low:
        print(f"below {given.threshold:.0%} of runs: {', '.join(low)}", file=sys.stderr)
    return 1 if low else 0


def models(results):
    return ", ".join(sorted({result["model"] for result in results if result["model"]})) or "none answered"


def write_documents(skills, folder):
    for case in (case for skill in skills for case in skill.cases):
        for document in case.documents:
            path = folder / case.skill / case.name / document.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(document.bytes())
            path.with_name(f"{document.name}.expected").write_text(document.text, "utf-8")
    return 0


def interrupted(*_):
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    try:
        sys.exit(main())
    except Fault as fault:
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
