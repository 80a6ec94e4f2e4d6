# shellcheck shell=bash
# A container by Linux's own means, for the stand-ins of engines. Needs root.
#
# What is isolated: the file system (a new root with the system directories of this machine, read
# only, an empty /tmp, and the mounts; nothing else can be seen), the environment (the variables in
# `keep`), the network unless it is the host's, user and groups. What is not: processes, limits.
set -uo pipefail

user=0:0 groups='' workdir=/ network=host
keep=()
table=()  # DEPTH<tab>TARGET<tab>SOURCE<tab>MODE; an empty source is an empty directory

refuse() {
  echo "$(basename "$0"): $*" >&2
  exit 125
}

add_mount() { table+=("$(tr -cd / <<<"$1" | wc -c)"$'\t'"$1"$'\t'"$2"$'\t'"$3"); }

# SOURCE:TARGET:MODE
add_binding() {
  local parts
  IFS=: read -ra parts <<<"$1"
  [[ ${#parts[@]} == 3 && ${parts[0]} == /* && ${parts[1]} == /* ]] || refuse "invalid mount '$1'"
  [[ -e ${parts[0]} ]] || refuse "the mount's source ${parts[0]} does not exist"
  add_mount "${parts[1]}" "${parts[0]}" "${parts[2]}"
}

# Becomes the words in the container.
enter() {
  local name namespaces=(--mount) kept=" PATH ${keep[*]} "
  [[ $network == host ]] || namespaces+=(--net)
  while IFS= read -r name; do
    [[ $kept == *" $name "* ]] || unset "$name"
  done < <(compgen -e)
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  # shellcheck disable=SC2016
  exec unshare "${namespaces[@]}" bash -c "$(declare -f build_root); build_root \"\$@\"" bash \
    "$user" "${groups#,}" "$workdir" "$(printf '%s\n' "${table[@]}" | sort -n)" "$@"
}

# Makes the new root on /mnt, of which nothing is seen outside of this mount namespace.
build_root() {
  local user=$1 groups=$2 workdir=$3 lines=$4 root=/mnt directory target source mode
  shift 4
  set -e
  mount --make-rprivate /
  mount -t tmpfs -o mode=755 stub "$root"
  mkdir -m 1777 "$root/tmp"
  for directory in /bin /etc /lib /lib64 /opt /sbin /usr; do
    if [[ -L $directory ]]; then
      cp -P "$directory" "$root$directory"
    elif [[ -d $directory ]]; then
      mkdir "$root$directory"
      mount --bind "$directory" "$root$directory"
      mount -o remount,bind,ro "$root$directory"
    fi
  done
  for directory in /dev /proc; do
    mkdir "$root$directory"
    mount --rbind "$directory" "$root$directory"
  done
  while IFS=$'\t' read -r _ target source mode; do
    [[ -n $target ]] || continue
    if [[ -z $source ]]; then
      mkdir -p "$root$target"
      mount -t tmpfs -o mode=1777 stub "$root$target"
      continue
    fi
    if [[ -d $source ]]; then
      mkdir -p "$root$target"
    else
      mkdir -p "$(dirname "$root$target")"
      [[ -e $root$target ]] || : >"$root$target"
    fi
    mount --bind "$source" "$root$target"
    [[ $mode != ro ]] || mount -o remount,bind,ro "$root$target"
  done <<<"$lines"
  exec chroot --userspec="$user" --groups="$groups" "$root" env --chdir="$workdir" "$@"
}
