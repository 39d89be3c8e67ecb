#!/usr/bin/env bash
# Print the path of the Python that .venv is made with: the argument, if there is one; else, of the active or
# default one and the supported others, the first that needs nothing installed (C headers, venv), rather one
# with which all was tested (3.11, 3.12).
set -euo pipefail
supported='3.10 3.11 3.12 3.13'

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
complete() {
    "$1" -c 'import ensurepip, os, sysconfig, venv
assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))' >/dev/null 2>&1
}
print() { "$1" -c 'import sys; print(sys.executable)'; }

if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    echo "The ROS 2 wheels exist for Linux x86_64, this is $(uname -s) $(uname -m): install a ROS 2 distribution" \
         "and use colcon instead (see CONTRIBUTING.md)" >&2
    exit 1
fi

if [ $# -gt 0 ]; then
    found="$(version "$1")" || { echo "PYTHON=$1: expected a Python interpreter, got none that runs" >&2; exit 1; }
    case " $supported " in
        *" $found "*) print "$1"; exit ;;
        *) echo "PYTHON=$1: expected Python 3.10 to 3.13, got $found" >&2; exit 1 ;;
    esac
fi

for requirement in complete true; do
    for wanted in '3.11 3.12' "$supported"; do
        for candidate in python3 python3.11 python3.12 python3.13 python3.10; do
            found="$(version "$candidate")" || continue
            case " $wanted " in
                *" $found "*) if "$requirement" "$candidate"; then print "$candidate"; exit; fi ;;
            esac
        done
    done
done
echo "No Python 3.10 to 3.13 found: install one (apt-get install python3 python3-venv python3-dev), or say" \
     "which with PYTHON=/path/to/python3" >&2
exit 1
