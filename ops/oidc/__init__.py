"""Log-in by an OpenID Connect provider: its requests, its tokens, and what a person's groups allow."""
