#!/bin/bash
# tools/mm/anon_vma_stat: what it counts, refuses, saves and compares, on made-up
# /proc and /sys folders, and that it runs on this machine.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

source=$top/tools/mm/anon_vma_stat.c
if [ ! -e "$source" ]; then
	echo "skip - stat: the series has no tools/mm/anon_vma_stat.c yet"
	exit
fi
need_tools gcc
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
fake=$tmp/fake

pass() { echo "ok - stat: $1"; }
fail()
{
	sed 's/^/# /' out err
	echo "not ok - stat: $1"
}
# run EXIT ARGUMENT...: with that exit status; errors are one line or more.
run()
{
	local expected=$1 rc=0
	shift
	timeout 60 ./anon_vma_stat "$@" >out 2>err </dev/null || rc=$?
	[ "$rc" -eq "$expected" ] && { [ "$rc" -eq 0 ] || [ -s err ]; }
}
# ok NAME ARGUMENT...: succeeds.
ok()
{
	local name=$1
	shift
	if run 0 "$@"; then pass "$name"; else fail "$name"; fi
}
# no NAME EXIT WORDS ARGUMENT...: fails with one line that says WORDS.
no()
{
	local name=$1 rc=$2 words=$3
	shift 3
	if run "$rc" "$@" && [ "$(wc -l <err)" -eq 1 ] && grep -qF -- "$words" err; then
		pass "$name"
	else
		fail "$name"
	fi
}
same() { if [ "$2" = "$3" ]; then pass "$1"; else printf '%s\n' "$2" "is not" "$3" >out; fail "$1"; fi; }
# The output, blanks squeezed, has these lines.
has()
{
	local name=$1 line good=1
	shift
	tr -s ' ' <out >squeezed
	for line; do
		grep -qxF -- "$line" squeezed || { echo "no line: $line" >>err; good=; }
	done
	if [ -n "$good" ]; then pass "$name"; else fail "$name"; fi
}
# said NAME WORDS: on standard error, and nothing else.
said()
{
	if [ "$(wc -l <err)" -eq 1 ] && grep -qF -- "$2" err; then pass "$1"; else fail "$1"; fi
}
# json NAME EXPECTED PATH...: the output is JSON, with those values; d is all of it.
json()
{
	local name=$1 expected=$2
	shift 2
	if ! command -v python3 >/dev/null; then
		echo "skip - stat: $name (no python3)"
		return
	fi
	same "$name" "$(python3 -c 'import json, sys
d = json.load(open("out"))
print(*(eval(path) for path in sys.argv[1:]))' "$@" 2>&1)" "$expected"
}

if gcc -O2 -Wall -Wextra -Werror -o anon_vma_stat "$source" >out 2>err; then
	pass 'builds without a warning'
else
	fail 'builds without a warning'
	exit
fi

## Made-up folders

