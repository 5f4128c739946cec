#!/usr/bin/env bash
# Generate images with Slurm, one process per GPU:
#   tools/slurm_generate.sh PARTITION JOB_NAME CONFIG [options of tools/generate_images.py]
# GPUS (default 8), GPUS_PER_NODE (8; 0: no GPUs), CPUS_PER_TASK (5), SRUN_ARGS. PYTHON: interpreter.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need 3 "$@"
with_slurm "$1" "$2" "$tools/generate_images.py" "$3" "${@:4}"
