# bench-svg.awk: bench.tsv as a chart, a line a case: what the series takes, as a
# part of what is taken without it.

BEGIN {
	FS = "\t"
	left = 190
	low = 0.7	# at the left
	high = 1.1	# at the right
	width = 560
	y = 78
	split("8 9 10", column, " ")
	split("#9aa0a6 #e08a1e #1f77b4", colour, " ")
	split("option off|switch 0|switch 1", title, "|")
}

function x(value)
{
	value = value < low ? low : value > high ? high : value
	return left + width * (value - low) / (high - low)
}

NR == 1 { next }

{
	body = body sprintf("<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", left - 12, y + 4, $1)
	body = body sprintf("<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#d33\"/>\n",
			    x($3), x($3), y - 7, y + 7)
	for (i = 1; i <= 3; i++)
		body = body sprintf("<circle cx=\"%.1f\" cy=\"%d\" r=\"4\" fill=\"%s\"/>\n",
				    x($column[i]), y, colour[i])
	body = body sprintf("<text x=\"%d\" y=\"%d\">%.3f</text>\n", left + width + 16, y + 4, $10)
	y += 18
}

END {
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"830\" height=\"%d\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n", y + 16
	print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
	print "<text x=\"16\" y=\"24\" font-size=\"16\" font-weight=\"bold\">Instructions, as a part of what the unpatched kernel takes</text>"
	for (i = 1; i <= 3; i++)
		printf "<circle cx=\"%d\" cy=\"40\" r=\"4\" fill=\"%s\"/><text x=\"%d\" y=\"44\">%s</text>\n",
			24 + 110 * (i - 1), colour[i], 34 + 110 * (i - 1), title[i]
	print "<line x1=\"354\" x2=\"354\" y1=\"33\" y2=\"47\" stroke=\"#d33\"/><text x=\"362\" y=\"44\">bar of switch 1</text>"
	for (v = low; v < high + 0.01; v += 0.1)
		printf "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"66\" y2=\"%d\" stroke=\"#ddd\"/><text x=\"%.1f\" y=\"62\" text-anchor=\"middle\">%.1f</text>\n",
			x(v), x(v), y, x(v), v
	printf "%s</svg>\n", body
}
