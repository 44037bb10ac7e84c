#!/bin/sh
# guest-init.sh: /init of the lab's initramfs. Sets the guest up, runs
# /lab/script with its output on the result line, reports its exit status and
# resets the machine, which ends a QEMU with -no-reboot: powering off takes ACPI.
#
# Words on the kernel command line, all set by boot.sh:
#   lab.result=DEV   serial line for the command's standard output
#   lab.swap=SIZE    swap of that size on zram
#   lab.shell=1      a shell on the console instead
#   lab.root=DEV     go on with that disk's own init, see below
#   lab.settle=N     there: seconds to wait after multi-user.target

word()
{
	sed -n "s/.*\blab\.$1=\([^ ]*\).*/\1/p" /proc/cmdline
}

# Pseudo file systems and swap are what a test takes for granted.
setup()
{
	mkdir -p /proc /sys /dev /tmp /run /bin /sbin
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	# Automatic where the kernel was told so.
	[ -e /dev/null ] || mount -t devtmpfs devtmpfs /dev
	mkdir -p /dev/pts /dev/shm
	mount -t devpts devpts /dev/pts
	mount -t tmpfs tmpfs /dev/shm
	mount -t tmpfs tmpfs /tmp
	mount -t tmpfs tmpfs /run
	[ ! -d /sys/kernel/debug ] || mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
	[ ! -d /sys/kernel/tracing ] || mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
	hostname lab
	ip link set lo up 2>/dev/null
}

zram_swap()
{
	[ -e /sys/block/zram0 ] ||
		{ echo "guest-init: no zram in this kernel: no swap" >&2; return 1; }
	echo "$1" >/sys/block/zram0/disksize &&
	mkswap /dev/zram0 >/dev/null &&
	swapon /dev/zram0
}

# Output goes over the result line raw: no \n to \r\n.
run()
{
	stty -F "$result" raw -echo
	{
		/lab/script
		printf '\nlab-exit %d\n' $?
	} <"$console" >"$result"
}

# A real userland stays as its packages made it. All that is ours goes into
# /run, which survives the switch: /run/lab, and one unit that runs after
# multi-user.target and resets. Its shell is static and small: it counts
# with the system that is measured.
switch_to_disk()
{
	mkdir -p /root
	if ! mount -o rw "$1" /root; then
		echo "guest-init: cannot mount $1: kernel without virtio-blk or ext4?" >&2
		reboot -f
	fi
	units=/run/systemd/system
	mkdir -p $units/multi-user.target.wants
	cp -a /lab /run/lab
	cp /bin/busybox /run/lab/busybox
	cat >/run/lab/run <<END
#!/run/lab/busybox sh
export PATH=/run/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin
sleep $(word settle)
stty -F $result raw -echo
{
	/run/lab/script
	printf '\\nlab-exit %d\\n' \$?
} >$result
sync
/run/lab/busybox reboot -f
END
	chmod +x /run/lab/run
	cat >$units/lab.service <<END
[Unit]
Description=ANON_VMA_LAZY lab
After=multi-user.target

[Service]
ExecStart=/run/lab/run
StandardError=journal+console
TimeoutSec=infinity
END
	ln -s ../lab.service $units/multi-user.target.wants/lab.service
	mount --move /run /root/run
	mount --move /dev /root/dev
	umount /tmp /sys/kernel/debug /sys/kernel/tracing /sys /proc 2>/dev/null
	exec switch_root /root /sbin/init
}

# sh knows nothing but the full path until the applets have their names.
/bin/busybox mkdir -p /bin /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
export PATH=/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
setup
result=$(word result)
# The one serial line that /dev/console leads to, for job control and input.
console=/dev/$(sed 's/.* //' /sys/class/tty/console/active)
swap=$(word swap)
[ -z "$swap" ] || zram_swap "$swap"
root=$(word root)

if [ -n "$(word shell)" ]; then
	# A script given as well is left to the one who types.
	echo "Linux $(uname -r). Programs: $(cd /lab/bin && echo *)"
	setsid sh -c "exec sh -l <$console >$console 2>&1"
elif [ -n "$root" ]; then
	switch_to_disk "$root"
else
	run
fi
sync
reboot -f
