#!/usr/bin/env bash
# Train on several processes of this machine: one per GPU, or on the CPU if there is none.
#   tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# For several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT. PYTHON: interpreter.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need 2 "$@"
on_this_machine "$2" "$tools/train.py" "$1" "${@:3}"
