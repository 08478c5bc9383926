#!/busybox sh
# The first process of a virtual machine. The whole image is below /image of the initramfs, and moves to a
# tmpfs at first: pivot_root(2), and so runc and bwrap, refuse to work on the initramfs itself.

if [ -d /image ]; then
    /busybox mkdir /newroot
    /busybox mount -t tmpfs -o mode=755,size=90% root /newroot
    /busybox cp -a /image/. /newroot/
    /busybox cp /init /busybox /newroot/
    exec /busybox switch_root /newroot /init
fi

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/opt/busybox HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
ip link set lo up
for module in /lib/modules/"$(uname -r)"/*.ko; do
    [ ! -e "$module" ] || insmod "$module"
done
hostname nsprobe-vm

# The second serial port carries what the tests say and nothing else: the kernel talks on the first.
# The tests write to a pipe, so that no terminal is theirs.
{
    uname -r
    /run-tests
    echo "NSPROBE-VM-END status=$?"
} 2>&1 </dev/null | cat >/dev/ttyS1
poweroff -f
