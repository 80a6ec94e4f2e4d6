#!/usr/bin/env bash
# A task of a sweep's job array, on the node itself.
#
# Set by `bllarse-sweep submit`: BLLARSE_SWEEP_SOURCE, BLLARSE_SWEEP_DIR, INDEX_OFFSET, VENV_NAME,
# MLFLOW_PARENT_RUN_ID, BLLARSE_TASK_ORDER, BLLARSE_SWEEP_EXECUTABLE, BLLARSE_MAX_REQUEUES,
# BLLARSE_SWEEP_SCRIPTS.
# shellcheck source-path=SCRIPTDIR
source "${BLLARSE_SWEEP_SCRIPTS:-$(dirname "${BASH_SOURCE[0]}")}/common.sh" || {
  echo "bllarse: common.sh is not beside this script; submit it with bllarse-sweep submit" >&2
  exit 1
}

read_task
activate_venv
run_task "${BLLARSE_SWEEP_EXECUTABLE:-bllarse-sweep}" run-config "$sweep" "$index"