kb=$(($(getconf PAGESIZE) / 1024))
caches='anon_vma anon_vma_chain vm_area_struct mm_struct maple_node'
# slab NAME OBJECTS SLABS
slab() { echo "$1 $2 900 104 39 1 : tunables 0 0 0 : slabdata $3 $3 0"; }
vma() { echo "$1-${1}f $2 00000000 00:00 0 ${3-}"; }
make_fake()
{
	local cache n=100
	rm -rf "$fake"
	mkdir -p "$fake"/proc/sys/{vm,kernel} "$fake"/proc/{1,2,30} "$fake/sys/kernel/slab"
	{
		echo 'slabinfo - version: 2.1'
		echo '# name            <active_objs> <num_objs>'
		for cache in $caches; do
			slab "$cache" "$n" 10
			n=$((n + 100))
			mkdir "$fake/sys/kernel/slab/$cache"
			echo 0 >"$fake/sys/kernel/slab/$cache/aliases"
			: >"$fake/sys/kernel/slab/$cache/shrink"
		done
		slab other 7777 7
	} >"$fake/proc/slabinfo"
	echo 7.3.4-fake >"$fake/proc/sys/kernel/osrelease"
	echo 1 >"$fake/proc/sys/vm/anon_vma_lazy"
	{
		vma 1000 r-xp /bin/init
		vma 2000 rw-p
		vma 3000 rw-s '/tmp/[vsyscall] not'
		vma ffffff600 --xp '[vsyscall]'
	} >"$fake/proc/1/maps"
	: >"$fake/proc/2/maps"
	vma 1000 rw-p >"$fake/proc/30/maps"
	{
		vma 1000 r-xp /bin/init
		printf 'Size: 4 kB\nAnonymous:             4 kB\nVmFlags: rd ex\n'
		vma 2000 rw-p
		printf 'Size: 4 kB\nAnonymous:             8 kB\n'
		vma 3000 rw-s /dev/zero
		printf 'Size: 4 kB\nAnonymous:             0 kB\n'
		vma 4000 rw-p
		printf 'Size: 4 kB\nAnonymous:             0 kB\n'
		vma ffffff600 --xp '[vsyscall]'
		printf 'Size: 4 kB\nAnonymous:             4 kB\n'
	} >"$fake/proc/1/smaps"
	: >"$fake/proc/2/smaps"
	counters 200 20 30
}
# counters PREPARED UPGRADED UPGRADED
counters()
{
	{
		echo 'pglazyfree 5'
		echo "anon_vma_lazy_prepared $1"
		echo "anon_vma_lazy_upgrade_ksm $2"
		echo "anon_vma_lazy_upgrade_fork $3"
	} >"$fake/proc/vmstat"
}
f=(-r "$fake")

## Called wrongly

no 'an unknown command' 2 'no such command' shave
no 'an unknown option' 2 'x' -x
no 'save without a file' 2 'takes one FILE' save
no 'save with two files' 2 'takes one FILE' save a b
no 'diff without a file' 2 'takes one FILE' diff
no 'diff with three files' 2 'takes one FILE' diff a b c
no '-p without a PID' 2 'p' -p
no '-p with a word' 2 'no PID' -p init
no '-p with 0' 2 'no PID' -p 0
no '-p with a negative number' 2 'no PID' -p 1 -- -5
no '-p with a number that is too large' 2 'no PID' -p 99999999999999999999
no '-r without a folder' 2 'r' -r
ok '--help' --help
same '--help and -h: the same, on standard output' "$(grep -c '^usage: ' out)$(./anon_vma_stat -h | diff - out)" 1
for option in json no-flush pid root help; do
	grep -q -- "--$option" out || fail "--help names --$option"
done

## What it counts

make_fake
ok 'made-up folders' "${f[@]}"
has 'objects, KB, VMAs, processes, switch, counters, lazy share' \
	"anon_vma 100 100 $((10 * kb))" "maple_node 500 500 $((10 * kb))" 'VMAs 4' 'processes 2' \
	'vm.anon_vma_lazy 1' 'anon_vma_lazy_upgrade_ksm 20' 'prepared and not upgraded 75.0%'
same 'each cache was flushed' "$(cat "$fake"/sys/kernel/slab/*/shrink | tr -d 1 | wc -c)$(
	find "$fake/sys" -name shrink -size +0 | wc -l)" 05
same 'says nothing else' "$(cat err)" ''
run 0 -j "${f[@]}" || :
json '-j' "100 100 $((10 * kb)) 104 ok 1 4 2 7.3.4-fake 200 75.0" 'd["caches"]["anon_vma"]["active"]' \
	'd["caches"]["anon_vma"]["in_use"]' 'd["caches"]["anon_vma"]["kb"]' 'd["caches"]["anon_vma"]["object_size"]' \
	'd["caches"]["anon_vma"]["state"]' 'd["vm.anon_vma_lazy"]' 'd["vmas"]' 'd["processes"]' 'd["kernel"]' \
	'd["vmstat"]["anon_vma_lazy_prepared"]' 'd["lazy_share_percent"]'
