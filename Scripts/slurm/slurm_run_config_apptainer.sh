#!/usr/bin/env bash
# A task of a sweep's job array, in an Apptainer (or Singularity) container.
#
# Beside what slurm_run_config.sh and common.sh read:
#   BLLARSE_APPTAINER_IMAGE       the image file or address (bllarse.sif)
#   BLLARSE_APPTAINER_MOUNT_HOME  1: all of HOME, also where the site does not mount it
# shellcheck source-path=SCRIPTDIR
source "${BLLARSE_SWEEP_SCRIPTS:-$(dirname "${BASH_SOURCE[0]}")}/common.sh" || {
  echo "bllarse: common.sh is not beside this script; submit it with bllarse-sweep submit" >&2
  exit 1
}

read_task
prepare_apptainer
run_task "${container[@]}" bllarse-sweep run-config "$sweep" "$index"
