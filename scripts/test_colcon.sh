#!/usr/bin/env bash
# `colcon build` and `colcon test` against the ROS 2 wheels of a virtual environment: once as a package of a
# workspace, once in place, in a source tree that holds its own .venv.
#
# A library must never be in the environment and in an overlay of it (which one is loaded is then chance), so
# both run in copies, with a hard-linked copy of the environment that lacks this package.
#
# usage: test_colcon.sh VENV WORK_FOLDER [ARGUMENTS OF colcon test...]
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
source_venv="$(cd "$1" && pwd)"
mkdir -p "$2"
work="$(cd "$2" && pwd)"
shift 2

export ALPAMAYO_GOLDEN="${ALPAMAYO_GOLDEN:-$root/../shared/golden}"
export ALPAMAYO_BAGS="${ALPAMAYO_BAGS:-$root/../shared/bags}"
unset PYTHONPATH LD_LIBRARY_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH ROS_DISTRO _ROS_WHEELS_BOOTSTRAP_COMPLETE

copy_tree() {
    mkdir -p "$1"
    tar --create --file - --directory "$root" --exclude-vcs --exclude='./.venv*' --exclude='./.cache' \
        --exclude=./build --exclude=./install --exclude=./log --exclude=./out --exclude=__pycache__ \
        --exclude='*.egg-info' . | tar --extract --file - --directory "$1"
}

copy_venv() {
    cp --archive --link "$source_venv" "$1" 2>/dev/null || { rm -rf "$1"; cp --archive "$source_venv" "$1"; }
    find "$1" -depth -name '*alpamayo*' -exec rm -rf {} +
    # Scripts name their interpreter by its full path. sed writes a new file, so the original stays.
    local script
    for script in "$1"/bin/*; do
        if [ -f "$script" ] && [ ! -L "$script" ] && [ "$(head -c 2 "$script")" = '#!' ]; then
            sed --in-place "1,2s|$source_venv/|$1/|" "$script"
        fi
    done
}

# build_and_test FOLDER BUILD_OPTION TEST_ARGUMENTS...
build_and_test() {
    local folder="$1" build_option="$2"
    shift 2
    echo "== colcon build $build_option in $folder"
    cd "$folder"
    colcon --log-level error build ${build_option:+"$build_option"} --event-handlers console_cohesion- summary+
    if ! colcon --log-level error test --return-code-on-test-failure --event-handlers console_cohesion- summary+ \
            "$@"; then
        colcon test-result --verbose
        exit 1
    fi
    colcon test-result --all | tail -n 20
    grep --quiet --recursive --include='*.xunit.xml' '<testcase' build ||
        { echo "colcon ran no test" >&2; exit 1; }
}

rm -rf "$work"
mkdir -p "$work"
touch "$work/COLCON_IGNORE"
copy_tree "$work/in_place"
copy_venv "$work/in_place/.venv"
copy_tree "$work/workspace/src/alpamayo_ros"

export VIRTUAL_ENV="$work/in_place/.venv"
export AMENT_PREFIX_PATH="$VIRTUAL_ENV"
export PATH="$VIRTUAL_ENV/bin:$PATH"
build_and_test "$work/workspace" "" "$@"
build_and_test "$work/in_place" --symlink-install --ctest-args -R pytest_package
rm -rf "$work"  # hard links would keep what .venv replaces
