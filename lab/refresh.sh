#!/bin/bash
# refresh.sh: write the commits of build/linux back: the edits to the kernel's
# own files to patches/, new files whole to this repository's folders. What
# that layout cannot hold is refused before anything is written. FORCE=1
# overwrites edits made in patches/ and the folders since 'make linux'.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

linux=$build/linux
g() { labgit -C "$linux" "$@"; }

need_tools git sha256sum flock
[ -d "$linux/.git" ] || die "there is no build/linux: run 'make linux' first"
lock "$build/assemble.lock"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

[ ! -e "$linux/.git/rebase-merge" ] && [ ! -e "$linux/.git/rebase-apply" ] ||
	die "build/linux is in the middle of a rebase: finish it first"
[ -z "$(g status --porcelain | head -n 1)" ] ||
	die "build/linux has changes that are not committed: commit them first (git commit --fixup)"
base=$(g rev-parse -q --verify refs/lab/base) ||
	base=$(g rev-list --max-parents=0 HEAD)
g merge-base --is-ancestor "$base" HEAD 2>/dev/null ||
	die "build/linux does not descend from its base commit: rebase it onto the tag 'base'"
[ -z "$(g rev-list --merges "$base..HEAD")" ] ||
	die "build/linux has merge commits: the series is a line of patches"

if [ -z "${FORCE-}" ] && [ -n "$(ls "$top"/patches/[0-9]*.patch 2>/dev/null)" ] &&
   [ "$(cut -d' ' -f2 "$linux/.git/lab-inputs" 2>/dev/null)" != "$(series_hash)" ]; then
	die "patches/ or the new files changed after build/linux was made from them: carry that over and say FORCE=1"
fi

# What the layout can hold, looked at commit by commit before writing.
g ls-tree -d --name-only "$base" >"$tmp/folders"
: >"$tmp/added"
mapfile -t commits < <(g rev-list --reverse "$base..HEAD")
for commit in "${commits[@]}"; do
	subject=$(g log -1 --format=%s "$commit")
	about="\"$subject\" (${commit:0:12})"
	case $subject in
	'fixup! '* | 'squash! '* | 'amend! '*)
		die "$about is to be squashed: git rebase -i --autosquash base" ;;
	esac
	[ -n "$(g diff-tree -r --name-only --no-commit-id "$commit")" ] || die "$about is empty: drop it"
	# Such lines end the message or start the patch for whoever reads the mail.
	! g log -1 --format=%B "$commit" | grep -qE '^(---|diff -|Index: )' ||
		die "$about has a line in its message that git am takes for the patch's beginning"
	g diff-tree -r --no-renames --no-commit-id "$commit" >"$tmp/changes"
	! g diff-tree -r --no-renames --no-commit-id --numstat "$commit" | grep -q '^-	-	' ||
		die "$about has a binary file: the layout holds text only"
	while read -r old new _ _ status path; do
		case $status in
		A)
			[ "$new" = 100644 ] || [ "$new" = 100755 ] ||
				die "$about adds $path, which is no ordinary file"
			grep -qxF "${path%%/*}" "$tmp/folders" && [ "$path" != "${path%%/*}" ] ||
				die "$about adds $path outside the kernel's own folders"
			[[ $path != *[[:space:]]* ]] || die "$about adds '$path': no blanks in names"
			echo "$path" >>"$tmp/added"
			;;
		M)
			[ "${old#:}" = "$new" ] || die "$about changes the mode of $path"
			! grep -qxF "$path" "$tmp/added" ||
				die "$about changes $path, which an earlier commit adds: a new file enters whole, in one commit"
			;;
		*)
			die "$about deletes or retypes $path: the layout has no place for that"
			;;
		esac
	done <"$tmp/changes"
done
for path in patches lab build .ci; do
	! grep -qxF "$path" "$tmp/folders" || die "the kernel has a folder $path now: it collides with the repository's"
done

# The patches, as mails that stay the same for the same commit.
mkdir "$tmp/patches"
n=0
for commit in "${commits[@]}"; do
	n=$((n + 1))
	file=$tmp/patches/$(printf '%04d' "$n")-$(g log -1 --format=%f "$commit" | cut -c1-60 | sed 's/[-.]*$//').patch
	# diff-filter=a: without the files it adds. They are named in the header,
	# which git am and git mailinfo pass over.
	g format-patch -1 --always --stdout --zero-commit --no-signature --no-numbered \
		--subject-prefix=PATCH --no-stat --no-renames --diff-filter=a --abbrev=12 \
		--diff-algorithm=myers --no-ext-diff --no-textconv --no-color -U3 \
		--no-thread --no-attach --no-signoff --no-base --encode-email-headers \
		--src-prefix=a/ --dst-prefix=b/ "$commit" >"$tmp/mail"
	g diff-tree -r --no-renames --no-commit-id --name-only --diff-filter=A "$commit" |
		sed 's/^/Adds: /' >"$tmp/adds"
	# Before the blank line that ends the header.
	awk -v adds="$tmp/adds" '/^$/ && !done { while ((getline line <adds) > 0) print line; done = 1 }
		{ print }' "$tmp/mail" >"$file"
done

# All is well: now write. Files that the last series added and this one does
# not go; whatever else lies in the folders is not ours to remove.
for patch in "$top"/patches/[0-9]*.patch; do
	[ ! -e "$patch" ] || patch_adds "$patch"
done | sort >"$tmp/before"
comm -23 "$tmp/before" <(sort "$tmp/added") | while read -r path; do
	rm -f "$top/$path"
	rmdir -p --ignore-fail-on-non-empty "$(dirname "$top/$path")" 2>/dev/null || :
done
while read -r path; do
	mkdir -p "$(dirname "$top/$path")"
	g cat-file blob "HEAD:$path" >"$tmp/blob"
	# An unchanged file keeps its time stamp.
	cmp -s "$tmp/blob" "$top/$path" || cp "$tmp/blob" "$top/$path"
	case $(g ls-tree HEAD -- "$path") in
	100755*) chmod 755 "$top/$path" ;;
	*) chmod 644 "$top/$path" ;;
	esac
done <"$tmp/added"
mkdir -p "$top/patches"
rm -f "$top"/patches/[0-9]*.patch
[ "$n" -eq 0 ] || cp "$tmp"/patches/*.patch "$top/patches/"

g update-ref refs/lab/base "$base"
g update-ref refs/lab/assembled HEAD
g tag -f base "$base" >/dev/null
echo "$base $(series_hash)" >"$linux/.git/lab-inputs"
say "patches/: $n patches, $(wc -l <"$tmp/added") new files"
