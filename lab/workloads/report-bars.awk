# report-bars.awk: what report.tsv and report-counters.tsv must show. Prints every bar of
# the workloads that were run, exits 1 if one is missed.

BEGIN { FS = "\t" }

FNR == 1 { file++; next }
file == 1 { off[$1, $2] = $4; on[$1, $2] = $7; ran[$1] = 1 }
file == 2 { value[$1, $2, $3] = $4 }

function verdict(good, text)
{
	printf "%s  %s\n", good ? "ok    " : "MISSED", text
	missed += !good
}

function at_most(workload, cache, limit,	share)
{
	if (!(workload in ran))
		return
	share = off[workload, cache] ? 100 * on[workload, cache] / off[workload, cache] : 100
	verdict(share <= limit, sprintf("%s: %s in use is %.1f %% of =0, at most %d %%",
					workload, cache, share, limit))
}

function sum(setting, what)
{
	return value["swap", setting, what "_kswapd"] + value["swap", setting, what "_direct"]
}

function reclaimed(setting)
{
	return sum(setting, "pgscan") ? sum(setting, "pgsteal") / sum(setting, "pgscan") : 0
}

END {
	print ""
	at_most("chromium", "anon_vma", 10)
	at_most("chromium", "anon_vma_chain", 45)
	for (workload in ran) {
		at_most(workload, "anon_vma", 100)
		at_most(workload, "anon_vma_chain", 100)
	}
	if ("swap" in ran) {
		base = reclaimed("base")
		for (s = 0; s <= 1; s++)
			verdict(base && reclaimed(s) * 1.05 >= base,
				sprintf("swap: =%d reclaims %.3f of the pages it scans, without the series %.3f",
					s, reclaimed(s), base))
	}
	if (missed) {
		printf "report: %d of the bars missed\n", missed
		exit 1
	}
}
