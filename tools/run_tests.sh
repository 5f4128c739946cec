#!/usr/bin/env bash
# Install what the tests need, check style and types, and run the tests, in up to four processes.
# Arguments go to pytest, and then only pytest runs, in one process, e.g. tools/run_tests.sh tests/tools/test_resume.py -k exact
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/install.sh
python=${VENV:-.venv}/bin/python
# The test of the web page needs a browser; it is skipped where there is none and it cannot be installed.
if ! command -v chromium chromium-browser google-chrome >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  { apt-get update && apt-get install -y --no-install-recommends chromium chromium-driver; } >/dev/null 2>&1 ||
    echo 'run_tests: chromium cannot be installed; the test of the web page is skipped' >&2
fi
# Counted here: nproc obeys OMP_NUM_THREADS.
cores=$(env -u OMP_NUM_THREADS nproc)
# The models of the tests are tiny: more threads than cores, in each of several processes, only slow them down.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OPENCV_NUM_THREADS=1 MPLBACKEND=Agg
if [ $# -eq 0 ]; then
  bash tools/lint.sh
  # Files stay whole, so that their fixtures are made once.
  set -- -n $((cores < 4 ? cores : 4)) --dist loadfile
fi
exec "$python" -m pytest --durations=10 "$@"
