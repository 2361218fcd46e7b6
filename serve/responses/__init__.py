"""OpenAI's Responses API, translated to chat and back. Control keeps the state of responses."""
