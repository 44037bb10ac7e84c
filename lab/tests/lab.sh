#!/bin/bash
# The lab's own programs: what they must refuse, and that refusing changes
# nothing. A toy kernel of a few files stands in for the real one, in a copy of
# lab/ with a cache of its own.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# TMPDIR may be small; nothing here needs much.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
repo=$tmp/repo linux=$tmp/repo/build/linux
real_cache=$cache
export LAB_CACHE=$tmp/cache GIT_CONFIG_GLOBAL=$tmp/gitconfig
export GIT_AUTHOR_NAME='A. Ũthor' GIT_AUTHOR_EMAIL=a@localhost
export GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@localhost
unset LAB_BUILD KERNEL UPDATE FORCE ARCH CONFIG LAZY PAGES BASE
# Settings that have broken such tools before.
git config -f "$tmp/gitconfig" diff.noprefix true
git config -f "$tmp/gitconfig" format.signature 'a signature'
git config -f "$tmp/gitconfig" core.abbrev 40
mkdir -p "$repo"
cp -r "$lab" "$repo/lab"

pass() { echo "ok - $1"; }
fail()
{
	sed 's/^/# /' "$tmp/out"
	echo "not ok - $1"
}
run() { (cd "$repo" && "$@") >"$tmp/out" 2>"$tmp/err"; }
# yes NAME COMMAND...: succeeds.
yes()
{
	local name=$1
	shift
	if run "$@"; then pass "$name"; else cat "$tmp/err" >>"$tmp/out"; fail "$name"; fi
}
in_cache()
{
	find "$LAB_CACHE" -mindepth 1 -maxdepth 2 ! -path "$LAB_CACHE/log*" ! -path "$LAB_CACHE/apt*" ! -name '*.lock' \
		2>/dev/null | sort || :
}
# no NAME WORDS COMMAND...: fails, and the last line says WORDS; nothing is
# left in the cache that was not there.
no()
{
	local name=$1 words=$2 before after rc=0
	shift 2
	before=$(in_cache)
	run "$@" || rc=$?
	after=$(in_cache)
	if [ "$rc" -ne 0 ] && [[ $(tail -n 1 "$tmp/err") = *"$words"* ]] && [ "$before" = "$after" ]; then
		pass "$name"
	else
		{ echo "exit status $rc; before: $before; after: $after"; cat "$tmp/err"; } >>"$tmp/out"
		fail "$name"
	fi
}
same() { if [ "$2" = "$3" ]; then pass "$1"; else printf '%s\n%s\n' "$2" "$3" >"$tmp/out"; fail "$1"; fi; }
tree_of() { git -C "$1" rev-parse "${2:-HEAD}^{tree}"; }
# All that a user could lose: files, index, branches, HEAD.
state()
{
	(cd "$1" && find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
	 git for-each-ref; git symbolic-ref HEAD; git status --porcelain; git stash list
	 find .git -maxdepth 1 | sort) 2>/dev/null | sha256sum
}

## A toy kernel

toy=$tmp/toy
mkdir -p "$toy/mm" "$toy/include/linux" "$toy/Documentation"
printf 'VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n' >"$toy/Makefile"
# As long as a real one: a reader that stops early would break the pipe.
seq 1 50000 | sed 's/^/# /' >>"$toy/Makefile"
seq 1 40 >"$toy/mm/rmap.c"
seq 1 40 >"$toy/mm/vma.c"
echo '#define X' >"$toy/include/linux/rmap.h"
echo text >"$toy/Documentation/index.rst"
echo '*.o' >"$toy/.gitignore"
echo 'forced past .gitignore' >"$toy/mm/x.o"
tar -cJf "$tmp/toy.tar.xz" -C "$tmp" toy
head -c 300 "$tmp/toy.tar.xz" >"$tmp/cut.tar.xz"
cp -r "$toy" "$tmp/old"
sed -i 's/PATCHLEVEL.*/PATCHLEVEL = 2/' "$tmp/old/Makefile"
cp -r "$toy" "$tmp/user"
git -C "$tmp/user" init -q
git -C "$tmp/user" add -f .
git -C "$tmp/user" commit -q -m 'my kernel'

## fetch.sh

