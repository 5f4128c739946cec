#!/usr/bin/env bash
# Install what the tests need and run them; arguments go to pytest, e.g. tools/run_tests.sh tests/tools/test_resume.py -k exact
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/install.sh
python=${VENV:-.venv}/bin/python
# The models of the tests are tiny: more threads than cores, in each of several processes, only slow them down.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)} OPENCV_NUM_THREADS=1 MPLBACKEND=Agg
exec "$python" -m pytest --durations=10 "$@"
