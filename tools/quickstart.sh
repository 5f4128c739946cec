#!/usr/bin/env bash
# From an empty clone to results: install, align the demonstration CLIP to depth views of built-in objects, classify
# unseen objects and detect objects in unseen rooms. Finished steps are skipped; remove a log to repeat its step.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/install.sh
python=${VENV:-.venv}/bin/python
logs=work_dirs/quickstart
mkdir -p "$logs"

# step NAME COMMAND...: run the command unless its log exists; the log appears when the command has succeeded.
step() {
  local name=$1 log=$logs/$1.log
  shift
  if [ -e "$log" ]; then
    printf '== %s: already done (%s)\n' "$name" "$log"
    return
  fi
  printf '\n== %s: %s\n' "$name" "$*"
  "$@" 2>&1 | tee "$log.tmp"
  mv "$log.tmp" "$log"
}

# value LOG KEY DIGITS: the last value of a metric that mmengine logged, rounded.
value() { grep -o "$2: *[0-9.]*" "$logs/$1.log" | tail -n 1 | grep -o '[0-9.]*$' | xargs printf "%.$3f" || echo '?'; }

run=work_dirs/opendlign_tiny rooms=data/rooms
step align "$python" tools/train.py configs/opendlign_tiny.py --work-dir "$run" --resume \
  --cfg-options token_dir=work_dirs/cache/tokens
checkpoint=$(cat "$run/last_checkpoint")
classify=("$python" tools/test.py configs/opendlign_tiny.py "$checkpoint"
  --cfg-options test_dataloader.dataset.num_per_category=40)
step classify-complete "${classify[@]}"
step classify-scans "${classify[@]}" test_dataloader.dataset.scan_like=1.
step rooms "$python" tools/make_rooms.py --out "$rooms" --num-val 4
detect=("$python" tools/test.py configs/opendlign_tiny_scannet.py "$checkpoint" --cfg-options "data_root=$rooms")
step detect-from-clusters "${detect[@]}"
step detect-from-ground-truth "${detect[@]}" model.proposals.type=GroundTruthProposals

cat <<END

Unseen objects, top-1 (%)    CLIP alone   aligned
  complete                   $(printf '%10s %9s' "$(value classify-complete zero_shot/top1_frozen 1)" "$(value classify-complete zero_shot/top1 1)")
  scan-like                  $(printf '%10s %9s' "$(value classify-scans zero_shot/top1_frozen 1)" "$(value classify-scans zero_shot/top1 1)")
Unseen rooms                     AP25      AP50
  proposals from clusters    $(printf '%10s %9s' "$(value detect-from-clusters mAP_0.25 2)" "$(value detect-from-clusters mAP_0.50 2)")
  ground-truth boxes         $(printf '%10s %9s' "$(value detect-from-ground-truth mAP_0.25 2)" "$(value detect-from-ground-truth mAP_0.50 2)")

checkpoint: $checkpoint
full tables: $logs/*.log
rooms in ScanNet's format: $rooms
These are numbers of a small demonstration model on procedural objects; they only show that the pipeline works.
END
