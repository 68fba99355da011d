#!/bin/sh
# Remakes the locks from the *.in files; what is pinned already stays as it is unless the *.in files forbid it.
# `sh requirements/lock.sh --upgrade` takes the newest versions that fit.
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv

compile() { # NAME: requirements/NAME.in -> requirements/NAME.txt
    name=$1
    shift
    echo "locking requirements/$name.txt"
    "$uv" pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
        "requirements/$name.in" -o "requirements/$name.txt" "$@"
}

# torch is left out of the resolution (overrides.txt), so that none of its builds drags its own packages into the lock,
# and pinned afterwards without a local version tag.
pin_torch() {
    sed -i '/^torch==/d' "requirements/$1.txt"
    echo 'torch==2.13.0' >> "requirements/$1.txt"
    LC_ALL=C sort -o "requirements/$1.txt" "requirements/$1.txt"
}

sed -i '/^torch==/d' requirements/cpu.txt 2>/dev/null || true
compile cpu --override requirements/overrides.txt "$@"
pin_torch cpu
compile app --constraint requirements/cpu.txt "$@"
compile dev --override requirements/overrides.txt --constraint requirements/cpu.txt "$@"
compile gpu --constraint requirements/app.txt "$@"
sed -i "1i # Resolved with a resolver, not yet installed or run on a machine with a GPU." requirements/gpu.txt