no 'fetch: no such file' 'no such file' env KERNEL="$tmp/none" lab/fetch.sh
no 'fetch: a cut-off tarball' 'no complete tarball' env KERNEL="$tmp/cut.tar.xz" lab/fetch.sh
no 'fetch: a tree of another version' 'is Linux 7.2.4, the series is for 7.3.y' env KERNEL="$tmp/old" lab/fetch.sh
no 'fetch: a directory that is no kernel' 'no kernel tree' env KERNEL="$repo/lab" lab/fetch.sh
yes 'fetch: a tarball' env KERNEL="$tmp/toy.tar.xz" lab/fetch.sh
dir=$(<"$tmp/out")
same 'fetch: what the tarball holds' "$(cat "$dir/version" "$dir/linux/mm/x.o")" "7.3.4
forced past .gitignore"
tarball=$(git --git-dir="$dir/git" rev-parse base)
yes 'fetch: a git tree' env KERNEL="$tmp/user" lab/fetch.sh
same 'fetch: the same source gives the same base' "$(git --git-dir="$(<"$tmp/out")/git" rev-parse base)" "$tarball"
yes 'fetch: a plain tree' env KERNEL="$toy" lab/fetch.sh
same 'fetch: the same source gives the same base, again' "$(git --git-dir="$(<"$tmp/out")/git" rev-parse base)" "$tarball"

