#!/bin/bash
# boot.sh: boot one kernel in QEMU, run one command in the guest, return its
# output and its exit status.
#
# The guest has two serial lines: the console goes to a log, the command's
# standard output comes back over the second, so that printk never gets into
# results. A guest that panics, splats, hangs or says nothing ends this
# command with one line and the end of its console.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage()
{
	cat <<'USAGE'
usage: boot.sh -i INITRAMFS [option...] KERNEL [-- COMMAND [ARG...]]

Boots KERNEL with INITRAMFS (from initramfs.sh) and runs COMMAND, or the file
of -s, in the guest. Its standard output is printed here (or goes to -o), its
exit status is ours; its standard error goes to the console log. With -d the
initramfs switches to the disk's own init, and the command runs there once
multi-user.target is reached and -S seconds are over.

  -i INITRAMFS  made by initramfs.sh; programs in it lie in /lab/bin
  -s FILE       an executable or script: run as /lab/script in the guest
  -f FILE       put FILE into /lab/bin too (repeatable)
  -d IMAGE      ext4 image to boot; never written to
  -S SECONDS    with -d: wait after multi-user.target (default 0)
  -c WORDS      more words for the kernel command line (repeatable)
  -w SIZE       swap of that size on zram (256M)
  -a ARCH       x86_64, arm64; default: ARCH= in the environment, or x86_64
  -m MEM        default 2G
  -p CPUS       default 2
  -t SECONDS    time-out, default 300; 0: none
  -l FILE       console log, default build/log/guest-PID.log
  -o FILE       write the command's output to FILE
  -x ARG        one more argument for QEMU (repeatable)
  -A ACCEL      default tcg,thread=multi
  -W            a WARNING or BUG on the console does not fail the run
  -I            interactive: console and monitor here (Ctrl-A x ends it)
  -q            say nothing unless it fails
  -h            this text

Exit status: the command's; 124 time-out; 125 the guest failed; 2 usage.
USAGE
}

: "${boot_tries:=3}"
argv=("$@")
initramfs='' script='' disk='' settle=0 words='' swap='' arch=${ARCH:-x86_64}
mem=2G smp=2 limit='' log='' out='' accel=tcg,thread=multi
files=() extra=() splats_ok='' interactive='' quiet=''
while getopts i:s:f:d:S:c:w:a:m:p:t:l:o:x:A:WIqh opt; do
	case $opt in
	i) initramfs=$OPTARG ;;
	s) script=$OPTARG ;;
	f) files+=("$OPTARG") ;;
	d) disk=$OPTARG ;;
	S) settle=$OPTARG ;;
	c) words+=" $OPTARG" ;;
	w) swap=$OPTARG ;;
	a) arch=$OPTARG ;;
	m) mem=$OPTARG ;;
	p) smp=$OPTARG ;;
	t) limit=$OPTARG ;;
	l) log=$OPTARG ;;
	o) out=$OPTARG ;;
	x) extra+=("$OPTARG") ;;
	A) accel=$OPTARG ;;
	W) splats_ok=1 ;;
	I) interactive=1 ;;
	q) quiet=1 ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || { usage >&2; exit 2; }
kernel=$1
shift
[ "${1-}" != -- ] || shift

# Everything that differs between architectures. result_args makes a serial
# line of the character device "res"; result_tty is its name in the guest.
case $arch in
x86_64)
	qemu="qemu-system-x86_64"
	machine=(-M q35 -cpu max)
	console=ttyS0
	result_args=(-serial chardev:res)
	result_tty=ttyS1
	# What checks the TSC waits for another CPU with interrupts off. As long as the
	# kernel's time is its ticks, that has no end if the host does not run that CPU.
	clock=" tsc=nowatchdog"
	;;
arm64)
	qemu="qemu-system-aarch64"
	# The test device has memory that can be mapped; a PC has some anyway.
	machine=(-M virt -cpu max -device pci-testdev)
	console=ttyAMA0
	result_args=(-device "pci-serial,chardev=res")
	result_tty=ttyS0
	clock=
	;;
