"""KPIs: pure functions over arrays, their intervals and the evidence built from them."""
