#!/usr/bin/env bash
# Test with Slurm:
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]
# GPUS (default 8), GPUS_PER_NODE (8; 0: no GPUs), CPUS_PER_TASK (5), SRUN_ARGS. PYTHON: interpreter.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need 4 "$@"
with_slurm "$1" "$2" "$tools/test.py" "$3" "$4" "${@:5}"
