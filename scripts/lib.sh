# shellcheck shell=bash
# What the other scripts share: finding or installing what the tests need, and a private Postgres.
# Sourced, never run. The caller has set `set -euo pipefail` and stands in the repository's root.

CLAUDE_VERSION=2.1.329
CACHE_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/postern"
PG_BIN=""
PG_ROOT=""
PG_PID=""
UNPACKED=""
PROGRAM=""
APT_UPDATED=""

say() { printf '==> %s\n' "$*" >&2; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Puts cargo in PATH when rustup installed it and the shell has not been restarted since.
need_cargo() {
  command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
  command -v cargo >/dev/null || fail "cargo is missing: install Rust with rustup, then try again"
  command -v cc >/dev/null || apt_install build-essential
}

# Sets PROGRAM to the optimised postern when it is up to date, else to a development build.
need_program() {
  local target="${CARGO_TARGET_DIR:-target}"
  PROGRAM="$target/release/postern"
  if [ ! -x "$PROGRAM" ] || [ -n "$(find src Cargo.toml Cargo.lock -newer "$PROGRAM" -print -quit)" ]; then
    need_cargo
    say "building (a few minutes the first time)"
    cargo build --locked --quiet --bin postern
    PROGRAM="$target/debug/postern"
  fi
}

need_root_or_sudo() {
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    fail "installing $* needs root or sudo: run as root, or install it by hand and try again"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
  command -v apt-get >/dev/null || fail "no apt-get here: install the equivalent of '$*' by hand and try again"
  need_root_or_sudo "$*"
  say "installing $* (a minute or so)"
  local apt=(env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get -qq -o DPkg::Lock::Timeout=120
    -o Dpkg::Options::=--force-confold)
  local log
  log=$(mktemp)
  if [ -z "$APT_UPDATED" ]; then
    as_root "${apt[@]}" update >"$log" 2>&1 || say "apt-get update failed; trying with the lists that are there"
    APT_UPDATED=yes
  fi
  if ! as_root "${apt[@]}" install -y --no-install-recommends "$@" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    fail "could not install $*: repair apt or the network, or install it by hand, and try again"
  fi
  rm -f "$log"
}

# Sets PG_BIN to the directory of the newest server that has all we use.
find_postgres() {
  local candidate
  for candidate in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) \
    "$(dirname "$(readlink -f "$(command -v initdb || echo /nowhere/initdb)")")"; do
    if [ -x "$candidate/initdb" ] && [ -x "$candidate/postgres" ]; then
      PG_BIN=$candidate
      return 0
    fi
  done
  return 1
}

