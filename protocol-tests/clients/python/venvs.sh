#!/bin/sh
# Makes the virtualenvs clients/.venv-4 and clients/.venv-5 of the Python clients, unless they hold what is asked for.
set -eu
cd "$(dirname "$0")"

for generation in 4 5; do
    venv=../.venv-$generation
    cmp -s requirements-$generation.txt "$venv/requirements.txt" && "$venv/bin/python" -c "import socketio" 2>/dev/null && continue
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements-$generation.txt
    cp requirements-$generation.txt "$venv/requirements.txt"
done
