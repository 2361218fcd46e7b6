"""Developer tools: generated references, checks, and a running stack for tests and benchmarks."""
