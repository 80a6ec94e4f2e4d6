#!/usr/bin/env bash
# A task of a sweep's job array, in an Apptainer (or Singularity) container.
#
# Beside what slurm_run_config.sh reads:
#   BLLARSE_APPTAINER_IMAGE  the image file or address    (bllarse.sif)
#   BLLARSE_REPO_ROOT        the directory that is bound   (the working directory)
set -uo pipefail

sweep=${BLLARSE_SWEEP_DIR:-${BLLARSE_SWEEP_SOURCE:?is not set; submit with bllarse-sweep submit}}
index=$((${SLURM_ARRAY_TASK_ID:?is not set: this is no task of a job array} + ${INDEX_OFFSET:-0}))
if [[ -n ${BLLARSE_TASK_ORDER:-} ]]; then
  index=$(sed -n "$((index + 1))p" "$BLLARSE_TASK_ORDER")
fi

image=${BLLARSE_APPTAINER_IMAGE:-bllarse.sif}
root=${BLLARSE_REPO_ROOT:-$PWD}
node=${SLURMD_NODENAME:-$(hostname)}
apptainer=$(command -v apptainer || command -v singularity) || {
  echo "neither apptainer nor singularity is on node $node" >&2
  exit 1
}
if [[ $image != *://* && ! -e $image ]]; then
  echo "the Apptainer image $image is not on node $node;" \
    "put it there, exclude the node (--exclude-nodes), or set BLLARSE_APPTAINER_IMAGE" >&2
  exit 1
fi

# The environment is passed on as it is, and the processes are the node's own.
arguments=(--bind "$root" --pwd "$root")
[[ -z ${SLURM_JOB_GPUS:-} ]] || arguments+=(--nv)
for path in "$sweep" "${BLLARSE_SWEEP_SOURCE:-}" "${BLLARSE_TASK_ORDER:-}"; do
  [[ -z $path || $path == "$root"/* ]] || arguments+=(--bind "$path")
done
program=bllarse-sweep
if [[ -n ${BLLARSE_SWEEP_EXECUTABLE:-} ]]; then
  program=$BLLARSE_SWEEP_EXECUTABLE
  arguments+=(--bind "$(dirname "$program")")
fi

# The run goes on in the background, so that the shell can act on signals at once.
child=
# shellcheck disable=SC2317
forward() { [[ -z $child ]] || kill -s "$1" "$child" 2>/dev/null; }
trap 'forward USR1' USR1
trap 'forward TERM' TERM
"$apptainer" exec "${arguments[@]}" "$image" "$program" run-config "$sweep" "$index" &
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