fake=$tmp/fake
mkdir "$fake"
with_fake() { env PATH="$fake:$PATH" "$@"; }
printf '#!/bin/sh\necho F S 1 1 1000 1%% /\nF=F; echo dev 9 9 1000 1%% /\n' >"$fake/df"
chmod +x "$fake/df"
no 'fetch: too little disk' 'too little disk' with_fake lab/fetch.sh
rm "$fake/df"
if [ -r /usr/share/keyrings/debian-archive-keyring.gpg ]; then
	# An apt that knows a mirror and cannot reach it, or gets half of it.
	cat >"$fake/apt-get" <<-'FAKE'
		#!/bin/bash
		case " $* " in
		*' indextargets '*) echo 'http://mirror.invalid/debian Debian x' ;;
		*' update '*) [ -e "${0%/*}/online" ] ;;
		*' download '*) echo half >linux-source.deb; touch "${0%/*}/downloaded" ;;
		esac
	FAKE
	cat >"$fake/apt-cache" <<-'FAKE'
		#!/bin/bash
		printf 'Version: 7.3.4-1\nFilename: pool/x.deb\nSize: 5\nSHA256: %064d\n\n' 0
	FAKE
	chmod +x "$fake"/*
	no 'fetch: no network' 'no network, and no kernel source' with_fake lab/fetch.sh
	touch "$fake/online"
	no 'fetch: a damaged download' 'arrived damaged' with_fake lab/fetch.sh
	rm -f "$fake/downloaded"
	mkdir -p "$LAB_CACHE/base/debian-7.3.4-0" "$LAB_CACHE/base/debian-7.3.10-0" "$LAB_CACHE/base/debian-7.3.11-0"
	echo 7.3.4 >"$LAB_CACHE/base/debian-7.3.4-0/version"
	echo 7.3.10 >"$LAB_CACHE/base/debian-7.3.10-0/version"
	rm "$fake/online"
	yes 'fetch: from the cache, without a network' with_fake lab/fetch.sh
	same 'fetch: takes the newest complete one' "$(<"$tmp/out")" "$LAB_CACHE/base/debian-7.3.10-0"
	no 'fetch: UPDATE=1 without a network' 'go on with 7.3.10' with_fake env UPDATE=1 lab/fetch.sh
	rm -rf "$LAB_CACHE"/base/debian-*
else
	echo "skip - fetch: Debian's archive (no debian-archive-keyring)"
fi
rm -f "$fake"/*

## assemble.sh, refresh.sh

export KERNEL=$tmp/toy.tar.xz
mkdir -p "$linux"
no 'linux: build/linux is something else' "is not what 'make linux' makes" lab/assemble.sh
rmdir "$linux"
no 'refresh: before make linux' "run 'make linux' first" lab/refresh.sh
yes 'linux: without patches' lab/assemble.sh
lgit() { git -C "$linux" "$@"; }
commit() { lgit add -A -f; lgit commit -q -m "$1"; }

sed -i 's/^7$/seven/' "$linux/mm/rmap.c"
commit 'mm: first

A body.

Signed-off-by: A. Ũthor <a@localhost>'
echo 'int lazy;' >"$linux/mm/lazy.c"
echo '#!/bin/sh' >"$linux/mm/run.sh"
chmod +x "$linux/mm/run.sh"
sed -i 's/^8$/eight/' "$linux/mm/rmap.c"
commit 'mm: [second] with a subject: longer than a mail header line is allowed to be before it is folded, ünïcode'
printf 'no newline at its end' >"$linux/Documentation/lazy.rst"
commit 'Documentation: only a new file'
tree=$(lgit rev-parse 'HEAD^{tree}')
no 'linux: commits that are not saved' 'has commits that are not in patches/' lab/assemble.sh
yes 'linux: -k takes them as they are' lab/assemble.sh -k
yes 'refresh: edits and new files' lab/refresh.sh
same 'refresh: three patches' "$(find "$repo/patches" -type f | wc -l)" 3
same 'refresh: Adds: names the new files' "$(cat "$repo"/patches/* | grep ^Adds:)" 'Adds: mm/lazy.c
Adds: mm/run.sh
Adds: Documentation/lazy.rst'
same 'refresh: new files lie in the folders' "$(cd "$repo" && stat -c '%n %A' mm/* Documentation/*)" \
	'mm/lazy.c -rw-r--r--
mm/run.sh -rwxr-xr-x
Documentation/lazy.rst -rw-r--r--'
same 'refresh: patches have no new file, signature or prefix trouble' \
	"$(grep -lE '^new file|signature|^diff --git mm' "$repo"/patches/* || :)" ''
cp -r "$repo/patches" "$tmp/before"
log=$(lgit log --format='%an %ae %aI %B')
rm -rf "$linux"
yes 'linux: from patches' lab/assemble.sh
same 'round trip: the identical tree' "$(tree_of "$linux")" "$tree"
same 'round trip: messages, authors and dates' "$(lgit log --format='%an %ae %aI %B')" "$log"
same 'round trip: subject and author survive' "$(lgit log -1 --format='%an: %s' HEAD~1)" \
	'A. Ũthor: mm: [second] with a subject: longer than a mail header line is allowed to be before it is folded, ünïcode'
first=$(lgit rev-parse HEAD)
yes 'refresh: again' lab/refresh.sh
same 'refresh: changes nothing then' "$(diff -r "$tmp/before" "$repo/patches" 2>&1)" ''
rm -rf "$linux"
yes 'linux: once more' lab/assemble.sh
same 'linux: the same commit ids' "$(lgit rev-parse HEAD)" "$first"
touch -d 2020-01-01 "$linux/mm/vma.c" "$linux/mm/rmap.c"
sed -i 's/eight/EIGHT/' "$repo/patches"/0002*
yes 'linux: a changed patch' lab/assemble.sh
same 'linux: an untouched file keeps its time' "$(stat -c %Y "$linux/mm/vma.c")" "$(date -d 2020-01-01 +%s)"
same 'linux: the changed one has the change' "$(grep -c EIGHT "$linux/mm/rmap.c")" 1
cp "$tmp/before"/* "$repo/patches/"
yes 'linux: and back' lab/assemble.sh
good=$(lgit rev-parse HEAD)

no_linux() # NAME WORDS: a broken patches/ leaves build/linux as it is.
{
	local before
	before=$(state "$linux")
	no "$1" "$2" lab/assemble.sh
	same "$1: build/linux is as it was" "$(state "$linux")" "$before"
	rm -rf "$repo/patches"
	cp -r "$tmp/before" "$repo/patches"
}
sed -i 's/^-7$/-77/' "$repo/patches"/0001*
no_linux 'linux: a patch that does not apply' 'does not apply'
sed -i '/^From: /d; /^ *<a@/d' "$repo/patches"/0001*
no_linux 'linux: a patch without an author' 'is no mail'
mv "$repo/mm/lazy.c" "$tmp/lazy.c"
no_linux 'linux: a new file that is missing' 'which is not in this repository'
mv "$tmp/lazy.c" "$repo/mm/"
sed -i 's/^Adds: Doc.*/&\nAdds: mm\/lazy.c/' "$repo/patches"/0003*
no_linux 'linux: a new file named twice' 'which the tree has already'
sed -i '/^Adds/d' "$repo/patches"/0003*
no_linux 'linux: a patch that changes nothing' 'changes nothing'
echo stray >"$repo/mm/stray.c"
rm "$linux/.git/lab-inputs"
yes 'linux: a file that no patch adds' lab/assemble.sh
same 'linux: says so' "$(grep -c 'no patch adds mm/stray.c' "$tmp/err")" 1

