# What jobs share. Read with `.` in the second disk's folder.
export TMPDIR=/mnt/tmp XDG_CACHE_HOME=/mnt/cache XDG_DATA_HOME=/mnt/data XDG_STATE_HOME=/mnt/state
export PATH=/mnt/package/bin:$PATH
mkdir -p $TMPDIR $XDG_CACHE_HOME $XDG_DATA_HOME $XDG_STATE_HOME steps

# step NAME COMMAND...: keep the command's output, exit code, and how much memory was available meanwhile
step() {
    name=$1; shift
    echo "--- $name: $*"
    : > steps/$name.available  # a command may be over before the watcher begins
    while :; do sed -n 's/^MemAvailable: *\([0-9]*\).*/\1/p' /proc/meminfo; sleep 2; done > steps/$name.available &
    watcher=$!
    "$@" > steps/$name.out 2> steps/$name.err
    code=$?
    kill $watcher; wait $watcher 2>/dev/null
    echo $code > steps/$name.code
    echo "=== $name ended with $code, up $(cut -d' ' -f1 /proc/uptime) s"
    tail -n 5 steps/$name.out steps/$name.err
    sync
}
