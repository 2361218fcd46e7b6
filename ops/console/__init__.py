"""The console: pages for people who must trust or stop a promotion."""
