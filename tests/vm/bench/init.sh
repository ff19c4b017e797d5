#!/bin/busybox sh
# The guest's first process: modules, the host's root below a throw-away overlay, then /job in it.
B=/bin/busybox

stop() {
	echo "isotrace-init: $*"
	$B reboot -f
}

$B mount -t devtmpfs dev /dev
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
for module in $($B cat /modules/order); do
	$B insmod "/modules/$module.ko" || stop "cannot load module $module"
done

read -r root_type </root_type
case $root_type in
9p) options=ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose ;;
*) options=ro ;;
esac
$B mount -t "$root_type" -o "$options" host /lower || stop "cannot mount the host's root by $root_type"
$B mount -t tmpfs -o size=90% tmpfs /rw
$B mkdir -p /rw/upper /rw/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /new || stop "cannot mount the overlay"

$B mount -t proc proc /new/proc
$B mount -t sysfs sys /new/sys
$B mount -o move /dev /new/dev
$B mkdir -p /new/dev/pts /new/dev/shm
$B mount -t devpts devpts /new/dev/pts
$B mount -t tmpfs tmpfs /new/dev/shm
$B mount -t tmpfs tmpfs /new/run
$B mount -t debugfs debugfs /new/sys/kernel/debug
$B mount -t tracefs tracefs /new/sys/kernel/tracing
$B mount -t securityfs securityfs /new/sys/kernel/security
$B mount -t bpf bpf /new/sys/fs/bpf
$B mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
$B ifconfig lo up

# A tmpfs for temporary files: file handles do not work on an overlay, and /tmp may hold the checkout.
$B mkdir -p /new/run/isotrace/tmp
$B cp /bin/busybox /job /new/run/isotrace/
$B umount /proc /sys
exec $B switch_root /new /run/isotrace/busybox sh -c '
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run/isotrace/tmp
	export PATH HOME TMPDIR
	ulimit -l unlimited
	/run/isotrace/busybox sh /run/isotrace/job </dev/null >/dev/console 2>&1
	/run/isotrace/busybox reboot -f'
