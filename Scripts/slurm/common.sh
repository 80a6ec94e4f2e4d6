# shellcheck shell=bash
# What the job scripts of this folder and container-run share. It is sourced, never run.
#
# SLURM runs a copy of a job script, in a directory of its own: `bllarse-sweep submit` copies this
# file into the submission's directory, which BLLARSE_SWEEP_SCRIPTS names.
#
# A container sees the working directory and the paths that follow from what it is given, at the
# same place as the node, and these variables: HOME, USER, LOGNAME, PYTHONPATH, OMP_NUM_THREADS,
# XDG_CACHE_HOME, VENV_NAME, HF_*, MLFLOW_*, BLLARSE_*, the proxies' and certificates', the task's.
#   BLLARSE_REPO_ROOT        a directory that is mounted besides
#   BLLARSE_CONTAINER_MOUNT  more paths, one a line or with colons between them
#   BLLARSE_CONTAINER_ENV    names of more variables, with spaces between them
set -uo pipefail

node=${SLURMD_NODENAME:-$(hostname)}

note() { echo "bllarse: note: $*" >&2; }

# MARK: The task; up to read_task what generated job scripts hold too

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

# Sets `sweep` and `index`.
read_task() {
  sweep=${BLLARSE_SWEEP_DIR:-${BLLARSE_SWEEP_SOURCE:-}}
  [[ -n $sweep ]] || fail "BLLARSE_SWEEP_SOURCE is not set; submit with bllarse-sweep submit"
  [[ -n ${SLURM_ARRAY_TASK_ID:-} ]] ||
    fail "SLURM_ARRAY_TASK_ID is not set: this is no task of a job array"
  index=$((SLURM_ARRAY_TASK_ID + ${INDEX_OFFSET:-0}))
  if [[ -n ${BLLARSE_TASK_ORDER:-} ]]; then
    index=$(sed -n "$((index + 1))p" "$BLLARSE_TASK_ORDER")
    [[ -n $index ]] || fail "$BLLARSE_TASK_ORDER cannot be read on node $node, or has no such line"
  fi
}

# MARK: What a container is given

names=()   # variables, by name: a value on a command line could be read by everyone on the node
mounts=()  # PATH:PATH:MODE
program_directory=  # of the node's bllarse-sweep, as the container sees it

# Fills `names` with those of the variables that are set.
collect_names() {
  local name
  for name in ${BLLARSE_CONTAINER_ENV:-}; do
    [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] ||
      fail "BLLARSE_CONTAINER_ENV takes names of variables, with spaces between them;" \
        "'${name%%=*}' is followed by something else"
  done
  for name in USER LOGNAME PYTHONPATH OMP_NUM_THREADS XDG_CACHE_HOME VENV_NAME \
    {http,https,no,all}_proxy {HTTP,HTTPS,NO,ALL}_PROXY \
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE INDEX_OFFSET SLURM_JOB_ID \
    SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID SLURM_RESTART_COUNT SLURMD_NODENAME \
    SLURM_CPUS_PER_TASK "${!HF_@}" "${!MLFLOW_@}" "${!BLLARSE_@}" ${BLLARSE_CONTAINER_ENV:-}; do
    [[ -z ${!name+set} ]] || names+=("$name")
  done
}

