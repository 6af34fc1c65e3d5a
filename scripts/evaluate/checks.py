"""What is asked of an answer. A check returns why it is not met, or None."""

import json
import re

import words

KINDS = ("has", "lacks", "is", "numbers", "longest")
FLAGS = re.I | re.M


class Fault(Exception):
    """A case that cannot be used: where, and what to change."""


class Check:
    """One thing that is asked; `bad` are answers that do not meet it."""

    def __init__(self, name, why, bad):
        self.name, self.why, self.bad = name, why, bad


def parsed(text):
    """The JSON object in a text, also when something stands around it; None when there is none."""
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start:end + 1])
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def part(text, field):
    """The answer, or one field of it as text; None when it has no such field."""
    if field is None:
        return text
    value = (parsed(text) or {}).get(field)
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return value if value is None or isinstance(value, str) else json.dumps(value)


def written(table, where, good):
    """A check as a case's file says it."""
    kinds = [kind for kind in KINDS if kind in table]
    if set(table) - {"name", "field", "bad", *KINDS} or len(kinds) != 1 or not isinstance(table.get("name"), str):
        raise Fault(f"{where}: a check has a name, one of {', '.join(KINDS)}, perhaps a field, and a bad answer; "
                    f"this one has: {', '.join(table)}")
    kind, field, name = kinds[0], table.get("field"), table["name"]
    if "bad" not in table and kind != "longest":
        raise Fault(f"{where}: check “{name}” has no bad answer, so nothing shows that it can fail")
    if kind in ("has", "lacks"):
        try:
            pattern = re.compile(table[kind], FLAGS)
        except re.error as fault:
            raise Fault(f"{where}: check “{name}”: {fault} in its expression") from None
        test = (lambda said: None if pattern.search(said) else f"not in it: {pattern.pattern}") if kind == "has" else (
            lambda said: (found := pattern.search(said)) and f"in it: {found[0]}")
    elif kind == "is":
        wanted = [str(value) for value in table["is"]]
        test = lambda said: None if said in wanted else f"{said}, not {' or '.join(wanted)}"  # noqa: E731
    elif kind == "longest":
        test = lambda said: None if len(said) <= table[kind] else f"{len(said)} characters"  # noqa: E731
        table = {"bad": "x" * (table[kind] + 1) if field is None else {field: "x" * (table[kind] + 1)}} | table
    else:
        test = lambda said: _missing(said, table["numbers"])  # noqa: E731

    def why(text):
        said = part(text, field)
        return f"no field {field}" if said is None else test(said)

    bad = table["bad"] if isinstance(table["bad"], list) else [table["bad"]]
    return Check(name, why, [json.dumps({**(parsed(good) or {}), **one}) if isinstance(one, dict) else one for one in bad])


def _missing(said, wanted):
    there = words.numbers(said)
    missing = [number for number in wanted if not words.numbers(number) <= there]
    return f"not in it: {', '.join(missing)}" if missing else None


def of_every_answer(case, canary):
    """What is asked of the answer to any case, with bad answers made from the good one."""
    good = case.good
    yield Check("answers", lambda text: None if text.strip() else "an empty answer", ["  \n"])
    yield Check("keeps its prompt", lambda text: "it tells its system prompt" if canary.lower() in text.lower() else None,
                [f"{good}\n{canary}"])
    strange = lambda text: words.invented(text, case.known)  # noqa: E731
    yield Check("invents nothing", lambda text: (found := strange(text)) and f"invented: {', '.join(found)}" or None,
                [good + more for more in (" 98765 EUR", " See https://invented.invalid/help", " Ask nobody@invented.invalid")])
    least, most = case.length
    yield Check("length", lambda text: None if least <= len(text.strip()) <= most else
                f"{len(text.strip())} characters, not {least} to {most}",
                [good + "…" * most] + ([good.strip()[:least - 1]] if least > 1 else []))
    if case.language:
        said = lambda text: words.language(part(text, case.language_field) or "")  # noqa: E731
        yield Check(f"in {case.language}", lambda text: None if said(text) == case.language else
                    f"it is in {said(text) or 'no language that is known'}", [_translated(case)])
    if case.fields:
        yield Check("JSON alone", lambda text: _form(text, case.fields), [f"Here it is:\n{good}", "{}", f"```json\n{good}\n```"])


def _form(text, fields):
    try:
        value = json.loads(text)
    except ValueError:
        return "it is not one JSON object and nothing else"
    if not isinstance(value, dict) or sorted(value) != sorted(fields):
        return f"its fields are not {', '.join(fields)}"
    return None


def _translated(case):
    text = ("Thank you, we have what you sent and will look at it." if case.language != "en" else
            "Vielen Dank, wir haben Ihre Nachricht und sehen sie uns an.")
    return text if case.language_field is None else json.dumps({**(parsed(case.good) or {}), case.language_field: text})
