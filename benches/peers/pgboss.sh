#!/usr/bin/env bash
# pg-boss on POSTERN_TEST_POSTGRES: one JSON line. Run under scripts/with-services scripts/bench-peers.
#   benches/peers/pgboss.sh [SINGLE_ADDS] [JOBS]
set -euo pipefail
exec env NODE_PATH="${POSTERN_BENCH_MODULES:?run under scripts/bench-peers}" "${POSTERN_BENCH_NODE:?}" \
  "$(dirname "${BASH_SOURCE[0]}")/pgboss.js" "$@"
