#!/bin/sh
# Install a lock into the images' virtual environment, and leave out what nobody runs there. Used by the Dockerfile.
# Usage: install.sh LOCK
set -eu
venv=/opt/penstock/venv

python3 -m pip --python $venv/bin/python install --quiet --require-hashes --only-binary :all: -r "$1"
packages=$(echo $venv/lib/python3*/site-packages)
# Tests that packages bring along, with their data; a second Kubernetes client, for asyncio; and what would activate
# the environment in a shell.
find "$packages" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
rm -rf "$packages/kubernetes/aio" $venv/bin/activate* $venv/bin/Activate*
# Where Penstock itself is to be found.
echo /opt/penstock/lib >"$packages/penstock.pth"
