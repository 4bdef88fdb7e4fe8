#!/usr/bin/env bash
# A long link: what does haul reach of what a bare copy over TCP reaches, what does a round trip cost a tree, and how many
# of them does the handshake cost?
#
#   NEAR='ip netns exec a' FAR='ip netns exec b' benches/link.sh HOST large [ROUNDS]    bare copy and haul by turns
#   NEAR=... FAR=... benches/link.sh HOST handshake [ROUNDS]    1 KiB in clear and encrypted by turns
#   NEAR=... FAR=... SHORT_NEAR=... SHORT_FAR=... benches/link.sh HOST tree [ROUNDS]     100,000 files of 1 KiB
#
# NEAR and FAR are put before the commands of the sender and of the receiver; HOST is the receiver's address. Both see the
# same files: they are two network namespaces of one machine, with a link between them. `tree` goes over this link and
# over a shorter one by turns. Needs OpenBSD's nc, GNU time, 2 GiB of /dev/shm (another folder: DIR).
set -euo pipefail

host=${1:?the address of the receiver}
what=${2:?large, tree or handshake}
rounds=${3:-3}
cd "$(dirname "$0")/.."
[ -n "${HAUL:-}" ] || cargo build --release --locked --quiet
haul=${HAUL:-$PWD/target/release/haul}
# As nc does, in clear; KEYS= is what the command does by itself.
keys=${KEYS---insecure}
near=${NEAR:-} far=${FAR:-}
dir=$(mktemp -d "${DIR:-/dev/shm}/haul-link.XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
# Neither the keys nor the settings of who runs it.
export HAUL_CONFIG_DIR=$dir/keys
mkdir "$dir/in" "$dir/out"

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

listening() { until [ -s "$1" ]; do sleep 0.01; done; }

haul_once() { # FILE... ; seconds to $dir/seconds, memory to $dir/{send,receive}.kib, events to $dir/sent
  rm -rf "$dir/out" "$dir/events"
  mkdir "$dir/out"
  $far /usr/bin/time -o "$dir/receive.kib" -f %M "$haul" receive $keys "$dir/out" --listen "$host:0" --once --json -q \
    >"$dir/events" 2>"$dir/warning" &
  listening "$dir/events"
  address=$(head -n 1 "$dir/events" | sed 's/.*"address":"\([^"]*\)".*/\1/')
  $near /usr/bin/time -o "$dir/both" -f '%e %M' "$haul" send $keys "$@" "$address" --json -q >"$dir/sent"
  wait
  cut -d' ' -f1 "$dir/both" >"$dir/seconds"
  cut -d' ' -f2 "$dir/both" >"$dir/send.kib"
}

nc_once() { # FILE
  rm -f "$dir/copy" "$dir/nc"
  # shellcheck disable=SC2024
  $far nc -d -l -n -v "$host" 0 >"$dir/copy" 2>"$dir/nc" &
  listening "$dir/nc"
  port=$(grep -o '[0-9]*$' "$dir/nc" | head -n 1)
  $near /usr/bin/time -o "$dir/t" -f %e nc -N "$host" "$port" <"$1"
  wait
  cmp "$1" "$dir/copy"
  rm "$dir/copy"
}

case $what in
  large)
    size=${SIZE:-256M}
    head -c "$size" /dev/urandom >"$dir/in/file"
    for _ in $(seq "$rounds"); do
      nc_once "$dir/in/file"
      cat "$dir/t" >>"$dir/nc.seconds"
      haul_once "$dir/in/file"
      cat "$dir/seconds" >>"$dir/haul.seconds"
      cmp "$dir/in/file" "$dir/out/file"
    done
    bare=$(median <"$dir/nc.seconds") ours=$(median <"$dir/haul.seconds")
    echo "$size: bare copy $bare s, haul $ours s: $(awk "BEGIN { printf \"%.1f\", 100 * $bare / $ours }") % (medians of $rounds by turns)"
    ;;
  tree)
    for folder in $(seq 100); do
      mkdir -p "$dir/in/tree/$folder"
      head -c 1024000 /dev/urandom | (cd "$dir/in/tree/$folder" && split -b 1024 -a 4 - file-)
    done
    long_near=$near long_far=$far
    for _ in $(seq "$rounds"); do
      near=$long_near far=$long_far
      haul_once "$dir/in/tree"
      long=$(cat "$dir/seconds")
      diff -r "$dir/in/tree" "$dir/out/tree"
      echo "memory: sender $(($(cat "$dir/send.kib") / 1024)) MiB, receiver $(($(cat "$dir/receive.kib") / 1024)) MiB"
      near=$SHORT_NEAR far=$SHORT_FAR
      haul_once "$dir/in/tree"
      short=$(cat "$dir/seconds")
      echo "long link $long s, short link $short s"
      awk "BEGIN { print $long - $short }" >>"$dir/differences"
    done
    echo "100,000 files of 1 KiB: $(median <"$dir/differences") s more over the long link (median of $rounds by turns)"
    ;;
  handshake)
    head -c 1024 /dev/urandom >"$dir/in/file"
    for _ in $(seq "$rounds"); do
      for keys in --insecure ''; do
        haul_once "$dir/in/file"
        cat "$dir/seconds" >>"$dir/${keys:-encrypted}.seconds"
        cmp "$dir/in/file" "$dir/out/file"
      done
    done
    echo "1 KiB: in clear $(median <"$dir/--insecure.seconds") s, encrypted $(median <"$dir/encrypted.seconds") s (medians of $rounds by turns)"
    ;;
  *)
    echo "large, tree or handshake, not $what" >&2
    exit 2
    ;;
esac
