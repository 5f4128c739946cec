#!/usr/bin/env bash
# Test on several processes of this machine: one per GPU, or on the CPU if there is none.
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
# For several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT. PYTHON: interpreter.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need 3 "$@"
on_this_machine "$3" "$tools/test.py" "$1" "$2" "${@:4}"
