# Sourced by dist_*.sh and slurm_*.sh, which differ in the script they start and the order of their arguments.
# PYTHON: interpreter (default that of .venv in this clone, otherwise python).
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-$tools/../.venv/bin/python}
command -v "$python" > /dev/null || python=python

# need COUNT ARGUMENTS...: print the calling script's own header and stop if there are too few arguments.
need() {
  local count=$1
  shift
  [ $# -ge "$count" ] && return
  sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

# on_this_machine PROCESSES SCRIPT ARGUMENTS...
on_this_machine() {
  local processes=$1
  shift
  exec "$python" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" "$@" --launcher pytorch
}

# with_slurm PARTITION JOB_NAME SCRIPT ARGUMENTS...
with_slurm() {
  local partition=$1 job=$2 per_node=${GPUS_PER_NODE:-8} gpus=()
  shift 2
  [ "$per_node" = 0 ] || gpus=(--gres="gpu:$per_node" --ntasks-per-node="$per_node")
  # shellcheck disable=SC2086  # SRUN_ARGS holds several options
  exec srun -p "$partition" --job-name="$job" --ntasks="${GPUS:-8}" "${gpus[@]}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "$python" -u "$@" --launcher slurm
}
