#!/usr/bin/env python3
"""Prints the text of an Office or OpenDocument file. Needs nothing but Python; writes nothing."""

import re
import sys
import zipfile
from html import unescape

MOST_BYTES = 20_000_000  # of all parts, unpacked
MOST_PARTS = 400
MOST_TEXT = 200_000  # characters that are printed

# The parts that hold text, by the beginning of their name.
PARTS = ("word/document.xml", "word/footnotes.xml", "xl/sharedStrings.xml", "xl/worksheets/sheet",
         "ppt/slides/slide", "ppt/notesSlides/notesSlide", "content.xml")
# Elements that end a line, and those that end a cell.
LINES = re.compile(r"</(?:w:p|w:tr|a:p|a:tr|text:p|text:h|table:table-row)>|<(?:w:br|a:br|text:line-break)\b[^>]*>")
CELLS = re.compile(r"(?:</(?:w:p|a:p|text:p)>\s*)?</(?:w:tc|a:tc|table:table-cell)>|<(?:w:tab|text:tab)\b[^>]*>")


def number(name):
    """Slides and sheets in their order: slide10 after slide9."""
    found = re.search(r"(\d+)\.xml$", name)
    return (re.sub(r"\d+\.xml$", "", name), int(found.group(1)) if found else 0)


def text_of(xml):
    xml = re.sub(r"[\r\n]+", " ", xml)
    # Cells first: the paragraph in a cell ends no line.
    xml = LINES.sub("\n", CELLS.sub("\t", xml))
    text = unescape(re.sub(r"<[^>]*>", "", xml))
    return re.sub(r"\n\s*\n+", "\n", text).strip()


def cells_of(xml, shared):
    """The rows of a sheet; texts stand in a part of their own and are named by number."""
    for row in re.findall(r"<row\b.*?</row>", xml, re.S):
        cells = []
        for kind, inner in re.findall(r"<c\b([^>]*)>(.*?)</c>", row, re.S):
            value = re.search(r"<v>(.*?)</v>", inner, re.S)
            cell = unescape(value.group(1)) if value else text_of(inner)
            if 't="s"' in kind and cell.isdigit() and int(cell) < len(shared):
                cell = shared[int(cell)]
            cells.append(cell)
        yield "\t".join(cells)


def main(path):
    budget, shown = MOST_BYTES, []
    with zipfile.ZipFile(path) as archive:
        names = sorted((name for name in archive.namelist() if name.startswith(PARTS)), key=number)
        parts = {}
        for name in names[:MOST_PARTS]:
            with archive.open(name) as part:
                data = part.read(budget + 1)
            budget -= len(data)
            if budget < 0:
                raise ValueError("it unpacks to more than 20 MB")
            parts[name] = data.decode("utf-8", "replace")
    strings = parts.pop("xl/sharedStrings.xml", "")
    shared = [text_of(item) for item in re.findall(r"<si>.*?</si>", strings, re.S)]
    for name, xml in parts.items():
        text = "\n".join(cells_of(xml, shared)) if name.startswith("xl/") else text_of(xml)
        if text:
            shown.append(f"[{name}]\n{text}" if len(parts) > 1 else text)
    if not shown:
        raise ValueError("it has no text that this program can find")
    text = "\n\n".join(shown)
    print(text[:MOST_TEXT])
    if len(text) > MOST_TEXT:
        print(f"[cut after {MOST_TEXT} characters]")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: document_text.py FILE")
    try:
        main(sys.argv[1])
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as fault:
        sys.exit(f"{sys.argv[1]}: {fault}")
