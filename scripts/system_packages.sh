#!/usr/bin/env bash
# Make sure that the system has what cannot come from PyPI: a C and C++ compiler, the Python's own headers
# and ensurepip, and OpenGL without a screen (EGL; Mesa's where there is no GPU), which the simulator draws
# with. Only what is missing is installed, through apt-get where that is allowed; elsewhere one line says
# what to install. Without OpenGL all but the simulator works, so that alone is no reason to stop.
#
# usage: system_packages.sh PYTHON
set -euo pipefail
python="$1"

missing=()
command -v cc >/dev/null && command -v c++ >/dev/null || missing+=(build-essential)

version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
headers="$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"
of_python=()
[ -f "$headers" ] || of_python+=("python$version-dev")
"$python" -c 'import ensurepip, venv' 2>/dev/null || of_python+=("python$version-venv")
base="$("$python" -c 'import os, sys; print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))')"
case "$base" in
    /usr/bin/*) missing+=("${of_python[@]}") ;;
    *)
        if [ ${#of_python[@]} -gt 0 ]; then
            echo "$python is not the system's and lacks what ${of_python[*]} would bring (C headers, venv):" \
                 "reinstall it with them, or choose another one with PYTHON=" >&2
            exit 1
        fi
        ;;
esac
needed=${#missing[@]}
"$python" "$(dirname "$0")/has_egl.py" || missing+=(libegl1 libgl1-mesa-dri)
[ ${#missing[@]} -gt 0 ] || exit 0

# Exit with 1 if what is missing is needed for everything, with 0 if only the simulator's pictures need it.
stop() {
    [ "$needed" -eq 0 ] || exit 1
    echo "Going on without: only the simulator's pictures need it" >&2
    exit 0
}

install="apt-get install --yes --no-install-recommends ${missing[*]}"
if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then
        run=()
    elif sudo --non-interactive true 2>/dev/null; then
        run=(sudo --non-interactive)
    else
        echo "Missing on this system, and installing it needs root: run  sudo $install" >&2
        stop
    fi
    echo "Missing on this system: ${missing[*]}; installing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    "${run[@]}" apt-get update --quiet && "${run[@]}" $install || stop
    exit 0
fi
echo "Missing on this system: what Debian calls ${missing[*]}; install it with your package manager" >&2
stop
