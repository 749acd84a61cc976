#!/bin/sh
# Installs the outside suites that test/outside runs: varnishtest and slowhttptest (Debian packages; needs root), and into .tools/
# Autobahn's wstest (PyPI; needs a Python 2.7) and what is written in Go. What cannot be had is left out, and its tests are skipped
# and say so.
set -u
cd "$(dirname "$0")/.."
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get update -q
  apt-get install -y -q --no-install-recommends varnish slowhttptest || echo "no varnishtest, no slowhttptest" >&2
else
  echo "install varnish and slowhttptest by hand: that needs root and Debian's apt-get" >&2
fi
python=$(command -v python2.7 || command -v python2 || true)
if command -v pyenv >/dev/null; then
  for found in "$(pyenv root)"/versions/2.7*/bin/python2.7; do
    [ -x "$found" ] && python=$found
  done
fi
dir=$PWD/.tools/autobahn
if [ -n "$python" ] && "$python" -m pip install --quiet --target "$dir" autobahntestsuite==25.10.1; then
  # Without it Python 2 does not see a package that is spread over several folders.
  touch "$dir/zope/__init__.py"
  printf '#!/bin/sh\nPYTHONPATH=%s exec %s -c "from autobahntestsuite.wstest import run; run()" "$@"\n' "$dir" "$python" >"$dir/wstest"
  chmod +x "$dir/wstest"
else
  echo "no wstest: it needs a Python 2.7 with pip" >&2
fi
# h2spec, h2specd and the interoperability client and server of grpc-go (Go) into .tools/.
if command -v go >/dev/null; then
  for tool in h2spec h2specd; do
    GOBIN=$PWD/.tools/bin GOFLAGS=-mod=mod go install github.com/summerwind/h2spec/cmd/$tool@latest ||
      echo "no $tool: its Go module cannot be had" >&2
  done
  for end in client server; do
    GOBIN=$PWD/.tools/grpc-go GOFLAGS=-mod=mod go install google.golang.org/grpc/interop/$end@v1.84.0 ||
      echo "no grpc-go $end: its Go module cannot be had" >&2
  done
else
  echo "no h2spec, no h2specd, no grpc-go: they need Go" >&2
fi
