# demo-svg.awk: demo.tsv as a bar chart. Workloads differ in size by a factor
# of fifty, so each bar is a share of what vm.anon_vma_lazy=0 has in use.

BEGIN {
	FS = "\t"
	title["boot"] = "Debian, 30 s after multi-user"
	title["gaps-touched"] = "zygote and 24 apps"
	title["gaps-moved"] = "the same after mremap"
	title["adjacent-touched"] = "VMAs without gaps"
	title["adjacent-moved"] = "the same after mremap"
	title["chromium"] = "Chromium, 24 pages"
	title["redis-before"] = "redis"
	title["redis-save"] = "redis during BGSAVE"
	title["redis-after"] = "redis after BGSAVE"
	title["postgresql"] = "PostgreSQL, 24 connections"
	title["build"] = "make -j4"
	left = 330	# of the bars
	full = 440	# 100 %
	y = 76
}

NR == 1 || !($1 in title) || ($2 != "anon_vma" && $2 != "anon_vma_chain" &&
	    $2 != "vm_area_struct") { next }

function text(x, y, style, s)
{
	body = body sprintf("<text x=\"%d\" y=\"%d\" %s>%s</text>\n", x, y, style, s)
}

function bar(y, share, colour)
{
	body = body sprintf("<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"9\" fill=\"%s\"/>\n",
			    left, y, full * share, colour)
}

{
	if ($1 != workload) {
		workload = $1
		y += 14
		text(16, y + 13, "font-weight=\"bold\"", title[workload])
	}
	share = $4 ? $7 / $4 : 0
	text(left - 10, y + 13, "text-anchor=\"end\"", $2)
	bar(y, 1, "#b8bec6")
	bar(y + 9, share > 1.2 ? 1.2 : share, "#1f77b4")
	text(left + full + 8, y + 13, "", sprintf("%d &#8594; %d (%.1f %%)", $4, $7, 100 * share))
	y += 26
}

END {
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"980\" height=\"%d\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n", y + 16
	print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
	printf "<text x=\"16\" y=\"28\" font-size=\"17\" font-weight=\"bold\">Slab objects in use, Linux %s</text>\n", release
	print "<rect x=\"16\" y=\"46\" width=\"22\" height=\"10\" fill=\"#b8bec6\"/><text x=\"44\" y=\"56\">vm.anon_vma_lazy=0 (100 %)</text>"
	print "<rect x=\"270\" y=\"46\" width=\"22\" height=\"10\" fill=\"#1f77b4\"/><text x=\"298\" y=\"56\">vm.anon_vma_lazy=1</text>"
	printf "%s</svg>\n", body
}
