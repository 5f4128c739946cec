#!/usr/bin/env bash
# Check style (ruff) and types (mypy) with the pinned versions of the environment that tools/install.sh makes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${VENV:-.venv}/bin/python
"$python" -m ruff check .
"$python" -m mypy
