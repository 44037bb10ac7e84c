# demo-bars.awk: what demo.tsv must show. Prints every bar, exits 1 if one is
# missed, as it is where nothing was counted.

BEGIN { FS = "\t" }

{
	off[$1, $2] = $4
	on[$1, $2] = $7
}

function verdict(good, text)
{
	printf "%s  %s\n", good ? "ok    " : "MISSED", text
	missed += !good
}

function at_most(workload, cache, limit,	share)
{
	share = off[workload, cache] ? 100 * on[workload, cache] / off[workload, cache] : 100
	verdict(share <= limit,
		sprintf("%s: %s in use is %.1f %% of =0, at most %.1f %%",
			workload, cache, share, limit))
}

function not_above(workload, cache)
{
	verdict(off[workload, cache] && on[workload, cache] <= off[workload, cache],
		sprintf("%s: %d %s, =0 has %d", workload, on[workload, cache],
			cache, off[workload, cache]))
}

END {
	print ""
	at_most("boot", "anon_vma", 5)
	at_most("boot", "anon_vma_chain", 5)
	at_most("gaps-touched", "anon_vma", 3.5)
	at_most("gaps-touched", "anon_vma_chain", 41.5)
	split("gaps-touched gaps-moved adjacent-touched adjacent-moved", w, " ")
	for (i = 1; i in w; i++)
		not_above(w[i], "vm_area_struct")
	# Two boots of a whole system never have the very same processes:
	# there, vm_area_structs are counted that no process lists.
	a = off["boot", "vm_area_struct"] - off["boot", "VMAs"]
	b = on["boot", "vm_area_struct"] - on["boot", "VMAs"]
	verdict(b <= (a > 0 ? a : 0),
		sprintf("boot: %d vm_area_struct beyond those that /proc/*/maps lists, =0 has %d", b, a))
	for (i = 1; i <= 3; i += 2) {
		from = w[i]
		to = w[i + 1]
		grown = on[to, "vm_area_struct"] - on[from, "vm_area_struct"]
		base = off[to, "vm_area_struct"] - off[from, "vm_area_struct"]
		verdict(grown <= (base < 0 ? base : 0),
			sprintf("%s: mremap of every VMA left %d more vm_area_struct, =0 %d",
				to, grown, base))
	}
	if (missed) {
		printf "demo: %d of the bars missed\n", missed
		exit 1
	}
}
