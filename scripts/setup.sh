#!/bin/sh
# Make the virtual environment of all `make` targets: the locked packages, then Penstock itself.
# Usage: [PYTHON=/path/to/python] scripts/setup.sh .venv
set -eu
venv=$1
candidates=${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}

is_suitable() {
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for name in $candidates; do
        if is_suitable "$name"; then
            echo "$name"
            return
        fi
    done
    echo "setup: Penstock needs Python 3.11 or newer with its venv module; looked for: $candidates." \
        "Name yours with make setup PYTHON=/path/to/python" >&2
    return 1
}

pip_install() {
    "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check "$@"
}

if ! is_suitable "$venv/bin/python"; then
    python=$(find_python)
    echo "Making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi
echo "Installing the packages of requirements.lock"
pip_install --require-hashes -r requirements.lock
# setuptools is locked; build isolation would download an unpinned one.
pip_install --no-deps --no-build-isolation -e .
# pip does not compile editable installs; without this, the first start would be slow.
"$venv/bin/python" -m compileall -q services
