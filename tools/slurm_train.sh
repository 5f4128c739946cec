#!/usr/bin/env bash
# Train with Slurm:
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
# GPUS (default 8), GPUS_PER_NODE (8; 0: no GPUs), CPUS_PER_TASK (5), SRUN_ARGS. PYTHON: interpreter.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need 4 "$@"
with_slurm "$1" "$2" "$tools/train.py" "$3" --work-dir "$4" "${@:5}"
