#!/usr/bin/env bash
# How often a second the disk makes 8 KB durable (write, then fdatasync): one JSON line.
# Measures the directory given, else the temporary one, where the private Postgres keeps its data.
#   benches/peers/fsync.sh [DIRECTORY]
set -euo pipefail
file=$(mktemp "${1:-${TMPDIR:-/tmp}}/postern-fsync-XXXXXX")
trap 'rm -f "$file"' EXIT
command -v pg_test_fsync >/dev/null || { echo "pg_test_fsync is missing: run under scripts/with-services" >&2 && exit 1; }
# the first `fdatasync` line is the one of a single 8 KB write
rate=$(pg_test_fsync -s 1 -f "$file" 2>/dev/null | sed -n 's/^ *fdatasync *\([0-9.]*\) ops\/sec.*/\1/p' | head -n 1)
[ -n "$rate" ] || { echo "pg_test_fsync measured nothing in $(dirname "$file")" >&2 && exit 1; }
printf '{"peer":"fsync","method":"fdatasync","bytes":8192,"per_second":%.0f}\n' "$rate"
