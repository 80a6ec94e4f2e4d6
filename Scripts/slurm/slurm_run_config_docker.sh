#!/usr/bin/env bash
# A task of a sweep's job array, in a Docker container.
#
# Beside what slurm_run_config.sh reads:
#   BLLARSE_DOCKER_IMAGE     the image                              (bllarse-dev)
#   BLLARSE_DOCKER_SHM_SIZE  shared memory of the container         (8g)
#   BLLARSE_REPO_ROOT        the directory that is mounted          (the working directory)
set -uo pipefail

sweep=${BLLARSE_SWEEP_DIR:-${BLLARSE_SWEEP_SOURCE:?is not set; submit with bllarse-sweep submit}}
index=$((${SLURM_ARRAY_TASK_ID:?is not set: this is no task of a job array} + ${INDEX_OFFSET:-0}))
if [[ -n ${BLLARSE_TASK_ORDER:-} ]]; then
  index=$(sed -n "$((index + 1))p" "$BLLARSE_TASK_ORDER")
fi

image=${BLLARSE_DOCKER_IMAGE:-bllarse-dev}
root=${BLLARSE_REPO_ROOT:-$PWD}
if ! docker image inspect "$image" >/dev/null 2>&1; then
  echo "the Docker image $image is not on node ${SLURMD_NODENAME:-$(hostname)};" \
    "load it there, exclude the node (--exclude-nodes), or set BLLARSE_DOCKER_IMAGE" >&2
  exit 1
fi

name=bllarse-$SLURM_JOB_ID
arguments=(--rm --init --name "$name" --shm-size "${BLLARSE_DOCKER_SHM_SIZE:-8g}"
  --user "$(id -u):$(id -g)" --volume "$root:$root" --workdir "$root")
[[ -z ${SLURM_CPUS_PER_TASK:-} ]] || arguments+=(--cpus "$SLURM_CPUS_PER_TASK")
[[ -z ${SLURM_JOB_GPUS:-} ]] || arguments+=(--gpus "\"device=$SLURM_JOB_GPUS\"")
# The sweep's directory and the program, where they lie outside of the mounted directory.
for path in "$sweep" "${BLLARSE_SWEEP_SOURCE:-}" "${BLLARSE_TASK_ORDER:-}"; do
  [[ -z $path || $path == "$root"/* ]] || arguments+=(--volume "$path:$path")
done
program=bllarse-sweep
if [[ -n ${BLLARSE_SWEEP_EXECUTABLE:-} ]]; then
  program=$BLLARSE_SWEEP_EXECUTABLE
  arguments+=(--volume "$(dirname "$program"):$(dirname "$program"):ro")
fi
# By name only: a value on the command line could be read by everybody on the node.
for variable in MLFLOW_PARENT_RUN_ID MLFLOW_TRACKING_URI MLFLOW_EXPERIMENT_NAME BLLARSE_REPO_ROOT \
  HF_TOKEN MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN VENV_NAME \
  BLLARSE_SWEEP_SOURCE BLLARSE_SWEEP_DIR SLURM_JOB_ID SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID \
  SLURM_RESTART_COUNT SLURMD_NODENAME SLURM_CPUS_PER_TASK; do
  [[ -z ${!variable:-} ]] || arguments+=(--env "$variable")
done

trap 'docker rm --force "$name" >/dev/null 2>&1' EXIT
# The run goes on in the background, so that the shell can act on signals at once.
child=
# shellcheck disable=SC2317
forward() { [[ -z $child ]] || kill -s "$1" "$child" 2>/dev/null; }
trap 'forward USR1' USR1
trap 'forward TERM' TERM
docker run "${arguments[@]}" "$image" "$program" run-config "$sweep" "$index" &
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
