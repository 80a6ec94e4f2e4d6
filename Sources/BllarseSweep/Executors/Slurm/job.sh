fail() {
  echo "bllarse: $*" >&2
  exit 1
}

# Activates the Python environment of --venv, on the node itself.
activate_venv() {
  [[ -n ${VENV_NAME:-} ]] || return 0
  if [[ ! -f $VENV_NAME/bin/activate ]]; then
    fail "the Python environment $VENV_NAME (--venv) has no bin/activate on node $node;" \
      "make it where the nodes see it, or exclude the node (--exclude-nodes)"
  fi
  # Other people's scripts read variables that are not set.
  set +u
  # shellcheck disable=SC1091
  source "$VENV_NAME/bin/activate" || fail "$VENV_NAME/bin/activate failed on node $node"
  set -u
}

# Runs the words as this task, and ends as they end.
run_task() {
  local child='' code state
  # The run goes on in the background, so that the shell can act on signals at once.
  # shellcheck disable=SC2317
  forward() { [[ -z $child ]] || kill -s "$1" "$child" 2>/dev/null; }
  trap 'forward USR1' USR1
  trap 'forward TERM' TERM
  "$@" &
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
}
