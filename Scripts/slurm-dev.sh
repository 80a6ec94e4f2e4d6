#!/usr/bin/env bash
# A real one-node SLURM cluster on the loopback interface, for tests and for trying things out.
#
#   slurm-dev.sh up         start munged, slurmctld and slurmd, and wait until the node takes jobs
#   slurm-dev.sh down       stop what `up` started, and nothing else
#   slurm-dev.sh env        print what points SLURM's commands at it: eval "$(slurm-dev.sh env)"
#   slurm-dev.sh kill-node  end slurmd and all its jobs at once, as a power failure would
#   slurm-dev.sh kill-slurmd end slurmd only; its jobs go on
#   slurm-dev.sh start-node start slurmd again
#
# Needs root (slurmd starts jobs as their owners) and the packages slurm-wlm and munge; for accounting
# slurmdbd, mariadb-server-core and mariadb-client-core too, which do not run as services.
# Everything it writes is under $SLURM_DEV_DIR.
#
#   SLURM_DEV_DIR    directory of the cluster        (/tmp/bllarse-slurm)
#   SLURM_DEV_PORT   the first of four TCP ports     (26817)
#   SLURM_DEV_CPUS   processors that the node offers (4)
#   SLURM_DEV_OWNER  a process: when it is gone the cluster goes down by itself
#   SLURM_DEV_ACCOUNTING  1: with slurmdbd on a MariaDB of its own, for sacct and sacctmgr
#   SLURM_DEV_MIN_JOB_AGE seconds for which the controller remembers ended jobs (600)
set -euo pipefail

dir=${SLURM_DEV_DIR:-/tmp/bllarse-slurm}
port=${SLURM_DEV_PORT:-26817}
cpus=${SLURM_DEV_CPUS:-4}
accounting=${SLURM_DEV_ACCOUNTING:-0}
min_job_age=${SLURM_DEV_MIN_JOB_AGE:-600}
conf=$dir/slurm.conf
host=$(hostname -s)
script=$(realpath "$0")
export PATH=$PATH:/usr/sbin:/sbin

fail() {
  echo "slurm-dev: $*" >&2
  exit 1
}

# SLURM's commands read dozens of variables, which inside a job would be the outer cluster's.
for name in "${!SLURM_@}" "${!SBATCH_@}" "${!SQUEUE_@}" "${!SACCT_@}"; do
  [[ $name == SLURM_DEV_* ]] || unset "$name"
done

# A process id may be a stranger's by now: ours carry this directory in their environment.
ours() {
  [[ -n ${1:-} && -r /proc/$1/environ ]] &&
    tr '\0' '\n' 2>/dev/null <"/proc/$1/environ" | grep -qxF "SLURM_DEV_INSTANCE=$dir"
}
pid_of() { [[ -s $dir/run/$1.pid ]] && cat "$dir/run/$1.pid"; }
alive() { ours "$(pid_of "$1")"; }

# A daemon keeps no descriptor of its caller, who may wait for the end of all that hold it.
launch() {
  local name=$1 fd
  shift
  (
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      ((fd <= 2)) || eval "exec $fd>&-" 2>/dev/null || true
    done
    cd "$dir"
    exec setsid env -i PATH="$PATH" HOME=/root LANG=C.UTF-8 SLURM_CONF="$conf" \
      SLURM_DEV_INSTANCE="$dir" "$@" </dev/null >>"$dir/log/$name.out" 2>&1
  ) &
  echo $! >"$dir/run/$name.pid"
}

