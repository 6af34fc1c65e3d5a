"""The cases of a project: evals/<skill>/*.toml, with what is the same for all of them in common.toml."""

import checks
import documents
import toml
from checks import Fault

COMMON = {"agent", "baseline", "rubric", "known", "fields", "language_field", "length", "mail", "webhook", "check"}
OWN = {"about", "language", "length", "good", "also_good", "mail", "webhook", "document", "check", "derived"}
MAIL = {"source", "from", "to", "subject", "text", "in_reply_to"}
WEBHOOK = {"source", "event", "body"}


class Case:
    """What is sent to an agent, and what is asked of its answer."""

    def __init__(self, path, project, common, table):
        self.skill, self.name, where = path.parent.name, path.stem, _where(path, project)
        self.id = f"{self.skill}/{self.name}"
        _only(table, OWN, where)
        self.about, self.good = (_text(table, key, where) for key in ("about", "good"))
        self.goods = [self.good, *table.get("also_good", [])]
        self.agent = _text(common, "agent", where)
        self.language, self.language_field = table.get("language"), common.get("language_field")
        self.fields, self.length = common.get("fields"), table.get("length", common.get("length", [1, 4000]))
        self.mail = _merged(common.get("mail"), table.get("mail"))
        self.webhook = _merged(common.get("webhook"), table.get("webhook"))
        if bool(self.mail) == bool(self.webhook):
            raise Fault(f"{where}: a case is [mail] or [webhook]")
        _only(self.mail or {}, MAIL, where)
        _only(self.webhook or {}, WEBHOOK, where)
        self.documents = [documents.Document(document, where) for document in table.get("document", [])]
        if self.documents and not self.mail:
            raise Fault(f"{where}: only a mail has documents")
        self.material = [*(document.text for document in self.documents), *_files(project, common.get("known", []), where)]
        # What an answer may repeat.
        self.known = "\n".join([*_strings(self.mail or self.webhook), *self.material, *table.get("derived", [])])
        every = [*common.get("check", []), *table.get("check", [])]
        self.written = [checks.written(check, where, self.good) for check in every]

    def checks(self, canary):
        """Every check of an answer to it. `canary` stands in the agent's prompt, and nowhere else."""
        return [*checks.of_every_answer(self, canary), *self.written]


class Skill:
    """What the cases of one skill share."""

    def __init__(self, path, project):
        where = _where(path, project)
        self.name, self.table = path.parent.name, _load(path, where)
        _only(self.table, COMMON, where)
        self.agent, self.baseline = (_text(self.table, key, where) for key in ("agent", "baseline"))
        self.rubric = self.table.get("rubric", "")
        files = sorted(file for file in path.parent.glob("*.toml") if file != path)
        self.cases = [Case(file, project, self.table, _load(file, _where(file, project))) for file in files]


def read(project, parts=()):
    """The skills of a project with those of their cases whose name has one of the parts in it."""
    skills = [Skill(path, project) for path in sorted((project / "evals").glob("*/common.toml"))]
    for skill in skills:
        skill.cases = [case for case in skill.cases if not parts or any(part in case.id for part in parts)]
    skills = [skill for skill in skills if skill.cases]
    if not skills:
        raise Fault(f"no case of that name in {project / 'evals'}" if parts else
                    f"no cases in {project / 'evals'}: write <skill>/common.toml and <skill>/<case>.toml there")
    return skills


def _where(path, project):
    return str(path.relative_to(project))


def _load(path, where):
    try:
        return toml.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise Fault(f"{where}: {fault}") from None


def _only(table, keys, where):
    if unknown := sorted(set(table) - keys):
        raise Fault(f"{where}: unknown key {unknown[0]}; there is: {', '.join(sorted(keys))}")


def _text(table, key, where):
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise Fault(f"{where}: {key} is missing")
    return value.strip()


def _merged(common, own):
    """Both tables, in depth; the case's own goes before."""
    if isinstance(common, dict) and isinstance(own, dict):
        return common | {key: _merged(common.get(key), value) for key, value in own.items()}
    return common if own is None else own


def _strings(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [str(value)]


def _files(project, folders, where):
    for folder in folders:
        files = sorted((project / folder).rglob("*.md"))
        if not files:
            raise Fault(f"{where}: known: {folder} has no .md files")
        yield from (file.read_text("utf-8") for file in files)
