#!/usr/bin/env bash
# Create .venv and install everything the project needs; skip what is already installed.
# PYTHON: interpreter to create it from (default python3). VENV: another folder for the environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${VENV:-.venv}
python=${PYTHON:-python3}
constraints=tools/constraints.txt

say() { printf '\n== %s\n' "$*"; }

if [ ! -x "$venv/bin/python" ]; then
  say "creating $venv with $("$python" --version)"
  "$python" -m venv "$venv"
fi
py=$venv/bin/python
"$py" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' || {
  echo "install: $("$py" --version) in $venv is not supported; set PYTHON to a Python 3.10, 3.11 or 3.12 and remove $venv" >&2
  exit 1
}

# With the stamp a second run takes milliseconds; changed requirements run pip again.
stamp=$venv/.opendlign_mm-installed
wanted=$(cat setup.py "$constraints" tools/install.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
  exit 0
fi

pip() { PIP_DISABLE_PIP_VERSION_CHECK=1 "$py" -m pip "$@"; }

say 'build tools'
pip install -q -c "$constraints" --upgrade pip 'setuptools<80' wheel
pip install -q -c "$constraints" ninja psutil packaging

say 'torch and torchvision (a few GB on the first run)'
pip install -c "$constraints" torch torchvision

if ! "$py" -c 'import mmcv.ops' 2>/dev/null; then
  say 'mmcv with its operators: built from source once (about 9 minutes on 2 cores), then taken from the cache of pip'
  # -O1 halves the compile time of a CPU build; a CUDA build keeps mmcv's own flags.
  if ! "$py" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    export CFLAGS="${CFLAGS:--O1 -g0 -w}"
  fi
  MMCV_WITH_OPS=1 MAX_JOBS="${MAX_JOBS:-$(($(nproc) + 1))}" \
    pip install -c "$constraints" --no-build-isolation mmcv
fi

say 'opendlign_mm, mmdet3d, open_clip and the rest'
pip install -c "$constraints" --no-build-isolation -e '.[demo,generation,retrieval,scans,tests]'
pip check

echo "$wanted" > "$stamp.tmp"
mv "$stamp.tmp" "$stamp"
say "ready: $("$py" --version) in $venv"