make_fake
ok '-n' -n "${f[@]}"
has '-n: nothing is in use' "anon_vma 100 - $((10 * kb))"
same '-n: nothing was flushed' "$(find "$fake/sys" -name shrink -size +0)" ''
run 0 -nj "${f[@]}" || :
json '-n -j: null' 'None' 'd["caches"]["anon_vma"]["in_use"]'
echo 0 >"$fake/proc/sys/vm/anon_vma_lazy"
run 0 -n "${f[@]}" || :
has 'the switch is off' 'vm.anon_vma_lazy 0'
rm "$fake/proc/sys/vm/anon_vma_lazy"
echo 'pglazyfree 5' >"$fake/proc/vmstat"
ok 'a kernel without the series' -n "${f[@]}"
has 'no switch' 'vm.anon_vma_lazy absent'
same 'no counters, no share' "$(grep -c 'anon_vma_lazy_\|prepared' out || :)" 0
run 0 -nj "${f[@]}" || :
json 'no counters: JSON' 'None {} None' 'd["vm.anon_vma_lazy"]' 'd["vmstat"]' 'd["lazy_share_percent"]'
printf 'anon_vma_lazy_prepared 200\nanon_vma_lazy_again 50\nanon_vma_lazy_upgrade_fork 25\n' >"$fake/proc/vmstat"
run 0 -n "${f[@]}" || :
has 'what became lazy again counts' 'prepared and not upgraded 90.0%'
counters 10 20 30
run 0 -n "${f[@]}" || :
same 'more upgraded than prepared: no share' "$(grep -c 'not upgraded' out || :)" 0

## What is missing

make_fake
rm "$fake/proc/slabinfo"
no 'no slabinfo' 1 'CONFIG_SLUB_DEBUG' "${f[@]}"
make_fake
echo 'slabinfo - version: 3' >"$fake/proc/slabinfo"
no 'slabinfo of another format' 1 'not a format' "${f[@]}"
make_fake
echo 2 >"$fake/sys/kernel/slab/anon_vma_chain/aliases"
sed -i '/^mm_struct/d' "$fake/proc/slabinfo"
ok 'merged caches' "${f[@]}"
said 'merged caches: what to do' 'merged: anon_vma_chain mm_struct (boot with slab_nomerge'
has 'merged caches: no number' 'anon_vma_chain merged' 'mm_struct merged' "anon_vma 100 100 $((10 * kb))"
run 0 -nj "${f[@]}" || :
json 'merged caches: JSON' 'merged None' 'd["caches"]["mm_struct"]["state"]' 'd["caches"]["anon_vma_chain"]["active"]'
make_fake
rm -r "$fake/sys/kernel/slab/maple_node"
sed -i '/^maple_node/d' "$fake/proc/slabinfo"
ok 'a kernel without maple_node' "${f[@]}"
said 'without maple_node: says so' 'absent: maple_node'
has 'without maple_node: no number' 'maple_node absent' "anon_vma 100 100 $((10 * kb))"
make_fake
rm "$fake/sys/kernel/slab/mm_struct/shrink"
ok 'no flush' "${f[@]}"
said 'no flush: says so' 'no flush'
has 'no flush: nothing is in use' "anon_vma 100 - $((10 * kb))"
make_fake
rm -r "$fake/sys"
ok 'no sysfs' -n "${f[@]}"
said 'no sysfs: says so' '/sys/kernel/slab is missing'
make_fake
rm -r "$fake/proc/30/maps"
ok 'a process that has just ended' -n "${f[@]}"
has 'without it' 'VMAs 3' 'processes 1'
no 'no such root' 1 'slabinfo' -r "$tmp/none"

## save and diff

