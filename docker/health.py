"""Exit with 0 if one of the URLs answers with 200, and with 1 otherwise. Images have no curl."""

import sys
from urllib.request import ProxyHandler, build_opener

SECONDS = 4


def healthy(url: str) -> bool:
    """Whether the URL answers. A proxy of the environment is not for this machine's own addresses."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=SECONDS) as answer:
            return answer.status == 200
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(not any(healthy(url) for url in sys.argv[1:]))
