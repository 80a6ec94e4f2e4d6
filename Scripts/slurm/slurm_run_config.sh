#!/usr/bin/env bash
# A task of a sweep's job array, on the node itself.
#
# Set by `bllarse-sweep submit`: BLLARSE_SWEEP_SOURCE, BLLARSE_SWEEP_DIR, INDEX_OFFSET, VENV_NAME,
# MLFLOW_PARENT_RUN_ID, BLLARSE_TASK_ORDER, BLLARSE_SWEEP_EXECUTABLE, BLLARSE_MAX_REQUEUES.
set -uo pipefail

sweep=${BLLARSE_SWEEP_DIR:-${BLLARSE_SWEEP_SOURCE:?is not set; submit with bllarse-sweep submit}}
index=$((${SLURM_ARRAY_TASK_ID:?is not set: this is no task of a job array} + ${INDEX_OFFSET:-0}))
if [[ -n ${BLLARSE_TASK_ORDER:-} ]]; then
  index=$(sed -n "$((index + 1))p" "$BLLARSE_TASK_ORDER")
fi
if [[ -n ${VENV_NAME:-} ]]; then
  # shellcheck disable=SC1091
  source "$VENV_NAME/bin/activate" || exit 1
fi

# The run goes on in the background, so that the shell can act on signals at once.
child=
# shellcheck disable=SC2317
forward() { [[ -z $child ]] || kill -s "$1" "$child" 2>/dev/null; }
trap 'forward USR1' USR1
trap 'forward TERM' TERM
"${BLLARSE_SWEEP_EXECUTABLE:-bllarse-sweep}" run-config "$sweep" "$index" &
child=$!
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break
done

# 75: stopped with a checkpoint. A job that was cancelled, or that SLURM requeues itself, is no
# longer RUNNING and must not be started again from here.
if ((code == 75 && ${SLURM_RESTART_COUNT:-0} < ${BLLARSE_MAX_REQUEUES:-10})); then
  state=$(scontrol show job -o "$SLURM_JOB_ID" | sed -n 's/.* JobState=\([A-Z_]*\).*/\1/p')
  if [[ $state == RUNNING ]]; then
    echo "requeueing job $SLURM_JOB_ID" >&2
    scontrol requeue "$SLURM_JOB_ID"
  fi
fi
exit "$code"
