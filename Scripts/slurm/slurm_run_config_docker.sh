#!/usr/bin/env bash
# A task of a sweep's job array, in a Docker container.
#
# Beside what slurm_run_config.sh and common.sh read:
#   BLLARSE_DOCKER_IMAGE       the image                      (bllarse-dev)
#   BLLARSE_DOCKER_SHM_SIZE    shared memory of the container (8g)
#   BLLARSE_DOCKER_NETWORK     its network                    (host: the node's)
#   BLLARSE_DOCKER_MOUNT_HOME  1: all of HOME, not the MLflow credentials file alone
# shellcheck source-path=SCRIPTDIR
source "${BLLARSE_SWEEP_SCRIPTS:-$(dirname "${BASH_SOURCE[0]}")}/common.sh" || {
  echo "bllarse: common.sh is not beside this script; submit it with bllarse-sweep submit" >&2
  exit 1
}

read_task
name=bllarse-$SLURM_JOB_ID
prepare_docker "$name"
trap 'docker rm --force "$name" >/dev/null 2>&1' EXIT
run_task "${container[@]}" bllarse-sweep run-config "$sweep" "$index"
