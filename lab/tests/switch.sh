#!/bin/bash
# The switch, from boot: a kernel without the option has none, one with it has it
# on, sysctl.vm.anon_vma_lazy=0 on the command line has it off, and the kernel
# log says which. (What writing to it does is the selftest's business.)

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

set_arch "${ARCH:-x86_64}"
out=$build/switch
mkdir -p "$build"
lock "$out.lock"
"$lab/initramfs.sh" -o "$out.cpio"

# Each $(...) is a process, which prepares VMAs: lazy ones, if the switch is on.
cat >"$out.guest" <<'END'
#!/bin/sh
echo "file $(cat /proc/sys/vm/anon_vma_lazy 2>/dev/null || echo none)"
echo "said $(dmesg | sed -n 's/.*anon_vma_lazy: //p' | tail -n 1)"
echo "counters $(grep -q '^anon_vma_lazy_' /proc/vmstat && echo yes || echo no)"
prepared() { sed -n 's/^anon_vma_lazy_prepared //p' /proc/vmstat; }
before=$(prepared)
after=$(prepared)
echo "prepares $([ "${after:-0}" -gt "${before:-0}" ] && echo yes || echo no)"
END

# guest NAME KERNEL WORDS LINE...: boots KERNEL with WORDS and expects the lines.
guest()
{
	local name=$1 kernel=$2 words=$3
	shift 3
	if ! [ -r "$kernel" ]; then
		echo "not ok - switch $name: no kernel at $kernel"
	elif ! "$lab/boot.sh" -q -i "$out.cpio" -s "$out.guest" -c "$words" -t 240 -l "$out.console" \
		-o "$out.said" "$kernel"; then
		echo "not ok - switch $name: the guest fails"
	elif ! diff <(printf '%s\n' "$@") "$out.said" | sed 's/^/# /' | (! grep .); then
		echo "not ok - switch $name: not as it should be"
	else
		echo "ok - switch $name"
	fi
}

guest "without the option" "$build/$arch-small-off/$target" "" \
	"file none" "said " "counters no" "prepares no"
guest "on by default" "$build/$arch-small/$target" "" \
	"file 1" "said new VMAs are lazy" "counters yes" "prepares yes"
guest "off at boot" "$build/$arch-small/$target" "sysctl.vm.anon_vma_lazy=0" \
	"file 0" "said new VMAs are not lazy" "counters yes" "prepares no"