echo dirt >>"$linux/mm/vma.c"
no 'linux: uncommitted changes' 'not committed' lab/assemble.sh
no 'refresh: uncommitted changes' 'not committed' lab/refresh.sh
lgit checkout -q mm/vma.c
echo dirt >"$linux/mm/untracked.c"
no 'linux: an untracked file' 'not committed' lab/assemble.sh
no 'refresh: an untracked file' 'not committed' lab/refresh.sh
rm "$linux/mm/untracked.c"

# refused NAME WORDS: nothing may be written; then back to the good commits.
refused()
{
	local before after
	before=$(cd "$repo" && find patches mm Documentation -type f -print0 | sort -z | xargs -0 sha256sum)
	no "refresh: $1" "$2" lab/refresh.sh
	after=$(cd "$repo" && find patches mm Documentation -type f -print0 | sort -z | xargs -0 sha256sum)
	[ "$before" = "$after" ] || { diff <(echo "$before") <(echo "$after") >"$tmp/out"; fail "refresh: $1 wrote something"; }
	lgit rebase --abort 2>/dev/null || :
	lgit reset -q --hard "$good"
}
echo more >>"$linux/mm/lazy.c"; commit 'mm: change a new file'
refused 'a new file changed by a later commit' 'a new file enters whole'
lgit rm -q mm/vma.c; lgit commit -q -m 'mm: delete'
refused 'a deletion' 'deletes or retypes mm/vma.c'
lgit mv mm/vma.c mm/vma2.c; lgit commit -q -m 'mm: rename'
refused 'a rename' 'mm/vma.c'
chmod +x "$linux/mm/vma.c"; commit 'mm: mode'
refused 'a mode change' 'changes the mode of mm/vma.c'
printf 'a\0b' >"$linux/mm/bin"; commit 'mm: binary'
refused 'a binary file' 'binary'
ln -s vma.c "$linux/mm/link.c"; commit 'mm: link'
refused 'a symbolic link' 'no ordinary file'
echo x >"$linux/README.md"; commit 'readme'
refused 'a new file at the root' "outside the kernel's own folders"
mkdir "$linux/lab"; echo x >"$linux/lab/x.sh"; commit 'lab'
refused 'a new file in a folder of this repository' "outside the kernel's own folders"
echo x >"$linux/mm/a b.c"; commit 'blank'
refused 'a name with a blank' 'no blanks'
lgit commit -q --allow-empty -m 'nothing'
refused 'an empty commit' 'is empty'
echo x >>"$linux/mm/vma.c"; commit 'fixup! mm: first'
refused 'a fixup commit' 'to be squashed'
echo x >>"$linux/mm/vma.c"; commit 'mm: tricky

---
after a scissors line'
refused 'a message that git am would cut' 'beginning'
lgit checkout -q -b side HEAD~1; echo x >>"$linux/mm/vma.c"; commit 'side'
lgit checkout -q lazy; lgit merge -q -m merge side
refused 'a merge' 'merge commits'
lgit branch -q -D side
echo x >>"$linux/mm/vma.c"; commit 'mm: to be stopped at'
GIT_SEQUENCE_EDITOR='sed -i 1s/^pick/edit/' lgit rebase -q -i HEAD~1 2>/dev/null
refused 'a rebase under way' 'in the middle of a rebase'
echo edited >>"$repo/mm/lazy.c"
echo x >>"$linux/mm/vma.c"; commit 'mm: fourth'
no 'refresh: edits in the folders' 'FORCE=1' lab/refresh.sh
yes 'refresh: FORCE=1 overwrites them' env FORCE=1 lab/refresh.sh
same 'refresh: overwritten' "$(cat "$repo/mm/lazy.c")" 'int lazy;'
lgit reset -q --hard base
echo only >>"$linux/mm/vma.c"; commit 'mm: only this'
yes 'refresh: a series that shrank' lab/refresh.sh
same 'refresh: stale patches and new files are gone, strays are not' \
	"$(cd "$repo" && find patches mm Documentation -type f 2>/dev/null)" 'patches/0001-mm-only-this.patch
