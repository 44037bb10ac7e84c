# bench.awk: what bench prints, a column with the variant in front, as a table
# and as the file that -v tsv names. Exits 1 when a case misses its bar, or with
# -v repeats above 1, when a minimum does not repeat.

BEGIN {
	FS = OFS = "\t"
	split("base off 0 1", variants, " ")
	split("unpatched|option off|switch 0|switch 1", title, "|")
}

NF != 8 || $1 !~ /^(base|off|0|1)$/ {
	printf "not a result: %s\n", $0
	bad = 1
	next
}

{
	key = $1 SUBSEP $2
	if (!($2 in bar)) {
		name[++nr] = $2
		op[$2] = $3
		bar[$2] = $4
	}
	if (!(key in runs) || $7 < min[key])
		min[key] = $7
	if (!(key in runs) || $7 > max[key])
		max[key] = $7
	sum[key] += $8
	runs[key]++
}

function ratio(variant, c, of)
{
	return of["base", c] ? of[variant, c] / of["base", c] : 0
}

# Compared as printed.
function check(what, c, value, low, high,	bounds)
{
	value = sprintf("%.3f", value)
	if (value + 0 >= low && value + 0 <= high)
		return
	bounds = low ? "not within " low ".." high : "at most " high
	miss[++missed] = sprintf("MISSED  %-20s %s: %s, %s", c, what, value, bounds)
}

END {
	print "case", "operation", "bar", "unpatched", "off", "switch_0", "switch_1", \
		"off_ratio", "switch_0_ratio", "switch_1_ratio", "unpatched_mean", \
		"off_mean", "switch_0_mean", "switch_1_mean", "switch_1_mean_ratio" >tsv
	printf "%-20s %12s %10s %10s %10s %10s %6s\n", "instructions",
		title[1], title[2], title[3], title[4], "1, mean", "bar"
	for (i = 1; i <= nr; i++) {
		c = name[i]
		# Where pages lie is chance, and what compaction takes depends on it.
		loose = c == "compact" ? 0.03 : 0
		whole = 1
		for (v = 1; v <= 4; v++) {
			key = variants[v] SUBSEP c
			if (runs[key] != repeats) {
				miss[++missed] = sprintf("MISSED  %-20s %s: did not run", c, title[v])
				whole = 0
				continue
			}
			mean[key] = sum[key] / repeats
			diff = max[key] / min[key] - 1
			if (diff > worst && !loose)
				worst = diff
			if (diff > 0.001 + loose)
				miss[++missed] = sprintf("MISSED  %-20s %s: repeats within %.2f %%, not %.1f %%",
							 c, title[v], 100 * diff, 100 * (0.001 + loose))
		}
		if (!whole)
			continue
		printf "%-20s %12.1f %10.3f %10.3f %10.3f %10.3f %6s\n", c, min["base", c],
			ratio("off", c, min), ratio("0", c, min), ratio("1", c, min),
			ratio("1", c, mean), bar[c]
		print c, op[c], bar[c], min["base", c], min["off", c], min["0", c], min["1", c], \
			sprintf("%.4f", ratio("off", c, min)), sprintf("%.4f", ratio("0", c, min)), \
			sprintf("%.4f", ratio("1", c, min)), mean["base", c], mean["off", c], \
			mean["0", c], mean["1", c], sprintf("%.4f", ratio("1", c, mean)) >tsv
		check("option off", c, ratio("off", c, min), 0.995 - loose, 1.005 + loose)
		check("switch 1", c, ratio("1", c, min), 0, bar[c])
	}
	print "\nInstructions of one operation without the series, the minimum of all rounds, and"
	print "what it takes with the series as a part of that; mean: of all rounds, not the minimum."
	if (repeats > 1)
		printf "The minimum repeats within %.3f %% in %d runs, but for compact.\n",
			100 * worst, repeats
	for (i = 1; i <= missed; i++)
		print miss[i]
	if (!nr)
		print "nothing was measured"
	exit missed || bad || !nr
}
