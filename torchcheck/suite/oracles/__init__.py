"""References that owe nothing to torch: plain float64, `math`, `fractions`, exact integers."""
