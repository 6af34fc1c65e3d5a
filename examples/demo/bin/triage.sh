#!/bin/sh
# Sorts an issue. Standard output is one JSON value; nothing of the issue is put into it.
set -eu
echo "reading the issue" >&2
text=$(tr '[:upper:]' '[:lower:]' < "${POSTERN_PROMPT_FILE:?}" | tr '\n' ' ')
case $text in
    *security* | *vulnerab* | *leak*) label=security priority=1 ;;
    *crash* | *panic* | *"data loss"* | *down*) label=bug priority=1 ;;
    *bug* | *error* | *fail* | *wrong* | *broken*) label=bug priority=2 ;;
    *question* | *"how to"* | *"how do"*) label=question priority=3 ;;
    *) label=enhancement priority=3 ;;
esac
echo "label $label, priority $priority" >&2
printf '{"text":"Labelled %s, priority %s.","label":"%s","priority":%s}\n' "$label" "$priority" "$label" "$priority"
