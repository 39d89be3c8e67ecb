#!/usr/bin/env bash
# Make sure that there is a Chromium for the tests of the web page (`make test-long`): Debian's, through apt-get
# where that is allowed. Without one those tests are skipped, so that it is missing is no reason to stop.
set -euo pipefail
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
install="apt-get install --yes --no-install-recommends chromium fonts-dejavu-core"
if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then
        run=()
    elif sudo --non-interactive true 2>/dev/null; then
        run=(sudo --non-interactive)
    else
        echo "No Chromium, and installing it needs root: run  sudo $install  to test the web page, too" >&2
        exit 0
    fi
    echo "No Chromium; installing it, to test the web page"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    { "${run[@]}" apt-get update --quiet && "${run[@]}" $install; } || echo "Going on without" >&2
else
    echo "No Chromium: install one with your package manager to test the web page, too" >&2
fi