make_fake
ok 'save' "${f[@]}" save before
same 'save: says nothing' "$(cat out err)" ''
same 'save: the first line' "$(head -n 1 before)" 'anon_vma_stat 1'
(umask 027 && run 0 -n "${f[@]}" save private)
same 'save: heeds umask' "$(stat -c %a private)" 640
chmod 604 private
ln -s private link
ok 'save: over a link' -n "${f[@]}" save link
same 'save: keeps the link and the mode' "$(readlink link) $(stat -c %a private)" 'private 604'
run 0 -j "${f[@]}" save private || :
json 'save -j: prints what it saved' 100 'd["caches"]["anon_vma"]["in_use"]'
ok 'save: to a pipe' -n "${f[@]}" save /dev/stdout
same 'save: to a pipe: all of it' "$(tail -n 1 out)" 'end 14'

ok 'diff with now' "${f[@]}" diff before
has 'diff: no change' 'anon_vma in use 100 100 +0 +0.0%' 'VMAs 4 4 +0 +0.0%' 'vm.anon_vma_lazy 1 1'
same 'diff: nothing changed' "$(sed 1,2d out | grep -c '[+-][1-9]' || :)" 0
sed 's/^cache anon_vma ok 100 100/cache anon_vma ok 150 25/; s/^vmas 4/vmas 6/; s/^lazy 1/lazy absent/
     s/^cache mm_struct ok 400 400/cache mm_struct ok 0 -/; s/^cache maple_node.*/cache maple_node merged/
     s/prepared 200/prepared 300/; s/ksm 20/ksm 30/' before >after
cp before before.copy
ok 'diff of two files' diff before after
has 'diff: absolute and percent' '# before: '"$(date -u -d "@$(sed -n 's/^time //p' before)" '+%F %TZ'), 7.3.4-fake" \
	'anon_vma active 100 150 +50 +50.0%' 'anon_vma in use 100 25 -75 -75.0%' 'VMAs 4 6 +2 +50.0%' \
	'mm_struct active 400 0 -400 -100.0%' 'mm_struct in use 400 - - -' 'maple_node ok merged - -' \
	'vm.anon_vma_lazy 1 absent' 'anon_vma_lazy_prepared 200 300 +100 +50.0%' \
	'meanwhile prepared, not upgraded 90.0%'
run 0 -j diff before after || :
json 'diff -j' '-75 -75.0 None 2 50.0 None 10 90.0 1 None' 'd["change"]["caches"]["anon_vma"]["in_use"]["absolute"]' \
	'd["change"]["caches"]["anon_vma"]["in_use"]["percent"]' 'd["change"]["caches"]["maple_node"]["kb"]' \
	'd["change"]["vmas"]["absolute"]' 'd["change"]["vmas"]["percent"]' 'd["change"]["caches"]["mm_struct"]["in_use"]' \
	'd["change"]["vmstat"]["anon_vma_lazy_upgrade_ksm"]["absolute"]' 'd["change"]["lazy_share_percent"]' \
	'd["before"]["vm.anon_vma_lazy"]' 'd["after"]["vm.anon_vma_lazy"]'
run 0 diff after before || :
has 'diff: from nothing there is no percent' 'mm_struct active 0 400 +400 -' 'anon_vma in use 25 100 +75 +300.0%'
run 0 -j diff after before || :
json 'diff -j: from nothing' '400 None' 'd["change"]["caches"]["mm_struct"]["active"]["absolute"]' \
	'd["change"]["caches"]["mm_struct"]["active"]["percent"]'
{ sed '/^vmstat/d; $d' before; echo 'end 11'; } >upstream
run 0 diff upstream before || :
has 'diff: counters that were not there' 'anon_vma_lazy_prepared - 200 - -'
run 0 diff before upstream || :
has 'diff: counters that are not there any more' 'anon_vma_lazy_prepared 200 - - -'
run 0 -j diff upstream before || :
json 'diff -j: counters that were not there' 'None None' 'd["change"]["vmstat"]["anon_vma_lazy_prepared"]' \
	'd["change"]["lazy_share_percent"]'
