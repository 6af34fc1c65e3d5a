"""Whether the checks measure anything: each good answer meets all of them, each bad one fails the check it is for."""

CANARY = "kestrel-0123456789abcdef"


def faults(skills):
    """What is wrong with the cases, and how many checks were tried."""
    found, tried = [], 0
    for case in (case for skill in skills for case in skill.cases):
        names = set()
        for check in case.checks(CANARY):
            tried += 1
            if check.name in names:
                found.append(f"{case.id}: two checks are called “{check.name}”")
            names.add(check.name)
            found += [f"{case.id}: a good answer fails “{check.name}”: {why}"
                      for good in case.goods if (why := check.why(good.strip()))]
            found += [f"{case.id}: nothing fails “{check.name}”: it lets this pass: {bad[:200]!r}"
                      for bad in check.bad if not check.why(bad)]
    return found, tried
