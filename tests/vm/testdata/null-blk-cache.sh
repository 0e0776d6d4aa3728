#!/bin/sh
# A kernel that does not preempt (6.12) hangs here, on about every second try; there is no ublk in it. docs/soak.md says why.
#
#   go run ./tests/cmd/vmrun -kernel 6.12 -- tests/vm/testdata/null-blk-cache.sh [MiB of cache, 4] [CPUs, 1]
set -e
dir=/sys/kernel/config/nullb/x
mkdir $dir
echo 160 > $dir/size
echo 1 > $dir/memory_backed
echo "${1:-4}" > $dir/cache_size
echo 2 > $dir/submit_queues
echo 1 > $dir/power
disk=/dev/x
fio --name=writer --numjobs=4 --filename=$disk --direct=1 --rw=randwrite --bs=512k --ioengine=libaio --iodepth=8 --size=64m \
    --time_based --runtime=40 --cpus_allowed="${2:-1}" > /dev/null &
fio --name=flusher --numjobs=4 --filename=$disk --direct=1 --rw=randwrite --bs=4k --fsync=1 --ioengine=psync --thinktime=100000 \
    --offset=64m --size=32m --time_based --runtime=40 --cpus_allowed="${2:-1}" > /dev/null &
cat /sys/kernel/debug/sched/preempt
was=0
while sleep 5; pidof fio > /dev/null; do
    writes=$(awk '{print $5}' /sys/block/x/stat)
    echo "$writes writes, $((writes - was)) of them in the last 5 s, $(awk '{print $1 + $2}' /sys/block/x/inflight) in flight"
    was=$writes
done