sed 's/^kernel .*/kernel a"b\\c/' before >quotes
run 0 -j diff quotes before || :
json 'diff -j: a kernel name with quotes' 'a"b\c' 'd["before"]["kernel"]'
same 'diff changes no file' "$(cmp before before.copy)" ''

## Snapshots that are none

no 'no such snapshot' 1 'No such file' diff none
no 'the second is missing' 1 'No such file' diff before none
no 'a folder' 1 'Is a directory' diff fake
: >bad
no 'an empty file' 1 'empty' diff bad
no 'a foreign file' 1 'not a snapshot' diff "$source"
no 'a program' 1 'not a snapshot' diff anon_vma_stat
no 'no end of zeros' 1 'not a snapshot' diff /dev/zero
sed '1s/1$/2/' before >bad
no 'a newer version' 1 'version 2' diff bad
bad=
for ((n = 1; n < $(stat -c %s before); n++)); do
	head -c "$n" before >bad
	run 1 diff bad && [ "$(wc -l <err)" -eq 1 ] || bad+=" $n"
done
same 'cut off, after any byte' "$bad" ''
head -n 9 before >bad
no 'cut off: says so' 1 'truncated after 9 lines' diff bad
# doctor NAME WORDS SED: of the snapshot that was good.
doctor()
{
	sed "$3" before >bad
	if cmp -s before bad; then echo 'nothing was doctored' >out; fail "$1"; else no "$1" 1 "$2" diff bad; fi
}
doctor 'a line is missing' 'damaged' '/^vmstat.*ksm/d'
doctor 'a line twice' 'damaged' '/^vmas/p'
doctor 'a cache twice' 'damaged' 's/^cache anon_vma_chain/cache anon_vma/'
doctor 'a counter twice' 'damaged' 's/upgrade_ksm/upgrade_fork/'
doctor 'a number that is none' 'bad:6: damaged' 's/^vmas .*/vmas 4x/'
doctor 'a negative number' 'damaged' 's/^vmas .*/vmas -4/'
doctor 'a number that is too large' 'damaged' 's/^vmas .*/vmas 99999999999999999999/'
doctor 'an unknown word' 'damaged' 's/^processes/progresses/'
doctor 'an unknown cache' 'damaged' 's/^cache mm_struct/cache xx_struct/'
doctor 'a merged cache with numbers' 'damaged' 's/^cache mm_struct ok/cache mm_struct merged/'
doctor 'a counter that is not ours' 'damaged' 's/anon_vma_lazy_prepared/pgfault/'
doctor 'text behind the end' 'damaged' '/^end/s/.*/&\nmore/'
doctor 'a zero byte' 'damaged' 's/^vmas 4/vmas\x00 4/'
doctor 'a line without an end' 'damaged' "s/^vmas 4/vmas $(printf '%0600d' 4)/"
doctor 'line ends of another system' 'not a snapshot' 's/$/\r/'
sed '/^processes/d; s/^end 14/end 13/' before >bad
no 'a number that every snapshot has' 1 'lines are missing' diff bad
sed '/^cache mm_struct/d; s/^end 14/end 13/' before >bad
no 'a cache that every snapshot has' 1 'without mm_struct' diff bad

## A full disk

# A file size limit is met like a full disk, and needs no root.
mkdir limit
cp before limit
(cd limit && ulimit -f 0 && ../anon_vma_stat -n "${f[@]}" save before || echo "$?") 2>&1 | cat >out
same 'no room: fails' "$(tail -n 1 out)" 1
grep -v '^1$' out >err || :
said 'no room: says that nothing was lost' 'as it was before'
same 'no room: the old file stays, and no other' "$(cmp before limit/before)$(ls -A limit)" before