# What the image must have itself; a node's own would hide it.
is_system() {
  case $1 in
    / | /boot | /etc | /opt | /usr | /usr/local | /usr/share | /var) return 0 ;;
    /bin | /dev | /lib | /lib32 | /lib64 | /proc | /run | /sbin | /sys) return 0 ;;
    /bin/* | /dev/* | /lib/* | /lib32/* | /lib64/* | /proc/* | /run/* | /sbin/* | /sys/*) return 0 ;;
    /usr/bin | /usr/lib | /usr/lib64 | /usr/libexec | /usr/sbin | /usr/local/bin | /usr/local/lib) return 0 ;;
    /usr/bin/* | /usr/lib/* | /usr/lib64/* | /usr/libexec/* | /usr/sbin/* | /usr/local/bin/* | /usr/local/lib/*) return 0 ;;
  esac
  return 1
}

# give PATH [MODE]: the container sees the path where the node has it.
give() {
  local path mode=${2:-rw} known
  path=$(realpath --no-symlinks --canonicalize-missing -- "$1")
  [[ -e $path ]] || return 1
  ! is_system "$path" || return 0
  if [[ $path == *[:,$'\n']* ]]; then
    fail "the path '$path' cannot be mounted into a container: it has a colon or a comma;" \
      "rename it, or name a link to it"
  fi
  for known in "${mounts[@]}"; do
    known=${known%%:*}
    [[ $path != "$known" && $path != "$known"/* ]] || return 0
  done
  mounts+=("$path:$path:$mode")
}

# The same for a path that a variable names; one that is not there is told.
give_named() {
  [[ -n $2 ]] || return 0
  give "$2" || note "$1 names $2, which is not on node $node: the container does not have it"
}

# The paths that the variables name.
give_variables() {
  local name value entry
  for name in "${names[@]}"; do
    value=${!name}
    case $name in
      # Programs make these when they need them; what they put there must outlive the container.
      XDG_CACHE_HOME | HF_HOME | HF_HUB_CACHE | HF_DATASETS_CACHE | BLLARSE_MLFLOW_JOURNAL)
        [[ -z $value ]] || mkdir -p -- "$value" 2>/dev/null
        give_named "$name" "$value"
        ;;
      PYTHONPATH | BLLARSE_CONTAINER_MOUNT)
        while IFS= read -r -d : entry; do give_named "$name" "$entry"; done \
          < <(printf %s: "${value//$'\n'/:}")
        ;;
      MLFLOW_TRACKING_URI)
        [[ $value != sqlite:///?* ]] || give_named "$name" "$(dirname -- "${value#sqlite:///}")"
        ;;
      BLLARSE_APPTAINER_IMAGE | BLLARSE_DOCKER_IMAGE | BLLARSE_SWEEP_EXECUTABLE | \
        BLLARSE_SWEEP_SCRIPTS) ;;
      VENV_NAME)
        # It may also be in the image; the container says when it is nowhere.
        [[ -z $value ]] || give "$value" || true
        ;;
      *_DIR | *_ROOT | *_HOME | *_PATH | *_CACHE) give_named "$name" "$value" ;;
      *) [[ $value != /* ]] || give_named "$name" "$value" ;;
    esac
  done
  # The interpreter of a Python environment may be an installation of its own.
  value=$(sed -n 's/^home *= *\(.*\)\/bin *$/\1/p' "${VENV_NAME:-}/pyvenv.cfg" 2>/dev/null)
  [[ $value != /* ]] || give "$value" ro || true
}

# The paths that the task's configuration names, such as a file of features.
give_configured() {
  local segment start line='' path parent
  for segment in "$sweep"/manifest/*.jsonl; do
    start=${segment##*/}
    start=${start%.jsonl}
    if [[ $start =~ ^[0-9]+$ ]] && ((10#$start <= index)); then
      line=$(sed -n "$((index - 10#$start + 1))p" "$segment")
    fi
  done
  while IFS= read -r path; do
    path=${path//\"/}
    path=${path#sqlite:///}
    give "$path" && continue
    # What is to be written is not there yet. All of HOME is not given on that account.
    parent=$(dirname -- "$path")
    [[ $parent == /*/* && $parent != "${HOME:-/}" ]] && give "$parent"
  done < <(grep -oE '"(sqlite:///)?/[^"\\]+"' <<<"$line")
}

# HOME itself is passed; of what is in it the credentials file, or all when the variable named by the
# first argument is 1. Sets `empty_home` where an empty one is needed.
give_home() {
  local known
  empty_home=
  if [[ ${HOME:-} != /?* ]]; then
    note "HOME is not set on node $node: credentials files are not found"
    return
  fi
  if [[ ${!1:-0} == 1 ]]; then
    give_named HOME "$HOME"
    return
  fi
  for known in "${mounts[@]}"; do
    known=${known%%:*}
    [[ $HOME != "$known" && $HOME != "$known"/* ]] || return 0
  done
  empty_home=$HOME
  [[ ! -f $HOME/.mlflow/credentials ]] || give "$HOME/.mlflow/credentials" ro
}

# The node's own program, which the container runs when it can.
give_program() {
  local directory
  [[ ${BLLARSE_SWEEP_EXECUTABLE:-} == /* ]] || return 0
  directory=$(dirname -- "$BLLARSE_SWEEP_EXECUTABLE")
  [[ -d $directory ]] || return 0
  program_directory=$directory
  if is_system "$directory"; then
    program_directory=/opt/bllarse-node
    mounts+=("$directory:$program_directory:ro")
  else
    give "$directory" ro
  fi
}

# Everything, in an order in which wider mounts come first. The argument as for give_home.
prepare_container() {
  collect_names
  give "$PWD"
  give_variables
  [[ -z ${sweep:-} ]] || { give "$sweep" && give_configured; }
  give_program
  give_home "$1"
}

# MARK: In the container

# This function is handed to the container's bash: activates the Python environment, and becomes the
# words. The node's bllarse-sweep is that of the submission; where the image has not the libraries
# that it needs, the image's own is run.
in_container() {
  local node=$1 programs=$2 home=$3 reason
  shift 3
  fail() {
    echo "bllarse: $*" >&2
    exit 1
  }
  [[ -z $home ]] || export HOME=$home
  if [[ -n ${VENV_NAME:-} ]]; then
    if [[ ! -f $VENV_NAME/bin/activate ]]; then
      fail "the Python environment $VENV_NAME (--venv) has no bin/activate in the container on" \
        "node $node; make it where the nodes see it or in the image, or exclude the node (--exclude-nodes)"
    fi
    # shellcheck disable=SC1091
    source "$VENV_NAME/bin/activate" || fail "$VENV_NAME/bin/activate failed in the container"
    if [[ -L $VENV_NAME/bin/python && ! -e $VENV_NAME/bin/python ]]; then
      fail "the Python environment $VENV_NAME needs $(readlink "$VENV_NAME/bin/python"), which the" \
        "container on node $node does not have; make the environment with the image's Python" \
        "(container-run python3 -m venv), or add its directory to BLLARSE_CONTAINER_MOUNT"
    fi
  fi
  if [[ $1 == bllarse-sweep && -n $programs ]]; then
    if reason=$("$programs/bllarse-sweep" --version 2>&1) &&
      { [[ ! -x $programs/bllarse-finetune ]] ||
        reason=$("$programs/bllarse-finetune" --version 2>&1); }; then
      shift
      set -- "$programs/bllarse-sweep" "$@"
    elif command -v bllarse-sweep >/dev/null; then
      echo "bllarse: note: running the image's own bllarse-sweep;" \
        "the node's does not run in it: ${reason##*$'\n'}" >&2
    else
      fail "on node $node the image has no bllarse-sweep, and $programs/bllarse-sweep does not" \
        "run in it: ${reason##*$'\n'}; build the image of the Dockerfile or of bllarse.def," \
        "or add what is missing to yours"
    fi
  fi
  command -v -- "$1" >/dev/null || fail "on node $node the image has no $1"
  exec "$@"
}

# Sets `inside`: the words that run those of the caller in a container. The argument is HOME, where
# the engine does not take it as a variable.
prepare_inside() {
  inside=(bash -c "$(declare -f in_container); in_container \"\$@\"" bash "$node" "$program_directory" "$1")
}

# MARK: Docker

# Sets `container`: the words before those that run in the container. The argument is its name.
prepare_docker() {
  local image=${BLLARSE_DOCKER_IMAGE:-bllarse-dev} reason known group
  command -v docker >/dev/null ||
    fail "docker is not on node $node; exclude the node (--exclude-nodes)"
  if ! reason=$(docker image inspect "$image" 2>&1 >/dev/null); then
    if [[ $reason == *connect* || $reason == *denied* ]]; then
      fail "docker does not answer on node $node: ${reason%%$'\n'*}"
    fi
    fail "the Docker image $image is not on node $node;" \
      "load it there, exclude the node (--exclude-nodes), or set BLLARSE_DOCKER_IMAGE"
  fi
  prepare_container BLLARSE_DOCKER_MOUNT_HOME
  # The node's network: a server may listen on the node only, or be known to its /etc/hosts.
  container=(docker run --rm --init --name "$1" --shm-size "${BLLARSE_DOCKER_SHM_SIZE:-8g}"
    --network "${BLLARSE_DOCKER_NETWORK:-host}" --user "$(id -u):$(id -g)" --workdir "$PWD")
  for group in $(id -G); do
    [[ $group == "$(id -g)" ]] || container+=(--group-add "$group")
  done
  [[ -z ${SLURM_CPUS_PER_TASK:-} ]] || container+=(--cpus "$SLURM_CPUS_PER_TASK")
  [[ -z ${SLURM_JOB_GPUS:-} ]] || container+=(--gpus "\"device=$SLURM_JOB_GPUS\"")
  # Without this Docker makes HOME for what is mounted below it, and makes it root's.
  [[ -z $empty_home ]] || container+=(--tmpfs "$empty_home:exec,mode=1777")
  for known in "${mounts[@]}"; do container+=(--volume "$known"); done
  for known in HOME "${names[@]}"; do
    [[ -z ${!known+set} ]] || container+=(--env "$known")
  done
  prepare_inside ""
  container+=("$image" "${inside[@]}")
}

# MARK: Apptainer

# Sets `container`: the words before those that run in the container.
prepare_apptainer() {
  local image=${BLLARSE_APPTAINER_IMAGE:-bllarse.sif} engine known prefix=APPTAINERENV_
  engine=$(command -v apptainer || command -v singularity) ||
    fail "neither apptainer nor singularity is on node $node; exclude the node (--exclude-nodes)"
  [[ $engine != */singularity ]] || prefix=SINGULARITYENV_
  if [[ $image != *://* && ! -e $image ]]; then
    fail "the Apptainer image $image is not on node $node;" \
      "put it there, exclude the node (--exclude-nodes), or set BLLARSE_APPTAINER_IMAGE"
  fi
  prepare_container BLLARSE_APPTAINER_MOUNT_HOME
  # A site may hold back environment and directories that Apptainer passes by default: these
  # variables arrive whatever it does, and values are taken as they are.
  export APPTAINER_NO_EVAL=1 SINGULARITY_NO_EVAL=1
  for known in "${names[@]}"; do export "$prefix$known=${!known}"; done
  container=("$engine" exec --pwd "$PWD")
  [[ -z ${SLURM_JOB_GPUS:-} ]] || container+=(--nv)
  for known in "${mounts[@]}"; do container+=(--bind "$known"); done
  # Apptainer refuses HOME as a variable.
  prepare_inside "${HOME:-}"
  container+=("$image" "${inside[@]}")
}
