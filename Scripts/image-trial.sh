#!/usr/bin/env bash
# Carries out the steps of the Dockerfile, or of bllarse.def, in bare Debian trees, where no container
# engine is: every RUN, COPY, ENV, USER and WORKDIR, one stage after another.
#
#   Scripts/image-trial.sh FOLDER [Dockerfile | bllarse.def]
#
# FOLDER/STAGE is the tree of a stage; those that are there are kept. FOLDER/debian is what stands for
# Debian's image, FOLDER/swift for Swift's: the packages that it has, and this machine's toolchain.
# Then the last stage fits a head to the digits, as the user that it names. Needs root, debootstrap, and
# minutes; what is not tried is the engine itself and its base images.
set -euo pipefail
[[ $# -ge 1 && $1 != -* ]] || {
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 64
}
mkdir -p "$1"
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
recipe=${2:-Dockerfile}
toolchain=$(dirname "$(dirname "$(dirname "$(realpath "$(command -v swift)")")")")
say() { echo "trial: $*" >&2; }

# What swift:*-bookworm has beside the toolchain.
swift_packages=(binutils gcc git gnupg2 libcurl4-openssl-dev libedit2 libgcc-12-dev libncurses-dev
  libpython3-dev libsqlite3-0 libstdc++-12-dev libxml2-dev libz3-dev pkg-config tzdata zlib1g-dev)

# enter TREE USER DIRECTORY VARIABLES... -- WORDS: runs them there, with this machine's toolchain and
# git's mirrors where the tree is one of Swift's.
enter() {
  local tree=$1 user=$2 directory=$3 variables=()
  shift 3
  while [[ $1 != -- ]]; do
    variables+=("$1")
    shift
  done
  shift
  # shellcheck disable=SC2016
  unshare --mount bash -c '
    set -e
    tree=$1 user=$2 directory=$3 toolchain=$4
    shift 4
    mount --make-rprivate /
    mount --rbind /proc "$tree/proc"
    mount --rbind /dev "$tree/dev"
    cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
    if [[ -e $tree/.swift ]]; then
      mkdir -p "$tree/opt/toolchain"
      mount --bind "$toolchain" "$tree/opt/toolchain"
      if [[ -e /etc/gitconfig && -d /opt/swift-packages ]]; then
        cp /etc/gitconfig "$tree/etc/gitconfig"
        mkdir -p "$tree/opt/swift-packages"
        mount --bind /opt/swift-packages "$tree/opt/swift-packages"
      fi
    fi
    exec chroot --userspec="$user" "$tree" env --ignore-environment "$@"
  ' bash "$tree" "$user" "$directory" "$toolchain" --chdir="$directory" \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/toolchain/usr/bin \
    HOME=/root LANG=C.UTF-8 "${variables[@]}" "$@"
}

# base NAME: the tree that stands for an image.
base() {
  local tree
  [[ -d $folder/debian ]] || {
    say "debootstrap of Debian 12"
    debootstrap --variant=minbase bookworm "$folder/debian.part" >"$folder/debootstrap.log"
    mv "$folder/debian.part" "$folder/debian"
  }
  case $1 in
    debian:*) echo "$folder/debian" ;;
    swift:*)
      tree=$folder/swift
      if [[ ! -e $tree/.swift ]]; then
        say "the packages of Swift's image"
        rm -rf "$tree"
        cp -a "$folder/debian" "$tree"
        enter "$tree" root / DEBIAN_FRONTEND=noninteractive -- sh -c \
          "apt-get update -qq && apt-get install -y -qq --no-install-recommends ${swift_packages[*]} ca-certificates" >&2
        : >"$tree/.swift"
      fi
      echo "$tree"
      ;;
    *) [[ -d $folder/$1 ]] && echo "$folder/$1" ;;
  esac
}

# The state of a stage.
stage='' tree='' user=root directory=/ environment=()
kept=no  # whether the stage's tree was there

