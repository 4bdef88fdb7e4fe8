#!/usr/bin/env bash
# The command as a whole: is it at least as fast as `nc` where the network and the disk cost nothing, and how much
# memory does either side take, whatever is sent? What does a tree cost that the receiver has?
#
#   benches/command.sh [ROUNDS]       (default 5; needs OpenBSD's nc, GNU time, b3sum if there, 12 GiB of /dev/shm)
#
# Rounds of nc and haul alternate in one run; the ratio of the medians is what counts, not the seconds.
set -euo pipefail

rounds=${1:-5}
cd "$(dirname "$0")/.."
[ -n "${HAUL:-}" ] || cargo build --release --locked --quiet
haul=${HAUL:-$PWD/target/release/haul}
# As nc does, in clear; KEYS= is what the command does by itself.
keys=${KEYS---insecure}
dir=$(mktemp -d /dev/shm/haul-bench.XXXXXX)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
# Neither the keys nor the settings of who runs it.
export HAUL_CONFIG_DIR=$dir/keys
mkdir "$dir/in" "$dir/out"

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# Runs a receiver in the background and a sender once it listens; both report seconds and KiB to files.
listening() { until [ -s "$1" ]; do sleep 0.01; done; }

transfer() { # FILE... ; leaves seconds in $dir/seconds, the peak memory of both sides in $dir/{send,receive}.kib
  rm -rf "$dir/out" "$dir/events"; mkdir "$dir/out"
  /usr/bin/time -o "$dir/receive.kib" -f %M "$haul" receive $keys "$dir/out" --listen 127.0.0.1:0 --once --json -q >"$dir/events" &
  listening "$dir/events"
  address=$(head -n 1 "$dir/events" | sed 's/.*"address":"\([^"]*\)".*/\1/')
  /usr/bin/time -o "$dir/both" -f '%e %M' "$haul" send $keys "$@" "$address" -q
  wait
  cut -d' ' -f1 "$dir/both" >"$dir/seconds"; cut -d' ' -f2 "$dir/both" >"$dir/send.kib"
}

memory() { echo "memory: sender $(( $(cat "$dir/send.kib") / 1024 )) MiB, receiver $(( $(cat "$dir/receive.kib") / 1024 )) MiB, $(cat "$dir/seconds") s: $1"; }

head -c 1G /dev/urandom >"$dir/in/file"
for _ in $(seq "$rounds"); do
  rm -f "$dir/out/file"
  nc -l -n -v 127.0.0.1 0 >"$dir/out/file" 2>"$dir/nc" &
  listening "$dir/nc"
  port=$(grep -o '[0-9]*$' "$dir/nc" | head -n 1)
  /usr/bin/time -o "$dir/t" -f %e nc -N 127.0.0.1 "$port" <"$dir/in/file"
  wait; cat "$dir/t" >>"$dir/nc.seconds"
  transfer "$dir/in/file"
  cat "$dir/seconds" >>"$dir/haul.seconds"
  cmp "$dir/in/file" "$dir/out/file"
done
nc=$(median <"$dir/nc.seconds"); ours=$(median <"$dir/haul.seconds")
echo "1 GiB over loopback, memory to memory: nc $nc s, haul $ours s, haul/nc speed ratio $(awk "BEGIN { printf \"%.2f\", $nc / $ours }") (medians of $rounds)"
rm "$dir/in/file"

head -c 5G /dev/urandom >"$dir/in/file"
transfer "$dir/in/file"; memory "5 GiB of random bytes"
rm "$dir/in/file" "$dir/out/file"

truncate -s 5G "$dir/in/file"; printf x | dd of="$dir/in/file" bs=1 seek=4294967296 conv=notrunc status=none
transfer "$dir/in/file"; memory "5 GiB, sparse, one byte at 4 GiB"
cmp "$dir/in/file" "$dir/out/file"
if command -v b3sum >/dev/null; then
  [ "$(b3sum --no-names "$dir/in/file")" = "$(sed -n 's/.*"event":"received".*"blake3":"\([0-9a-f]*\)".*/\1/p' "$dir/events")" ] && echo "b3sum agrees with the receipt"
fi
rm "$dir/in/file" "$dir/out/file"

mkdir "$dir/in/many"
seq 10000 | (cd "$dir/in/many" && split -l 1 -a 5 - file-)
transfer "$dir/in/many"; memory "10,000 files"
diff -r "$dir/in/many" "$dir/out/many"
rm -rf "$dir/in/many" "$dir/out/many"

mkdir "$dir/in/wide"
# With the folder itself, as many as a receiver takes by default.
seq 999999 | (cd "$dir/in/wide" && xargs touch)
transfer "$dir/in/wide"; memory "999,999 names in one folder"
rm -rf "$dir/in/wide" "$dir/out/wide"

# A tree that the receiver has: what still travels, and what it costs. The wire is counted by a pipe on either side.
again() { # OPTION... ; leaves seconds in $dir/t, bytes of both directions in $dir/{down,up}
  rm -f "$dir/down" "$dir/up"
  /usr/bin/time -o "$dir/t" -f %e "$haul" send -q "$@" "$dir/in/tree" \
    "exec:tee '$dir/down' | '$haul' receive --stdio -q '$dir/out' | tee '$dir/up'"
}

rm -rf "$dir/out"; mkdir "$dir/out" "$dir/in/tree"
head -c 409600000 /dev/urandom | (cd "$dir/in/tree" && split -b 4096 -a 6 - file-)
again
for option in "" --trust-times; do
  for _ in $(seq "$rounds"); do
    again $option
    echo "100,000 files of 4 KiB sent again${option:+ with $option}: $(cat "$dir/t") s, $(stat -c %s "$dir/down") bytes sent, $(stat -c %s "$dir/up") answered"
  done
done