need_postgres() {
  if ! find_postgres || ! command -v psql >/dev/null; then
    # Debian starts a cluster on port 5432 when it installs the server, unless told not to; we want the programs only.
    if [ -d /etc ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
      need_root_or_sudo postgresql
      as_root mkdir -p /etc/postgresql-common
      echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    apt_install postgresql postgresql-client
    find_postgres || fail "PostgreSQL was installed, but initdb is neither in /usr/lib/postgresql/*/bin nor in PATH"
  fi
}

need_bwrap() {
  command -v bwrap >/dev/null || apt_install bubblewrap
  bwrap --ro-bind / / true 2>/dev/null ||
    say "bubblewrap cannot make a sandbox here (user namespaces are closed); tests of the sandbox will fail"
}

# Makes system calls fail.
need_strace() {
  command -v strace >/dev/null || apt_install strace
}

need_faketime() {
  compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || apt_install libfaketime
}

need_python() {
  command -v python3 >/dev/null || apt_install python3
  # before 3.11 its reader of TOML is a package
  python3 -c 'import tomllib' 2>/dev/null || python3 -c 'import tomli' 2>/dev/null || apt_install python3-tomli
  python3 -c 'import tomllib' 2>/dev/null || python3 -c 'import tomli' 2>/dev/null ||
    fail "python3 is older than 3.11 and has no tomli: put a newer one into PATH"
}

need_npm() {
  command -v npm >/dev/null || apt_install npm
}

# Sets POSTERN_TEST_CHROMIUM. Called only for suites that drive a browser.
need_chromium() {
  local name
  for name in "${POSTERN_TEST_CHROMIUM:-}" chromium chromium-browser google-chrome; do
    if [ -n "$name" ] && command -v "$name" >/dev/null; then
      POSTERN_TEST_CHROMIUM=$(command -v "$name")
      export POSTERN_TEST_CHROMIUM
      return
    fi
  done
  apt_install chromium
  command -v chromium >/dev/null || fail "no chromium after installing it: point POSTERN_TEST_CHROMIUM at a Chrome"
  POSTERN_TEST_CHROMIUM=$(command -v chromium)
  export POSTERN_TEST_CHROMIUM
}

claude_is_pinned() {
  [ -x "$1" ] && [[ "$(DISABLE_AUTOUPDATER=1 "$1" --version 2>/dev/null </dev/null)" == "$CLAUDE_VERSION "* ]]
}

# Sets POSTERN_TEST_CLAUDE to the pinned CLI; the npm package is the native program and needs no Node.
need_claude() {
  local directory="$CACHE_DIR/claude-$CLAUDE_VERSION"
  export POSTERN_TEST_CLAUDE="${POSTERN_TEST_CLAUDE:-$directory/claude}"
  claude_is_pinned "$POSTERN_TEST_CLAUDE" && return
  [ "$POSTERN_TEST_CLAUDE" = "$directory/claude" ] ||
    fail "POSTERN_TEST_CLAUDE=$POSTERN_TEST_CLAUDE is not Claude Code $CLAUDE_VERSION: unset it or correct it"
  local platform sha512
  case "$(uname -m)" in
    x86_64)
      platform=linux-x64
      sha512=fa7e25bb5b9b600a74d98d17fcc0149f1c3dc98e921c767bec5f88a16f95d3056816e888f68a5d1fa8287e37f5e205c908460c4cda64b3b1a7d62f1765328058
      ;;
    aarch64 | arm64)
      platform=linux-arm64
      sha512=2221b9ba6153a120955aa075944b31c702312a0c4f5f26770d153dd79bfc278073e50dc9a6c94cd1ec359b9c9a4fe9455c13ef6319ac1208b45c8ebc5c7343d0
      ;;
    *) fail "no Claude Code $CLAUDE_VERSION for $(uname -m): set POSTERN_TEST_CLAUDE to one" ;;
  esac
  need_npm
  say "fetching Claude Code $CLAUDE_VERSION (174 MB, once) into $directory"
  mkdir -p "$CACHE_DIR"
  UNPACKED=$(mktemp -d "$CACHE_DIR/.claude-XXXXXX")
  if ! npm pack --silent --pack-destination "$UNPACKED" "@anthropic-ai/claude-code-$platform@$CLAUDE_VERSION" \
    >"$UNPACKED/log" 2>&1; then
    tail -n 5 "$UNPACKED/log" >&2
    rm -rf "$UNPACKED"
    fail "npm could not fetch Claude Code $CLAUDE_VERSION: repair the network, or set POSTERN_TEST_CLAUDE to that version"
  fi
  if ! sha512sum "$UNPACKED"/*.tgz | grep -q "^$sha512 "; then
    rm -rf "$UNPACKED"
    fail "what npm fetched as Claude Code $CLAUDE_VERSION is not what was published"
  fi
  tar -xzf "$UNPACKED"/*.tgz -C "$UNPACKED" package/claude
  mkdir -p "$directory"
  chmod 755 "$UNPACKED/package/claude"
  mv -f "$UNPACKED/package/claude" "$directory/claude"
  rm -rf "$UNPACKED"
  claude_is_pinned "$POSTERN_TEST_CLAUDE" || fail "$POSTERN_TEST_CLAUDE does not run here: see '$POSTERN_TEST_CLAUDE --version'"
}

# Sets POSTERN_TEST_CLIENTS to a directory with the providers' own libraries, as pinned in tests/clients.
need_clients() {
  local lock=tests/clients/package-lock.json directory
  command -v node >/dev/null || apt_install nodejs
  directory="$CACHE_DIR/clients-$(sha256sum "$lock" | head -c 12)"
  export POSTERN_TEST_CLIENTS="${POSTERN_TEST_CLIENTS:-$directory}"
  # npm writes this file last
  if [ -f "$POSTERN_TEST_CLIENTS/node_modules/.package-lock.json" ] &&
    cmp -s "$lock" "$POSTERN_TEST_CLIENTS/package-lock.json"; then
    return
  fi
  [ "$POSTERN_TEST_CLIENTS" = "$directory" ] ||
    fail "POSTERN_TEST_CLIENTS=$POSTERN_TEST_CLIENTS has not what $lock pins: unset it, or run 'npm ci' there"
  need_npm
  say "fetching the providers' libraries (57 MB unpacked, once) into $directory"
  mkdir -p "$CACHE_DIR"
  UNPACKED=$(mktemp -d "$CACHE_DIR/.clients-XXXXXX")
  cp tests/clients/package.json "$lock" "$UNPACKED"
  if ! (cd "$UNPACKED" && npm ci --ignore-scripts --omit=peer --no-audit --no-fund) >"$UNPACKED/log" 2>&1; then
    tail -n 5 "$UNPACKED/log" >&2
    rm -rf "$UNPACKED"
    fail "npm could not install what $lock pins: repair the network, or point POSTERN_TEST_CLIENTS at a directory with it"
  fi
  rm -rf "$directory"
  mv "$UNPACKED" "$directory"
}

# Postgres refuses to run as root; then the system user of its package runs it.
as_postgres() {
  local user=postgres
  if [ "$(id -u)" = 0 ]; then
    id postgres >/dev/null 2>&1 || user=nobody
    set -- --reuid "$user" --regid "$(id -g "$user")" --init-groups "$@"
  fi
  cd /
  exec setpriv --pdeathsig QUIT "$@"
}

# Somewhere below the ports that the kernel hands out, and nobody answers there now.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# A server of our own in a temporary directory, durable as by default or, with POSTERN_TEST_FSYNC=off, against kills of
# processes only; gone after `cleanup`.
# Sets POSTERN_TEST_POSTGRES to the URL of its superuser.
start_postgres() {
  PG_ROOT=$(mktemp -d "${TMPDIR:-/tmp}/postern-pg-XXXXXX")
  local data="$PG_ROOT/home/data" password port tries
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  mkdir "$PG_ROOT/home"
  (umask 077 && printf '%s\n' "$password" >"$PG_ROOT/home/password")
  if [ "$(id -u)" = 0 ]; then
    chmod 711 "$PG_ROOT"
    chown -R "$(as_postgres id -u)" "$PG_ROOT/home"
  fi
  (as_postgres "$PG_BIN/initdb" -D "$data" -U postern -A scram-sha-256 --pwfile="$PG_ROOT/home/password" \
    -E UTF8 --locale=C --locale-provider=icu --icu-locale=en-US) >"$PG_ROOT/log" 2>&1 ||
    { tail -n 5 "$PG_ROOT/log" >&2 && fail "initdb failed: is ${TMPDIR:-/tmp} full, or closed to other users?"; }
  for ((tries = 0; tries < 5; tries++)); do
    port=$(free_port)
    # Our own child (to be waited for) in a session of its own (Ctrl-C is for the tests, which still need it).
    (as_postgres setsid "$PG_BIN/postgres" -D "$data" -p "$port" -k "$PG_ROOT/home" -c listen_addresses=127.0.0.1 \
      -c max_connections=300 -c "fsync=${POSTERN_TEST_FSYNC:-on}") >"$PG_ROOT/log" 2>&1 &
    PG_PID=$!
    if postgres_answers "$port"; then
      export POSTERN_TEST_POSTGRES="postgres://postern:$password@127.0.0.1:$port/postgres"
      return
    fi
    stop_postgres
  done
  tail -n 15 "$PG_ROOT/log" >&2
  fail "Postgres does not start"
}

# Waits until the server of PG_PID answers, or has ended, at most a minute.
postgres_answers() {
  local tenths
  for ((tenths = 0; tenths < 600; tenths++)); do
    kill -0 "$PG_PID" 2>/dev/null || return 1
    # its last line says `ready`; another server on that port would answer, but not write this
    [ "$(sed -n 8p "$PG_ROOT/home/data/postmaster.pid" 2>/dev/null | tr -d ' ')" != ready ] || return 0
    sleep 0.1
  done
  return 1
}

stop_postgres() {
  [ -n "$PG_PID" ] || return 0
  kill -QUIT "$PG_PID" 2>/dev/null || true
  wait "$PG_PID" 2>/dev/null || true
  PG_PID=""
}

# Leaves no process and no directory; safe to call at any point and twice.
cleanup() {
  stop_postgres
  [ -z "$PG_ROOT" ] || rm -rf "$PG_ROOT"
  [ -z "$UNPACKED" ] || rm -rf "$UNPACKED"
  PG_ROOT=""
}
