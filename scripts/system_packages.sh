#!/usr/bin/env bash
# Make sure that the system has what cannot come from PyPI: a C and C++ compiler, and the Python's own
# headers and ensurepip. Only what is missing is installed, through apt-get where that is allowed;
# elsewhere one line says what to install.
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
[ ${#missing[@]} -gt 0 ] || exit 0

install="apt-get install --yes --no-install-recommends ${missing[*]}"
if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then
        run=()
    elif sudo --non-interactive true 2>/dev/null; then
        run=(sudo --non-interactive)
    else
        echo "Missing on this system, and installing it needs root: run  sudo $install" >&2
        exit 1
    fi
    echo "Missing on this system: ${missing[*]}; installing"
    export DEBIAN_FRONTEND=noninteractive
    "${run[@]}" apt-get update --quiet
    # shellcheck disable=SC2086
    exec "${run[@]}" $install
fi
echo "Missing on this system: what Debian calls ${missing[*]}; install it with your package manager" >&2
exit 1
