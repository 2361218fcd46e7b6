"""Facts about OpenAI's Agents SDK on the gateway: an agent with a tool, over the Responses API and over chats."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.responses_world import World

agents = pytest.importorskip("agents", reason="openai-agents is not installed")

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
QUESTION = "What is the weather in Oslo?"


@pytest.fixture
def world(gateway: Any) -> Iterator[World]:
    def answer(model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Calls the tool once; then says what it gave."""
        results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
        return [{"content": f"It is {results[-1]}."} if results else {"tool_calls": [CALL]}]

    before, gateway.engine.messages = gateway.engine.messages, answer
    made = World(gateway)
    yield made
    made.close()
    gateway.engine.messages = before


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("api", ["responses", "chat"])
def test_an_agent_calls_its_tool_and_answers_with_the_result(world: World, api: str, streamed: bool) -> None:
    asked: list[str] = []

    @agents.function_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "sunny"

    async def run() -> str:
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        base_url, key = f"{world.gateway.http.base_url}/v1", world.client().api_key
        async with openai.AsyncOpenAI(base_url=base_url, api_key=key, http_client=http, max_retries=0) as client:
            kind = agents.OpenAIResponsesModel if api == "responses" else agents.OpenAIChatCompletionsModel
            agent = agents.Agent(
                name="guide", instructions="Be brief.", model=kind("reviews", openai_client=client), tools=[weather]
            )
            config = agents.RunConfig(tracing_disabled=True)
            if not streamed:
                return (await agents.Runner.run(agent, QUESTION, run_config=config)).final_output
            result = agents.Runner.run_streamed(agent, QUESTION, run_config=config)
            async for _ in result.stream_events():
                pass
            return result.final_output

    assert asyncio.run(run()) == "It is sunny."
    assert asked == ["Oslo"]
    system, question, called, result = world.sent()["messages"]
    assert (system["content"], question["content"], result["content"]) == ("Be brief.", QUESTION, "sunny")
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
    records = [record for record in world.gateway.spooled() if hasattr(record, "answer")]
    assert [record.finish_reason for record in records] == ["tool_calls", "stop"]
    assert records[1].answer == "It is sunny."
