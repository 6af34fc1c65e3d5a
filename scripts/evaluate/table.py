"""What came out, as a table and as JSON."""

import math
import statistics


def rate_bounds(passed, count):
    """Where the true rate lies, 19 times of 20 (Wilson)."""
    if not count:
        return 0.0, 1.0
    z, rate = 1.96, passed / count
    middle, width = rate + z * z / (2 * count), z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return max(0.0, (middle - width) / (1 + z * z / count)), min(1.0, (middle + width) / (1 + z * z / count))


def summary(results):
    """For each skill and way, and for each case in it: how many runs passed, what they took."""
    skills = {}
    for result in results:
        arm = skills.setdefault(result["skill"], {}).setdefault(result["with"], {"cases": {}, "runs": []})
        arm["runs"].append(result)
        arm["cases"].setdefault(result["case"], []).append(result)
    return {skill: {way: _arm(arm) for way, arm in arms.items()} for skill, arms in skills.items()}


def _arm(arm):
    runs = arm["runs"]
    passed = sum(run["passed"] for run in runs)
    return {"runs": len(runs), "passed": passed, "rate": passed / len(runs), "bounds": rate_bounds(passed, len(runs)),
            "checks": sum(len(run["checks"]) for run in runs), "checks_passed": sum(run["met"] for run in runs),
            "usd": sum(run["usd"] for run in runs), "seconds": statistics.median(run["seconds"] for run in runs),
            "judged": _mean(run.get("score") for run in runs),
            "cases": {name: sum(run["passed"] for run in case) / len(case) for name, case in arm["cases"].items()}}


def _mean(scores):
    scores = [score for score in scores if score is not None]
    return statistics.fmean(scores) if scores else None


def line(result):
    """A run, as it ends."""
    judged = f"  judged {result['score']} of 5" if result.get("score") else ""
    name = f"{result['skill']}/{result['case']}"
    head = (f"{'pass' if result['passed'] else 'FAIL'}  {name:<36} {result['with']:<8} "
            f"{result['met']:>2} of {len(result['checks']):<2} checks  ${result['usd']:.4f}  {result['seconds']:5.1f} s{judged}")
    faults = [f"      {check}: {why}" for check, why in result["checks"].items() if why]
    # Without an answer the others say nothing.
    return "\n".join([head, *(faults[:1] if result["checks"]["ends well"] else faults)])


def costs(results):
    """What all of it cost, in dollars."""
    return sum(result["usd"] + result.get("judge_usd", 0) for result in results)


def lines(found):
    """The summary; where both ways were measured, with the difference."""
    yield f"{'skill':<22} {'':<9} {'runs':>5} {'passed':>7} {'19 of 20 times':>15} {'checks':>12} {'cost':>9} {'median':>8} {'judged':>7}"
    for skill, arms in found.items():
        for way, arm in arms.items():
            low, high = arm["bounds"]
            judged = f"{arm['judged']:.1f}" if arm["judged"] is not None else "-"
            yield (f"{skill:<22} {way:<9} {arm['runs']:>5} {arm['rate']:>7.0%} {f'{low:.0%} to {high:.0%}':>15} "
                   f"{arm['checks_passed']:>5} of {arm['checks']:<4}{'$':>2}{arm['usd']:>7.3f} {arm['seconds']:>6.1f} s {judged:>7}")
        if len(arms) == 2:
            gain = arms["skill"]["rate"] - arms["baseline"]["rate"]
            apart = arms["skill"]["bounds"][0] > arms["baseline"]["bounds"][1]
            sure = "more than chance" if apart else "chance is not ruled out: more RUNS"
            yield f"{skill:<22} {'':<9} {gain * 100:+.0f} points by the skill ({sure})"