begin() {
  local image=$1
  stage=$2 kept=no
  [[ -n $stage ]] || { say "a stage has no name" && exit 1; }
  tree=$folder/$stage
  if [[ -e $tree/.done ]]; then
    say "stage $stage is kept"
    kept=yes
  else
    rm -rf "$tree"
    cp -a "$(base "$image")" "$tree"
    rm -f "$tree/.done"
  fi
  [[ -d $folder/$image ]] || { user=root directory=/ environment=(); }
}
finish() { [[ -z $tree ]] || : >"$tree/.done"; }
run() {
  [[ $kept == no ]] || return 0
  say "$stage, as $user: ${1:0:100}"
  enter "$tree" "$user" "$directory" "${environment[@]}" -- "$2" -c "$1"
}
# copy FROM TARGET SOURCES...
copy() {
  local from=$1 target=$2 source
  shift 2
  [[ $kept == no ]] || return 0
  [[ $target == /* ]] || target=${directory%/}/$target
  for source in "$@"; do
    [[ -e $from/$source ]] || { say "there is no $source to copy" && exit 1; }
    if [[ -d $from/$source ]]; then
      mkdir -p "$tree$target"
      cp -a "$from/$source/." "$tree$target"
    elif [[ $target == */ ]]; then
      mkdir -p "$tree$target"
      cp -a "$from/$source" "$tree$target"
    else
      mkdir -p "$tree$(dirname "$target")"
      cp -a "$from/$source" "$tree$target"
    fi
  done
}

docker_steps() {
  local word rest words arguments=() name
  while IFS= read -r rest; do
    word=${rest%% *}
    rest=${rest#* }
    for name in "${arguments[@]}"; do rest=${rest//"\${${name%%=*}}"/"${name#*=}"}; done
    read -ra words <<<"$rest"
    case $word in
      ARG) arguments+=("$rest") ;;
      FROM)
        finish
        begin "${words[0]}" "${words[2]:-}"
        ;;
      RUN) run "$rest" sh ;;
      ENV) environment+=("$rest") ;;
      USER) user=$rest ;;
      WORKDIR)
        directory=$rest
        mkdir -p "$tree$directory"
        ;;
      COPY)
        if [[ $rest == --from=* ]]; then
          copy "$folder/${words[0]#--from=}" "${words[-1]}" "${words[@]:1:${#words[@]}-2}"
        else
          copy . "${words[-1]}" "${words[@]:0:${#words[@]}-1}"
        fi
        ;;
      CMD) ;;
      *) say "unknown step $word" && exit 1 ;;
    esac
  done < <(sed -e '/^ *#/d' -e '/^ *$/d' Dockerfile | sed -e ':a' -e '/\\$/N; s/\\\n *//; ta')
  finish
}

apptainer_steps() {
  local line section='' image='' script=''
  close_section() {
    if [[ $section == %post ]]; then run "$script" sh; fi
    section='' script=''
  }
  while IFS= read -r line; do
    case $line in
      \#* | '') ;;
      Bootstrap:*) close_section ;;
      From:*) image=${line#From: } ;;
      Stage:*)
        finish
        begin "$image" "def-${line#Stage: }"
        ;;
      %files\ from\ *) close_section && section=$line ;;
      %*) close_section && section=${line%% *} ;;
      *)
        read -ra words <<<"$line"
        case $section in
          %files) copy . "${words[1]}" "${words[0]}" ;;
          %files\ from\ *) copy "$folder/def-${section#%files from }" "${words[1]}" "${words[0]}" ;;
          %post) script+=$line$'\n' ;;
          %environment)
            line=${line#*export }
            environment+=("${line//\$PATH//usr/bin:/bin}")
            ;;
        esac
        ;;
    esac
  done <bllarse.def
  close_section
  finish
}

case $recipe in
  Dockerfile) docker_steps ;;
  bllarse.def) apptainer_steps ;;
  *) say "unknown recipe '$recipe'" && exit 64 ;;
esac
kept=no
directory=/tmp
run 'bllarse-finetune --output /tmp/trial && bllarse-sweep --version && bllarse-mlflow --help >/dev/null && id' sh
say "done: $tree"
