#!/usr/bin/env bash
# Test on several processes of this machine: one for each GPU, or CPU processes where there is none.
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT. PYTHON names the interpreter.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need 3 "$@"
on_this_machine "$3" "$tools/test.py" "$1" "$2" "${@:4}"
