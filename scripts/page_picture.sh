#!/bin/sh
# Take a picture of a page as a browser shows it: scripts/page_picture.sh PAGE.html OUT.png [WIDTH [HEIGHT [SCALE]]]
# WIDTH and HEIGHT of the window in CSS pixels; the picture is SCALE times as large (default 1).
# Needs Chromium or Chrome (Debian: apt-get install chromium).
set -eu

if [ $# -lt 2 ] || [ $# -gt 5 ]; then
    echo "page_picture.sh: expected PAGE.html OUT.png [WIDTH [HEIGHT [SCALE]]], got $# arguments" >&2
    exit 2
fi
page=$1 out=$2 width=${3:-1240} height=${4:-1600} scale=${5:-1}
[ -f "$page" ] || { echo "page_picture.sh: expected a page, got none at $page" >&2; exit 2; }
for browser in "${BROWSER:-}" chromium chromium-browser google-chrome; do
    if [ -n "$browser" ] && command -v "$browser" > /dev/null; then
        # As root a browser has no sandbox; the page is our own.
        rm -f "$out"
        sandbox=$([ "$(id -u)" = 0 ] && echo --no-sandbox || true)
        "$browser" --headless $sandbox --disable-gpu --hide-scrollbars --window-size="$width,$height" \
            --force-device-scale-factor="$scale" \
            --screenshot="$(realpath "$out")" "file://$(realpath "$page")" 2> /dev/null
        [ -f "$out" ] && exit 0
        echo "page_picture.sh: expected a picture from $browser, got none" >&2
        exit 1
    fi
done
echo "page_picture.sh: expected chromium, chromium-browser or google-chrome, got none of them" >&2
exit 1
