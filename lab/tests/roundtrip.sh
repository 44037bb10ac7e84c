#!/bin/bash
# The three ways out of patches/ and the new files give one tree: 'make linux',
# git am of 'make series' on the pristine source, and 'make apply'; and 'make
# refresh' gives back the patches that build/linux was made from.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

if [ -z "$(ls "$top"/patches/[0-9]*.patch 2>/dev/null)" ]; then
	echo "skip - round trip: patches/ is empty"
	exit
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
base=$("$lab/fetch.sh")
start=$(labgit --git-dir="$base/git" rev-parse refs/heads/base)

# A checkout of the folders that the series touches is all that git needs.
sparse()
{
	labgit init -q -b master "$1"
	echo "$base/git/objects" >"$1/.git/objects/info/alternates"
	labgit -C "$1" update-ref refs/heads/master "$start"
	labgit -C "$1" sparse-checkout set --cone --no-sparse-index "${folders[@]}"
	labgit -C "$1" reset -q --hard
}

labgit init -q --bare "$tmp/git"
echo "$base/git/objects" >"$tmp/git/objects/info/alternates"
end=$("$lab/stack.sh" "$tmp/git" "$start")
want=$(labgit --git-dir="$tmp/git" rev-parse "$end^{tree}")
mapfile -t folders < <(labgit --git-dir="$tmp/git" diff --no-renames --name-only "$start" "$end" |
	sed -n 's,/[^/]*$,,p' | sort -u)

"$lab/series.sh" 2>/dev/null
mapfile -t mails < <(printf '%s\n' "$build"/series/*.patch | grep -v '/0000-')
sparse "$tmp/am"
if GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@localhost \
   labgit -C "$tmp/am" am -q "${mails[@]}" >"$tmp/out" 2>&1 &&
   [ "$(labgit -C "$tmp/am" rev-parse 'HEAD^{tree}')" = "$want" ]; then
	echo "ok - git am of build/series gives the tree of make linux"
else
	sed 's/^/# /' "$tmp/out"
	echo "not ok - git am of build/series gives the tree of make linux"
fi

# The mutants are patches on top: they would go stale unnoticed.
if "$lab/mutants.sh" -c >"$tmp/out" 2>&1 &&
   GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@localhost \
   labgit -C "$tmp/am" am -q "$lab"/mutants/*.patch >>"$tmp/out" 2>&1; then
	echo "ok - the mutants apply, and name tests that there are"
else
	sed 's/^/# /' "$tmp/out"
	echo "not ok - the mutants apply, and name tests that there are"
fi

if grep -lE '^Adds:' "$build"/series/*.patch; then
	echo "not ok - build/series has no header of this repository's own"
else
	echo "ok - build/series has no header of this repository's own"
fi

sparse "$tmp/user"
if "$lab/apply.sh" "$tmp/user" >"$tmp/out" 2>&1 &&
   [ "$(git -C "$tmp/user" rev-parse 'anon-vma-lazy^{tree}')" = "$want" ] &&
   [ -z "$(git -C "$tmp/user" status --porcelain)" ]; then
	echo "ok - make apply gives the tree of make linux"
else
	sed 's/^/# /' "$tmp/out"
	echo "not ok - make apply gives the tree of make linux"
fi

# In a copy of this repository, whose build/linux is a sparse one.
mkdir -p "$tmp/repo/build"
cp -r "$lab" "$top/patches" "$tmp/repo/"
for patch in "$top"/patches/[0-9]*.patch; do patch_adds "$patch"; done >"$tmp/adds"
tar -c -C "$top" -T "$tmp/adds" | tar -x -C "$tmp/repo"
sparse "$tmp/repo/build/linux"
labgit -C "$tmp/repo/build/linux" update-ref refs/lab/assembled "$start"
lab() { env -u LAB_BUILD "$tmp/repo/lab/$1" >"$tmp/out" 2>&1; }
cp -r "$tmp/repo/patches" "$tmp/before"
if lab assemble.sh && [ "$(git -C "$tmp/repo/build/linux" rev-parse 'HEAD^{tree}')" = "$want" ] &&
   lab refresh.sh && diff -r "$tmp/before" "$tmp/repo/patches" >>"$tmp/out" &&
   tar -d -C "$tmp/repo" -f <(tar -c -C "$top" -T "$tmp/adds") >>"$tmp/out" 2>&1; then
	echo "ok - make refresh gives back patches and new files as they are"
else
	sed 's/^/# /' "$tmp/out"
	echo "not ok - make refresh gives back patches and new files as they are"
fi