if [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
	mkdir disk
	# shellcheck disable=SC2016
	unshare -m bash -c 'mount -t tmpfs -o size=8k none disk && cp before disk/old && head -c 4096 /dev/zero >disk/fill
		./anon_vma_stat -n -r "$1" save disk/old 2>err; echo $? >out
		ls disk >>out; cmp before disk/old >>out 2>&1' - "$fake" || :
	same 'a full disk: nothing was lost' "$(cat out)" '1
fill
old'
	said 'a full disk: says so' 'No space left on device'
else
	echo 'skip - stat: a full disk (needs root and unshare)'
fi
if [ -c /dev/full ] && [ -w /dev/full ]; then
	no 'save: to a full device' 1 'No space left' -n "${f[@]}" save /dev/full
	same 'save: the device is still one' "$(stat -c %F /dev/full)" 'character special file'
	for command in '' '-j' 'diff before after' '-j diff before after' '-p 1' '--help'; do
		# shellcheck disable=SC2086
		if ./anon_vma_stat -n "${f[@]}" $command >/dev/full 2>err; then
			: >out; fail "full standard output: $command"
		else
			said "full standard output: $command" 'No space left'
		fi
	done
else
	echo 'skip - stat: a full device (no writable /dev/full)'
fi
no 'save: no such folder' 1 'No such file' -n "${f[@]}" save none/file
no 'save: a folder' 1 'Is a directory' -n "${f[@]}" save fake
rm "$fake/proc/slabinfo"
run 1 "${f[@]}" save before || fail 'save: without slabinfo'
same 'save: without slabinfo the old file stays' "$(cmp before before.copy)" ''
make_fake

## Processes

ok '-p' "${f[@]}" -p 1 2
has '-p: VMAs, private writable ones, with anonymous pages' ' 1 4 2 2' ' 2 0 0 0'
run 0 "${f[@]}" -p 1 -p 2 -j || :
json '-p -j' '1 4 2 2 2 0' 'd[0]["pid"]' 'd[0]["vmas"]' 'd[0]["private_writable"]' 'd[0]["anonymous"]' \
	'd[1]["pid"]' 'd[1]["vmas"]'
no '-p: a PID that is gone' 1 'no process 77' "${f[@]}" -p 77 1
has '-p: the others are counted' ' 1 4 2 2'
run 1 -j "${f[@]}" -p 77 1 || fail '-p -j: a PID that is gone'
json '-p -j: the others are counted' '1 1' 'd[0]["pid"]' 'len(d)'
run 1 -j "${f[@]}" -p 77 || fail '-p -j: the only PID is gone'
json '-p -j: none' '[]' 'd'
sed -i '/^Anonymous/d' "$fake/proc/1/smaps"
no '-p: smaps without Anonymous' 1 'nothing about anonymous' "${f[@]}" -p 1
rm "$fake/proc/1/smaps"
no '-p: no smaps' 1 'CONFIG_PROC_PAGE_MONITOR' "${f[@]}" -p 1

## This machine

sleep 0 &
gone=$!
wait "$gone"
no 'a process that has ended' 1 "no process $gone" -p "$gone"
ok 'this process' -jp $$
json 'this process: has VMAs, some with anonymous pages' 'True True' 'd[0]["vmas"] > d[0]["private_writable"] > 0' \
	'd[0]["anonymous"] > 0'
if [ "$(id -u)" -ne 0 ]; then
	no 'not root' 1 'be root'
	echo 'skip - stat: this machine (not root)'
elif [ ! -r /proc/slabinfo ]; then
	no 'this machine: no slabinfo' 1 'slabinfo'
else
	ok 'this machine' -j save now
	json 'this machine: VMAs and processes' 'True' 'd["vmas"] > d["processes"] > 0'
	ok 'this machine: diff' -j diff now
	json 'this machine: diff is JSON' 'True' 'd["after"]["time"] >= d["before"]["time"]'
	if command -v setpriv >/dev/null; then
		chmod 755 "$tmp"
		setpriv --reuid=65534 --regid=65534 --clear-groups ./anon_vma_stat >out 2>err || echo "$?" >>out
		same 'not root' "$(cat out)" 1
		said 'not root: what to do' 'be root'
	fi
fi