wait_until() {
  local what=$1
  shift
  local end=$((SECONDS + 90))
  while ((SECONDS < end)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  tail -n 5 "$dir"/log/*.log >&2 || true
  fail "waited 90 s for $what"
}

stop() {
  local pid
  pid=$(pid_of "$1") || return 0
  if ours "$pid"; then
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
      ours "$pid" || break
      sleep 0.1
    done
    ours "$pid" && kill -KILL "$pid"
  fi
  rm -f "$dir/run/$1.pid"
}

accounting_configuration() {
  if [[ $accounting != 1 ]]; then
    echo AccountingStorageType=accounting_storage/none
    return
  fi
  cat <<CONF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 2))
# With munge the password is the path of its socket.
AccountingStoragePass=$dir/run/munge.socket
AccountingStorageEnforce=limits
CONF
}

# A database of its own, and slurmdbd on it.
start_accounting() {
  local password
  if ! alive mariadbd; then
    if [[ ! -d $dir/database/mysql ]]; then
      mariadb-install-db --no-defaults --user=root --datadir="$dir/database" --skip-test-db \
        >"$dir/log/mariadb-install-db.out" 2>&1 || fail "mariadb-install-db: $(tail -n 1 "$dir/log/mariadb-install-db.out")"
    fi
    password=$(head -c 18 /dev/urandom | base64)
    (
      umask 077
      cat >"$dir/run/mariadbd.sql" <<SQL
CREATE USER IF NOT EXISTS slurm@'127.0.0.1';
ALTER USER slurm@'127.0.0.1' IDENTIFIED BY '$password';
GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1';
SQL
      cat >"$dir/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$((port + 2))
SlurmUser=root
PidFile=$dir/run/slurmdbd.own.pid
LogFile=$dir/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 3))
StorageUser=slurm
StoragePass=$password
StorageLoc=slurm_acct_db
CONF
    )
    : >"$dir/log/mariadbd.out"
    launch mariadbd mariadbd --no-defaults --user=root --datadir="$dir/database" \
      --socket="$dir/run/mariadbd.socket" --pid-file="$dir/run/mariadbd.own.pid" \
      --bind-address=127.0.0.1 --port=$((port + 3)) --skip-name-resolve \
      --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 \
      --init-file="$dir/run/mariadbd.sql"
    wait_until "the database" grep -q "ready for connections" "$dir/log/mariadbd.out"
  fi
  alive slurmdbd || launch slurmdbd slurmdbd -D
  wait_until slurmdbd accounting_works
  sacctmgr_quietly add cluster bllarse
  sacctmgr_quietly add account dev
  sacctmgr_quietly add user root account=dev defaultaccount=dev
}

accounting_works() { SLURM_CONF=$conf timeout 5 sacctmgr --noheader show cluster; }
# What is there already is no error.
sacctmgr_quietly() {
  SLURM_CONF=$conf timeout 20 sacctmgr --immediate --quiet "$@" >>"$dir/log/sacctmgr.out" 2>&1 || true
}

# Waits for the end of the owner, or of the cluster; an ended process that nobody has waited for is gone too.
watch_owner() {
  local owner=$1
  runs() { grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null; }
  while runs "$owner"; do
    [[ -e $dir/run/slurmctld.pid ]] || return 0
    sleep 1
  done
  "$script" down
}

write_configuration() {
  local memory
  memory=$(awk '/^MemTotal:/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
  cat >"$conf" <<CONF
ClusterName=bllarse
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job starts again only when its old credential has expired, by default after 120 s.
AuthInfo=socket=$dir/run/munge.socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/run/slurmctld.own.pid
SlurmdPidFile=$dir/run/slurmd.own.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# A job over its memory is ended as OUT_OF_MEMORY, without cgroups.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=task=1
$(accounting_configuration)
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=400
MpiDefault=none
MaxArraySize=1001
MinJobAge=$min_job_age
KillWait=5
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus Boards=1 SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1 RealMemory=$memory State=UNKNOWN
PartitionName=dev Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
}

node_state() { SLURM_CONF=$conf timeout 10 sinfo --noheader --format=%T; }
node_is_ready() { [[ $(node_state) =~ ^(idle|mixed|allocated|completing)$ ]]; }
munge_works() {
  munge --socket="$dir/run/munge.socket" --no-input | unmunge --socket="$dir/run/munge.socket"
}
controller_works() { SLURM_CONF=$conf timeout 10 scontrol ping | grep -q 'is UP'; }

start_node() {
  alive slurmd || launch slurmd slurmd -D -f "$conf"
  for _ in $(seq 20); do
    node_is_ready && return
    sleep 0.2
  done
  SLURM_CONF=$conf scontrol update NodeName="$host" State=RESUME 2>/dev/null || true
  wait_until "the node" node_is_ready
}

# Every process of the cluster's jobs, by the configuration in its environment.
job_processes() {
  local process pid
  for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    [[ $pid != "$$" && -r $process/environ ]] || continue
    if tr '\0' '\n' 2>/dev/null <"$process/environ" | grep -qxF "SLURM_CONF=$conf"; then
      if [[ $(cat "$process/comm" 2>/dev/null) == slurmstepd ]] ||
        tr '\0' '\n' 2>/dev/null <"$process/environ" | grep -q '^SLURM_JOB_ID='; then
        echo "$pid"
      fi
    fi
  done
}

case ${1:-} in
  up)
    [[ $(id -u) == 0 ]] || fail "needs root: slurmd starts jobs as their owners"
    for program in munged slurmctld slurmd; do
      command -v "$program" >/dev/null || fail "no $program: apt-get install slurm-wlm munge"
    done
    address=$(getent ahostsv4 "$host" | awk 'NR == 1 {print $1}')
    [[ $address == 127.* ]] ||
      fail "the host name $host means '$address', not loopback; put '127.0.0.1 $host' into /etc/hosts"
    if [[ -d $dir && ! -e $dir/.slurm-dev && -n $(ls -A "$dir") ]]; then
      fail "$dir is not empty and not mine; set SLURM_DEV_DIR"
    fi
    mkdir -p "$dir"/{state,spool,log,run,munge}
    chmod 755 "$dir" "$dir/run"
    chmod 700 "$dir/munge"
    : >"$dir/.slurm-dev"
    alive slurmctld || write_configuration
    if ! alive munged; then
      [[ -s $dir/munge/key ]] || (umask 077 && head -c 128 /dev/urandom >"$dir/munge/key")
      rm -f "$dir/run/munge.socket" "$dir/run/munge.socket.lock"
      launch munged munged --foreground --socket="$dir/run/munge.socket" \
        --key-file="$dir/munge/key" --seed-file="$dir/munge/seed" \
        --pid-file="$dir/run/munged.own.pid" --log-file="$dir/log/munged.log"
      wait_until munge munge_works
    fi
    if [[ $accounting == 1 ]]; then
      for program in mariadbd mariadb-install-db my_print_defaults slurmdbd; do
        command -v "$program" >/dev/null || fail "no $program: apt-get install mariadb-server-core mariadb-client-core slurmdbd"
      done
      start_accounting
    fi
    alive slurmctld || launch slurmctld slurmctld -D -f "$conf"
    wait_until "the controller" controller_works
    start_node
    [[ -z ${SLURM_DEV_OWNER:-} ]] || launch watch env SLURM_DEV_DIR="$dir" "$script" watch "$SLURM_DEV_OWNER"
    echo "slurm-dev: up; export SLURM_CONF=$conf"
    ;;
  down)
    if alive slurmctld; then
      SLURM_CONF=$conf timeout 10 scancel --user=root 2>/dev/null || true
    fi
    stop slurmd
    for pid in $(job_processes); do kill -KILL "$pid" 2>/dev/null || true; done
    stop slurmctld
    stop slurmdbd
    stop mariadbd
    stop munged
    echo "slurm-dev: down"
    ;;
  kill-node)
    pid=$(pid_of slurmd) || fail "slurmd does not run"
    ours "$pid" && kill -KILL "$pid"
    for pid in $(job_processes); do kill -KILL "$pid" 2>/dev/null || true; done
    rm -f "$dir/run/slurmd.pid"
    ;;
  kill-slurmd)
    pid=$(pid_of slurmd) || fail "slurmd does not run"
    ours "$pid" && kill -KILL "$pid"
    rm -f "$dir/run/slurmd.pid"
    ;;
  start-node) start_node ;;
  watch) watch_owner "$2" ;;
  env) echo "export SLURM_CONF=$conf" ;;
  *)
    sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 64
    ;;
esac
