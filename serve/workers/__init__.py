"""What the workers of one gateway share: counters in memory, and questions to each other."""
