#!/bin/sh
# test.sh - installs what the tests need, builds the release, runs every test. The last lines are
# ctest's summary.
set -eu
cd "$(dirname "$0")/.."

packages="cmake make gcc libc6-dev pkg-config liblmdb-dev zlib1g-dev libcmocka-dev libopenblas-dev
          libopenblas0-serial libsqlite3-dev sqlite3"
missing=""
if command -v dpkg-query > /dev/null; then
    for package in $packages; do
        dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q '^install ok installed' ||
            missing="$missing $package"
    done
fi
if [ -n "$missing" ]; then
    if [ "$(id -u)" -eq 0 ]; then
        apt-get update -q > /dev/null
        DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends $missing > /dev/null
    else
        echo "test.sh: not installed:$missing" >&2
        echo "         sudo apt-get install$missing" >&2
        echo "         going on without them" >&2
    fi
fi

cmake --preset release
cmake --build build -j "$(nproc)"
exec ctest --test-dir build --output-on-failure -j 2