mm/stray.c'
lgit reset -q --hard "$good"
yes 'refresh: and the whole one again' lab/refresh.sh
same 'refresh: as at first' "$(diff -r "$tmp/before" "$repo/patches" 2>&1)" ''
rm "$repo/mm/stray.c"

## series.sh, apply.sh

unset KERNEL
user=$tmp/user
yes 'series: mails' env KERNEL="$tmp/toy.tar.xz" lab/series.sh
cp -r "$user" "$tmp/am"
yes 'series: git am takes them' git -C "$tmp/am" am -q "$repo"/build/series/000[1-9]*
same 'series: git am gives the identical tree' "$(tree_of "$tmp/am")" "$tree"
same 'series: a cover letter with its subject' \
	"$(grep -c "^Subject: \[PATCH 0/3\] $(head -n 1 "$lab/cover.txt")" "$repo"/build/series/0000*)" 1
same 'series: no header of our own' "$(grep -h ^Adds: "$repo"/build/series/* || :)" ''

# untouched NAME WORDS: apply refuses and changes nothing.
untouched()
{
	local before
	before=$(state "$user")
	no "apply: $1" "$2" lab/apply.sh "${3:-$user}"
	[ "$before" = "$(state "$user")" ] || { echo >"$tmp/out"; fail "apply: $1: the tree was touched"; }
}
untouched 'no tree named' 'no such directory' "$tmp/none"
untouched 'not git' 'not the top of a git tree' "$toy"
untouched 'a folder of a tree' 'not the top of a git tree' "$user/mm"
echo x >>"$user/mm/vma.c"
untouched 'a dirty tree' 'not committed'
git -C "$user" add mm/vma.c
untouched 'a dirty index' 'not committed'
git -C "$user" reset -q --hard
echo x >"$user/mm/new.c"
untouched 'an untracked file' 'not committed'
rm "$user/mm/new.c"
git -C "$user" branch anon-vma-lazy
untouched 'a branch of that name' 'has a branch anon-vma-lazy'
git -C "$user" branch -q -D anon-vma-lazy
sed -i 's/PATCHLEVEL.*/PATCHLEVEL = 4/' "$user/Makefile"
git -C "$user" commit -q -a -m 7.4
untouched 'another version' 'is Linux 7.4, the series is for 7.3.y'
git -C "$user" reset -q --hard HEAD~1
sed -i 's/^7$/sieben/' "$user/mm/rmap.c"
git -C "$user" commit -q -a -m 'mine'
untouched 'a tree that the patches do not fit' 'is as it was'
git -C "$user" reset -q --hard HEAD~1
echo mine >"$user/mm/lazy.c"
git -C "$user" add mm/lazy.c
git -C "$user" commit -q -m 'mine too'
untouched 'a tree that has a new file already' 'is as it was'
git -C "$user" reset -q --hard HEAD~1
yes 'apply: on a clean tree' lab/apply.sh "$user"
same 'apply: the identical tree, checked out' "$(tree_of "$user") $(git -C "$user" symbolic-ref --short HEAD)$(
	git -C "$user" status --porcelain)" "$tree anon-vma-lazy"

## kernel.sh, deps.sh, test.sh

