#!/bin/bash
# results.sh: write the results of the last runs, from build/results, to README.md:
# each between a line "<!-- NAME: command -->" and the next "<!-- end -->". What
# was not run stays as it is.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readme=$top/README.md results=$build/results
tmp=$(mktemp -d "${TMPDIR:-/tmp}/results.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

# slabs FILE WORKLOAD=TITLE...: what FILE calls a workload, and what the README does.
slabs()
{
	local file=$1
	shift
	printf '%s\n' "$@" | awk -F '\t' '
	FILENAME == "-" {
		at = index($0, "=")
		order[++n] = substr($0, 1, at - 1)
		title[order[n]] = substr($0, at + 1)
		next
	}
	$2 ~ /^(anon_vma|anon_vma_chain|vm_area_struct)$/ {
		row[$1] = row[$1] sprintf("| %s | `%s` | %d | %d | %.1f %% | %d | %d |\n",
			row[$1] == "" ? title[$1] : "", $2, $4, $7, $4 ? 100 * $7 / $4 : 100, $5, $8)
	}
	END {
		print "| workload | cache | `=0` | `=1` | left | KB `=0` | KB `=1` |"
		print "|---|---|--:|--:|--:|--:|--:|"
		for (i = 1; i <= n; i++) printf "%s", row[order[i]]
	}' - "$file"
}

demo()
{
	slabs "$results/demo.tsv" "boot=Debian, 30 s after multi-user" \
		"gaps-touched=600 VMAs, 24 children with 300 more each" \
		"adjacent-touched=the same, without gaps between VMAs" \
		"gaps-moved=after every VMA was moved by mremap"
}

report()
{
	slabs "$results/report.tsv" "chromium=headless Chromium, 24 pages" \
		"postgresql=PostgreSQL, 24 busy connections" \
		"redis-before=redis, before a BGSAVE" "redis-save=redis, while its child saves" \
		"build=make -j4 of C files"
}

# What was run with another state of the series says so.
long()
{
	awk -F '\t' -v series="$(code_hash)" '
	BEGIN {
		what["lockdep"] = "stress, lockdep and DEBUG_VM"
		what["failslab"] = "stress, 10 % of slab allocations fail"
		what["kasan"] = "stress, KASAN (generic)"
		what["kcsan"] = "stress, KCSAN"
		what["rt"] = "stress, PREEMPT_RT, lockdep"
		what["slub"] = "stress, `slub_debug=FZPU`"
		what["mutants"] = "each rule broken: tests that find out"
		what["kselftest"] = "the mm selftests, compared with the unpatched kernel"
		what["static"] = "compilers, sparse, coccinelle, kernel-doc, sphinx: nothing new"
		what["arm64-16k"] = "KUnit and the quick suite on arm64 with pages of 16 kB"
		what["arm64-64k"] = "KUnit and the quick suite on arm64 with pages of 64 kB"
		what["arm64-mte"] = "KUnit and the quick suite on arm64 with MTE"
		n = split("lockdep failslab kasan kcsan rt slub mutants kselftest " \
			  "static arm64-16k arm64-64k arm64-mte", order, " ")
		print "| `make test-long STEPS=` | what | seconds | result |"
		print "|---|---|--:|---|"
	}
	{
		row[$1] = sprintf("| `%s` | %s | %s | %s%s |", $1, what[$1], $3, $6,
			$5 == series ? "" : ", before the last changes")
	}
	END {
		for (i = 1; i <= n; i++)
			print order[i] in row ? row[order[i]] : \
				sprintf("| `%s` | %s | - | not run |", order[i], what[order[i]])
	}' "$results/test-long.tsv"
}

for name in demo report long; do
	case $name in
	demo | report) from=$results/$name.tsv ;;
	long) from=$results/test-long.tsv ;;
	esac
	[ -s "$from" ] || { say "no $from: the table of $name stays as it is"; continue; }
	grep -q "^<!-- $name:" "$readme" || die "README.md has no line <!-- $name: ... -->"
	$name >"$tmp/table"
	awk -v name="$name" -v table="$tmp/table" '
		/^<!-- end -->$/ { on = 0 }
		!on { print }
		index($0, "<!-- " name ":") == 1 {
			on = 1
			while ((getline line <table) > 0) print line
		}' "$readme" >"$tmp/readme"
	cat "$tmp/readme" >"$readme"
	# A picture of the savings lies beside the page that shows it.
	case $name in
	demo) cp "$results/demo.svg" "$lab/savings.svg" ;;
	report) cp "$results/report.svg" "$top/Documentation/mm/anon_vma_lazy.svg" ;;
	esac
done
