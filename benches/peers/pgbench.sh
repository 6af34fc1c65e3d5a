#!/usr/bin/env bash
# The ceiling of Postgres itself: single-row INSERTs of 1 KB, one transaction each, prepared, with 1, 16 and 64
# clients; one JSON line each. Run under scripts/with-services.
#   benches/peers/pgbench.sh [SECONDS EACH]
set -euo pipefail
: "${POSTERN_TEST_POSTGRES:?run under scripts/with-services}"
seconds="${1:-5}"
database="pgbench_$$"
url="${POSTERN_TEST_POSTGRES%/*}/$database"
script=$(mktemp)
trap 'rm -f "$script"; psql -qX "$POSTERN_TEST_POSTGRES" -c "drop database if exists $database with (force)"' EXIT
psql -qX "$POSTERN_TEST_POSTGRES" -c "create database $database"
psql -qX "$url" -c "create table event (id bigint generated always as identity primary key, body text not null)"
echo "insert into event (body) values ('$(printf 'x%.0s' {1..1000})');" >"$script"
for clients in 1 16 64; do
  threads=$((clients < 2 ? clients : 2))
  output=$(pgbench -n -M prepared -c "$clients" -j "$threads" -T "$seconds" -f "$script" "$url" 2>&1) ||
    { printf '%s\n' "$output" >&2 && exit 1; }
  tps=$(sed -n 's/^tps = \([0-9]*\).*/\1/p' <<<"$output" | tail -n 1)
  latency=$(sed -n 's/^latency average = \([0-9.]*\) ms.*/\1/p' <<<"$output")
  printf '{"peer":"pgbench","clients":%d,"row_bytes":1000,"seconds":%d,"tps":%d,"latency_ms":%s}\n' \
    "$clients" "$seconds" "$tps" "$latency"
done