no 'kernel: an unknown ARCH' 'x86_64 and arm64 are known' env ARCH=vax lab/kernel.sh
no 'kernel: an unknown CONFIG' 'no lab/config/none.config' env CONFIG=none lab/kernel.sh
no 'kernel: an unknown PAGES' 'no lab/config/arm64-8k.config' env ARCH=arm64 PAGES=8k lab/kernel.sh
no 'initramfs: an unknown ARCH' 'x86_64 and arm64 are known' lab/initramfs.sh -a vax -o "$tmp/initramfs"
no 'kernel: an unknown LAZY' 'y, n and auto' env LAZY=x lab/kernel.sh
if [ -n "$(ls "$real_cache"/base/debian-*/version 2>/dev/null)" ]; then
	echo CONFIG_NO_SUCH_OPTION=y >"$repo/lab/config/unknown-option.config"
	no 'kernel: an option that Kconfig does not know' 'does not give CONFIG_NO_SUCH_OPTION=y' \
		env BASE=1 CONFIG=unknown-option LAB_CACHE="$real_cache" lab/kernel.sh
	rm -rf "$real_cache"/base/*/x86_64-unknown-option*
else
	echo "skip - kernel: an option that Kconfig does not know (no kernel source in the cache)"
fi

printf '#!/bin/sh\necho 1000\n' >"$fake/id"
printf '#!/bin/sh\nexit 1\n' >"$fake/dpkg-query"
printf '#!/bin/sh\ntouch %s\n' "$fake/called" >"$fake/apt-get"
chmod +x "$fake"/*
no 'deps: not root: the apt line and no more' 'apt-get install --no-install-recommends -y git make' with_fake lab/deps.sh
same 'deps: not root: one line, nothing called' "$(wc -l <"$tmp/err")$(find "$fake" -name called)" 1
rm "$fake"/*

no 'bench: a profile of nothing' 'of which CASE' lab/bench.sh -p
no 'selftests: two measures at once' 'this text' lab/selftests.sh -o -a

# A guest that is hit by QEMU's fault as often as $fake/faults says.
cat >"$fake/qemu-system-x86_64" <<'END'
#!/bin/sh
for arg; do
	case $arg in
	file,id=res,*) result=${arg##*path=} ;;
	file,id=con,*) console=${arg##*path=} ;;
	esac
done
here=${0%/*}
read -r faults <"$here/faults"
echo $((faults - 1)) >"$here/faults"
if [ "$faults" -gt 0 ]; then
	echo 'Oops: int3: 0000 [#1] SMP' >"$console"
	echo 'Kernel panic - not syncing: Fatal exception in interrupt' >>"$console"
else
	printf 'said\n\nlab-exit 0\n' >"$result"
fi
END
chmod +x "$fake/qemu-system-x86_64"
fake_boot() { echo "$1" >"$fake/faults"; with_fake lab/boot.sh -q -a x86_64 -i /dev/null /dev/null -- true; }
yes 'boot: again after the fault of old QEMU' fake_boot 2
same 'boot: what the guest says then' "$(cat "$tmp/out")" said
no 'boot: not for ever' '' fake_boot 3
rm "$fake"/*

step() { printf '#!/bin/sh\n%s\n' "$2" >"$repo/lab/tests/$1.sh"; chmod +x "$repo/lab/tests/$1.sh"; }
# shellcheck disable=SC2016
sed -i -e '/^steps=(/,/^)/d' -e '/^beside=(/,/^)/d' -e '/^\[.*beside+=(/,/^)/d' \
	-e '/^cd "$top"/i steps=("a 9 lab/tests/a.sh")\nbeside=("b 2 lab/tests/b.sh")' "$repo/lab/test.sh"
step a 'echo "ok - one"; echo "skip - two"'
step b 'echo "ok - three"'
yes 'test: all is well' lab/test.sh
same 'test: the count' "$(tail -n 1 "$tmp/out")" '2 passed, 0 failed, 1 skipped'
step b 'echo "ok - three"; exit 1'
no 'test: a step that dies' '' lab/test.sh
same 'test: counts as failed' "$(tail -n 1 "$tmp/out")" '2 passed, 1 failed, 1 skipped'
step b 'exit 0'
no 'test: a step that says nothing' '' lab/test.sh
step b 'echo "not ok - bad"'
no 'test: a failed line' '' lab/test.sh
step b 'echo "ok - begun"; sleep 20'
no 'test: a step without an end' '' lab/test.sh
same 'test: counts as failed, too' "$(tail -n 1 "$tmp/out")" '2 passed, 1 failed, 1 skipped'
yes 'test: one step by name' lab/test.sh a
no 'test: no such step' 'no step zzz' lab/test.sh zzz

shellcheck=$(command -v shellcheck || :)
if [ -n "$shellcheck" ]; then
	yes 'shellcheck' bash -c "cd '$top' && shellcheck lab/*.sh lab/tests/*.sh"
else
	echo 'skip - shellcheck (not installed)'
fi
