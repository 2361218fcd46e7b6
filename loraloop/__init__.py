"""The Python client of LoraLoop, for apps and for people who operate it. It needs a URL and a key, and no settings."""

from core.errors import KeyRefused, LoraLoopError, Unreachable
from loraloop.async_client import AsyncClient
from loraloop.client import Client
from loraloop.errors import Refused

__all__ = ["AsyncClient", "Client", "KeyRefused", "LoraLoopError", "Refused", "Unreachable"]
