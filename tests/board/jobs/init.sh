# The first process of the board: runs the job of the second disk, and turns the board off.
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
b=busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t tmpfs -o mode=1777,size=25% tmpfs /run
mkdir -p /dev/pts /dev/shm; $b mount -t devpts devpts /dev/pts; $b mount -t tmpfs tmpfs /dev/shm
$b mount -t cgroup2 none /sys/fs/cgroup
$b ip link set lo up
cd /mnt
echo "board up after $(cut -d' ' -f1 /proc/uptime) s: $(uname -rm), pages of $(getconf PAGESIZE) bytes, huge pages" \
    "$(cat /sys/kernel/mm/transparent_hugepage/enabled), $(grep MemTotal /proc/meminfo)"
/bin/bash ./job.sh < /dev/null
$b dmesg > dmesg.log
cd /; sync
tries=0 # what a job has left running may end only now
until $b umount /mnt 2> /dev/null || [ $tries -ge 50 ]; do sleep 0.1; tries=$((tries + 1)); done
$b mount -o remount,ro /; sync
echo "board down after $(cut -d' ' -f1 /proc/uptime) s"
$b poweroff -f
