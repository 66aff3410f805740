"""What replies use: prices, the counters of limits, and the sums for each day."""
