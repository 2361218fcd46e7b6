"""The demo: the whole loop on real people's recorded ratings, with the numbers on the table."""
