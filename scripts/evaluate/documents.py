"""Small files of the kinds that people attach, made from plain text. Lines with ` | ` are rows of a table."""

import io
import re
import zipfile
from html import escape

from checks import Fault

OFFICE = "http://schemas.openxmlformats.org"
PAGE_LINES = 48


class Document:
    """An attachment; its text may have `{{filler N}}` in it: N numbered lines of no interest."""

    def __init__(self, table, where):
        if set(table) - {"name", "text", "raw"} or not re.fullmatch(r"[\w .-]+\.\w+", table.get("name", "")):
            raise Fault(f"{where}: a document has a name with an extension, a text, and raw = true to write it as it is")
        self.name = table["name"]
        kind = self.name.rsplit(".", 1)[1]
        self.text = re.sub(r"\{\{filler (\d+)\}\}", _filler, table.get("text", ""))
        if not table.get("raw") and kind not in MAKERS:
            raise Fault(f"{where}: no way to make {self.name}; say raw = true, or one of: {', '.join(MAKERS)}")
        self._make = _plain if table.get("raw") else MAKERS[kind]

    def bytes(self):
        return self._make(self.text)


def _filler(found):
    return "\n".join(f"Line {number}: nothing was changed here, and nothing is owed." for number in range(1, int(found[1]) + 1))


def _plain(text):
    return text.encode()


def _lines(text):
    return [line for line in text.strip().split("\n") if line.strip()]


def _cells(line):
    return [cell.strip() for cell in line.split(" | ")]


def _zip(parts):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return made.getvalue()


def _package(kind, parts):
    """An Office file: its main part is the first one."""
    main = next(iter(parts))
    types = "".join(f'<Override PartName="/{name}" ContentType="application/vnd.openxmlformats-officedocument.{media}+xml"/>'
                    for name, (media, _) in parts.items())
    links = f'<Relationship Id="r1" Type="{OFFICE}/officeDocument/2006/relationships/officeDocument" Target="{main}"/>'
    below = "".join(f'<Relationship Id="r{place}" Type="{OFFICE}/officeDocument/2006/relationships/{link}" '
                    f'Target="{name.split("/", 1)[1]}"/>'
                    for place, (name, link) in enumerate(((name, kind) for name in list(parts)[1:]), 1))
    relations = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
    folder, file = main.split("/")
    return _zip({
        "[Content_Types].xml": f'<Types xmlns="{OFFICE}/package/2006/content-types"><Default Extension="rels" '
                               f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>{types}</Types>',
        "_rels/.rels": relations.format(links),
        f"{folder}/_rels/{file}.rels": relations.format(below),
    } | {name: xml for name, (_, xml) in parts.items()})


def _docx(text):
    paragraph = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>".format
    cell = lambda value: f"<w:tc>{paragraph(escape(value))}</w:tc>"  # noqa: E731
    rows = ["<w:tbl><w:tr>" + "".join(map(cell, _cells(line))) + "</w:tr></w:tbl>" if " | " in line
            else paragraph(escape(line)) for line in _lines(text)]
    xml = f'<w:document xmlns:w="{OFFICE}/wordprocessingml/2006/main"><w:body>{"".join(rows)}</w:body></w:document>'
    return _package("none", {"word/document.xml": ("wordprocessingml.document.main", xml)})


def _xlsx(text):
    """Lines that begin with `# ` begin a sheet of that name."""
    names, sheets = [], []
    for line in _lines(text):
        if line.startswith("# ") or not sheets:
            names.append(line.removeprefix("# "))
            sheets.append([])
        if not line.startswith("# "):
            sheets[-1].append("<row>" + "".join(map(_sheet_cell, _cells(line))) + "</row>")
    listed = "".join(f'<sheet name="{escape(name)}" sheetId="{place}" r:id="r{place}"/>' for place, name in enumerate(names, 1))
    main = f"{OFFICE}/spreadsheetml/2006/main"
    parts = {"xl/workbook.xml": ("spreadsheetml.sheet.main", f'<workbook xmlns="{main}" '
             f'xmlns:r="{OFFICE}/officeDocument/2006/relationships"><sheets>{listed}</sheets></workbook>')}
    for place, rows in enumerate(sheets, 1):
        xml = f'<worksheet xmlns="{main}"><sheetData>{"".join(rows)}</sheetData></worksheet>'
        parts[f"xl/worksheets/sheet{place}.xml"] = ("spreadsheetml.worksheet", xml)
    return _package("worksheet", parts)


def _sheet_cell(value):
    if re.fullmatch(r"-?\d+(\.\d+)?", value):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'


def _pptx(text):
    """Lines that begin with `# ` begin a slide with that title."""
    slides = []
    for line in _lines(text):
        if line.startswith("# ") or not slides:
            slides.append([])
        slides[-1].append(f"<a:p><a:r><a:t>{escape(line.removeprefix('# '))}</a:t></a:r></a:p>")
    spaces = f'xmlns:p="{OFFICE}/presentationml/2006/main" xmlns:a="{OFFICE}/drawingml/2006/main"'
    parts = {"ppt/presentation.xml": ("presentationml.presentation.main", f"<p:presentation {spaces}/>")}
    for place, lines in enumerate(slides, 1):
        xml = f"<p:sld {spaces}><p:cSld><p:spTree><p:sp><p:txBody>{''.join(lines)}</p:txBody></p:sp></p:spTree></p:cSld></p:sld>"
        parts[f"ppt/slides/slide{place}.xml"] = ("presentationml.slide", xml)
    return _package("slide", parts)


def _odt(text):
    space = "urn:oasis:names:tc:opendocument:xmlns"
    lines = "".join(f"<text:p>{escape(line)}</text:p>" for line in _lines(text))
    xml = (f'<office:document-content xmlns:office="{space}:office:1.0" xmlns:text="{space}:text:1.0">'
           f"<office:body><office:text>{lines}</office:text></office:body></office:document-content>")
    return _zip({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": xml})


def _pdf(text):
    lines = text.strip().split("\n")
    pages = [lines[start:start + PAGE_LINES] for start in range(0, len(lines), PAGE_LINES)]
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>",
               f"<< /Type /Pages /Count {len(pages)} /Kids [{' '.join(f'{4 + 2 * page} 0 R' for page in range(len(pages)))}] >>".encode(),
               b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"]
    for place, page in enumerate(pages):
        shown = b"".join(b"(" + re.sub(rb"([\\()])", rb"\\\1", line.encode("cp1252", "replace")) + b") '\n" for line in page)
        drawn = b"BT /F1 10 Tf 14 TL 60 780 Td\n" + shown + b"ET"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * place} 0 R "
                       "/Resources << /Font << /F1 3 0 R >> >> >>".encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
    made, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return made + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1, table, len(objects) + 1, len(made))


MAKERS = {"docx": _docx, "xlsx": _xlsx, "pptx": _pptx, "odt": _odt, "pdf": _pdf, "txt": _plain, "csv": _plain,
          "md": _plain, "html": _plain, "json": _plain}
