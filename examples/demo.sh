#!/bin/bash
# The main job, step by step: examples/demo.toml becomes two block devices, a filesystem lives on one, every byte is
# checked, and nothing is left. Run by `make demo`: here when we are root and the kernel has ublk, else in a VM.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bin=${UBLK_LINEAR_BIN:-$here/../bin}

if [ -z "${UBLK_LINEAR_GUEST:-}" ]; then
  if [ "$(id -u)" = 0 ] && { [ -e /dev/ublk-control ] || modprobe -q ublk_drv 2>/dev/null && [ -e /dev/ublk-control ]; }; then
    echo "== here, on $(uname -r)"
    command -v mkfs.ext4 >/dev/null || apt-get install -y --no-install-recommends e2fsprogs
  else
    echo "== this kernel ($(uname -r)) has no ublk, or we are not root: the demo runs in a VM"
    cd "$here/.."
    exec go run ./tests/cmd/vmrun -kernel "${KERNEL:-7}" -timeout 5m -file "$bin/ublk-linear" -file examples/demo.toml -file examples/nvme.toml -need mkfs.xfs=xfsprogs \
      -drive nvme:size=1G,serial=demo-a -drive nvme:size=1G,lbs=4096,serial=demo-b -env UBLK_LINEAR_BIN=. -- examples/demo.sh
  fi
fi

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
step() { printf '$ %s\n' "$*"; "$@"; }
fail() { echo "demo: $*" >&2; exit 1; }

src=$here/demo.toml
bin=$(cd "$bin" && pwd)
PATH=$bin:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/ublk-linear-demo.XXXXXX")
mnt=$work/mnt
mkdir "$mnt"
cp "$src" "$work/"
cd "$work"
server=
cleanup() {
  mountpoint -q "$mnt" && umount "$mnt"
  [ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server"
  cd / && rm -rf "$work"
}
trap cleanup EXIT

say "1. The file, checked, and as device-mapper tables"
step ublk-linear check -c demo.toml
step ublk-linear table -c demo.toml

say "2. Its devices"
echo '$ ublk-linear up -c demo.toml &'
ublk-linear up -c demo.toml > up.out &
server=$!
for _ in $(seq 300); do
  [ "$(wc -l < up.out)" = 2 ] && break
  kill -0 "$server" 2>/dev/null || { server=; fail "the server ended"; }
  sleep 0.1
done
cat up.out
[ "$(wc -l < up.out)" = 2 ] || fail "the devices did not come up"
step ublk-linear ls

say "3. A filesystem on one of them, filled, unmounted, verified"
step mkfs.ext4 -q /dev/ublk-linear/data
step mount /dev/ublk-linear/data "$mnt"
head -c 200M /dev/urandom > "$mnt/big"
mkdir "$mnt/tree" && cp -r /usr/share/common-licenses /etc/alternatives "$mnt/tree/"
(cd "$mnt" && find . -type f -print0 | sort -z | xargs -0 sha256sum) > sums
echo "$(wc -l < sums) files, $(du -sh "$mnt" | cut -f1)"
step umount "$mnt"
step mount /dev/ublk-linear/data "$mnt"
(cd "$mnt" && sha256sum --quiet -c "$work/sums") || fail "checksums differ"
echo "all checksums are right after the second mount"
step umount "$mnt"
step e2fsck -fn /dev/ublk-linear/data

say "4. Where bytes are: the same 512 KiB by the device, and put together from the disks"
step ublk-linear map -c demo.toml data read 100MiB+512KiB
dd if=/dev/ublk-linear/data bs=64K iflag=direct,skip_bytes skip=100M count=8 status=none > by-device
ublk-linear map -c demo.toml data read 100MiB+512KiB | tail -n +2 | while read -r disk start sectors _; do
  dd if="$disk.img" bs=512 skip="$start" count="$sectors" status=none
done > by-disks
cmp by-device by-disks || fail "the bytes differ"
sha256sum by-device by-disks

say "5. What went through"
step ublk-linear status -c demo.toml data

if grep -qs demo-a /sys/block/*/device/serial; then
  say "6. The same over NVMe disks"
  cp "$here/nvme.toml" .
  step ublk-linear table -c nvme.toml
  step ublk-linear limits -c nvme.toml fast
  echo '$ ublk-linear up -c nvme.toml &'
  ublk-linear up -c nvme.toml > up2.out &
  server2=$!
  for _ in $(seq 300); do [ "$(wc -l < up2.out)" = 2 ] && break; kill -0 "$server2"; sleep 0.1; done
  cat up2.out
  step mkfs.xfs -q /dev/ublk-linear/fast
  step mount /dev/ublk-linear/fast "$mnt"
  head -c 100M /dev/urandom > "$mnt/big" && sum=$(sha256sum < "$mnt/big")
  step umount "$mnt"
  step mount /dev/ublk-linear/fast "$mnt"
  [ "$(sha256sum < "$mnt/big")" = "$sum" ] || fail "checksums differ"
  echo "the checksum is right after the second mount"
  step umount "$mnt"

  say "7. A copy of it, by the disks themselves"
  step ublk-linear plan --summary -c nvme.toml fast:0B+576MiB clone:0B
  step ublk-linear copy -c nvme.toml fast:0B+576MiB clone:0B
  step mount -o nouuid /dev/ublk-linear/clone "$mnt"
  [ "$(sha256sum < "$mnt/big")" = "$sum" ] || fail "checksums differ"
  echo "the checksum is right on the copy"
  step umount "$mnt"
  step ublk-linear down -c nvme.toml
  wait "$server2" || fail "the server ended with $?"
fi

say "8. Down again"
step ublk-linear down -c demo.toml
wait "$server" || fail "the server ended with $?"
server=
[ -z "$(ls /dev/ublkb* /dev/ublkc* 2>/dev/null)" ] || [ -z "${UBLK_LINEAR_GUEST:-}" ] || fail "a device is left"
[ ! -e /dev/ublk-linear/data ] || fail "a link is left"
echo "no device, no link, no process is left"