*)
	die "boot.sh: unknown architecture '$arch': x86_64 and arm64 are known"
	;;
esac

command -v "$qemu" >/dev/null ||
	die "boot.sh: $qemu is not installed (Debian: qemu-system-x86, qemu-system-arm)"
[ -r "$kernel" ] || die "boot.sh: no kernel at $kernel: run 'make kernel'"
[ -n "$initramfs" ] || die "boot.sh: -i INITRAMFS is missing (initramfs.sh makes one)"
[ -r "$initramfs" ] || die "boot.sh: no initramfs at $initramfs (initramfs.sh makes one)"
[ -z "$disk" ] || [ -r "$disk" ] || die "boot.sh: no image at $disk (image.sh makes one)"
for f in ${script:+"$script"} "${files[@]}"; do
	[ -r "$f" ] || die "boot.sh: no such file: $f"
done

: "${limit:=$([ -n "$interactive" ] && echo 0 || echo 300)}"
: "${log:=$build/log/guest-$$.log}"
mkdir -p "$(dirname "$log")"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/boot.XXXXXX")
qemu_pid=
cleanup()
{
	# It is timeout's; TERM is passed on to QEMU.
	[ -z "$qemu_pid" ] || kill -TERM "$qemu_pid" 2>/dev/null || :
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The command and its files are a second cpio archive behind the first; the
# kernel unpacks one after the other.
mkdir -p "$tmp/root/lab/bin"
for f in "${files[@]}"; do
	cp -L "$f" "$tmp/root/lab/bin/"
done
if [ -n "$script" ]; then
	cp -L "$script" "$tmp/root/lab/script"
elif [ $# -gt 0 ]; then
	{ echo '#!/bin/sh'; printf '%q ' exec "$@"; echo; } >"$tmp/root/lab/script"
fi
if [ -e "$tmp/root/lab/script" ]; then
	chmod +x "$tmp/root/lab/script"
elif [ -z "$interactive" ]; then
	die "boot.sh: nothing to run in the guest: give -s FILE, -- COMMAND or -I"
fi
cp -L "$initramfs" "$tmp/initramfs"
truncate -s %512 "$tmp/initramfs"
(cd "$tmp/root" && find . | cpio -o -H newc -R 0:0 --quiet) >>"$tmp/initramfs"

# panic=-1 with -no-reboot: a panic ends QEMU at once. An oops is one.
cmdline="console=$console panic=-1 oops=panic lab.result=/dev/$result_tty$clock"
# It would be a failure anyway, but not before the guest's time is up.
[ -n "$splats_ok" ] || cmdline+=" sysctl.kernel.panic_on_rcu_stall=1"
[ -z "$disk" ] || cmdline+=" lab.root=/dev/vda lab.settle=$settle"
[ -z "$swap" ] || cmdline+=" lab.swap=$swap"
[ -z "$interactive" ] || cmdline+=" lab.shell=1"
cmdline+=$words

# QEMU splits option values at commas; a doubled one is a plain comma.
comma()
{
	printf '%s' "${1//,/,,}"
}

args=("${machine[@]}" -accel "$accel" -m "$mem" -smp "$smp"
	-display none -nic none -no-reboot
	-kernel "$kernel" -initrd "$tmp/initramfs" -append "$cmdline"
	-chardev "file,id=res,path=$(comma "$tmp/result")")
if [ -n "$interactive" ]; then
	args+=(-chardev "stdio,id=con,mux=on,signal=off,logfile=$(comma "$log")"
		-serial chardev:con -mon chardev=con)
else
	args+=(-chardev "file,id=con,path=$(comma "$log")"
		-serial chardev:con -monitor none)
fi
args+=("${result_args[@]}")
[ -z "$disk" ] || args+=(-drive
	"file=$(comma "$disk"),format=raw,if=virtio,snapshot=on,cache=unsafe")
args+=("${extra[@]}")

if [ -n "$interactive" ]; then
	say "boot.sh: console log $log; Ctrl-A x ends the guest, Ctrl-A c is QEMU's monitor"
	status=0
	timeout --foreground -k 5 "$limit" "$qemu" "${args[@]}" || status=$?
	exit "$status"
fi

# One line that says what went wrong, the end of the console, out.
failed()
{
	local status=$1
	shift
	{
		echo "boot.sh: $*"
		if [ -s "$log" ]; then
			echo "---- last 30 lines of $log"
			tail -n 30 "$log" | tr -d '\r'
			echo "----"
		else
			echo "boot.sh: nothing came over the console ($log)"
		fi
	} >&2
	exit "$status"
}

: >"$log"
[ -n "$quiet" ] || say "boot.sh: $arch, $smp CPUs, $mem, time-out $limit s, console log $log"
: >"$tmp/result"
start=$SECONDS
timeout -k 5 "$limit" "$qemu" "${args[@]}" </dev/null >"$tmp/qemu" 2>&1 &
qemu_pid=$!
beat=60
while kill -0 "$qemu_pid" 2>/dev/null; do
	sleep 0.5
	if [ -z "$quiet" ] && [ $((SECONDS - start)) -ge $beat ]; then
		say "boot.sh: $beat s; console: $(tail -n 1 "$log" | tr -d '\r' | cut -c -100)"
		beat=$((beat + 60))
	fi
done
status=0
wait "$qemu_pid" || status=$?
qemu_pid=
took=$((SECONDS - start))

# The last line of the result is guest-init.sh's: "lab-exit N", with a newline
# of its own in front. What a guest printed before it died is worth seeing too.
exited=
case $(tail -n 1 "$tmp/result") in
'lab-exit '*)
	exited=$(tail -n 1 "$tmp/result")
	exited=${exited#lab-exit }
	head -n -1 "$tmp/result" | head -c -1 >"$tmp/clean"
	mv "$tmp/clean" "$tmp/result"
	;;
esac
if [ -n "$out" ]; then
	mv "$tmp/result" "$out"
else
	cat "$tmp/result"
fi

# QEMU before 8.1 may run a translation that is older than what the other CPU has
# just patched, and so a breakpoint that is no longer there. That says nothing about
# the kernel, and guests leave nothing behind: boot again.
if [ "$boot_tries" -gt 1 ] && [ "$smp" -gt 1 ] && grep -q 'Oops: int3' "$log"; then
	say "boot.sh: the emulated CPUs disagreed about patched code (a fault of old QEMU): again"
	cp "$log" "$log.int3"
	cleanup
	boot_tries=$((boot_tries - 1)) exec "$BASH" "${BASH_SOURCE[0]}" "${argv[@]}"
fi

if grep -q 'Kernel panic' "$log"; then
	failed 125 "the guest panicked: $(grep -m 1 -o 'Kernel panic.*' "$log" | tr -d '\r')"
fi
case $status in
0) ;;
124 | 137) failed 124 "the guest was still running after $limit s (hung, or give more with -t)" ;;
*) failed 125 "$qemu failed: $(tail -n 1 "$tmp/qemu")" ;;
esac
[ -n "$exited" ] || failed 125 "the guest ended without the command's exit status"

# What a debug kernel says when it has found something and goes on.
splats='WARNING: |BUG: |Oops: |INFO: task .* blocked|rcu: INFO: .*(stall|detected)|detected stalls|INFO: (possible|suspicious|inconsistent|trying to register)|Bad page|refcount_t: |list_(add|del) corruption|UBSAN: |KCSAN: |KASAN: |general protection fault|=+ *BUG '
if [ -z "$splats_ok" ] && splat=$(grep -m 1 -E "$splats" "$log" | tr -d '\r'); then
	failed 125 "the kernel complained (all of it in $log): $splat"
fi
[ "$exited" -eq 0 ] || failed "$exited" "the command failed in the guest with status $exited"
[ -n "$quiet" ] || say "boot.sh: done after $took s"
