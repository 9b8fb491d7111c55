"""Each SDK as its documentation shows it, and what it told: text, finish reason, counts in the ledger's terms."""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Callable

import anthropic
import botocore.session
import cohere
import httpx
import mistralai.client
import ollama
import openai
from botocore.config import Config
from google import genai

LIMIT = 10
ASK = [{"role": "user", "content": "hi"}]


@dataclass
class Told:
    """What an SDK has told so far. An exception leaves it as it is."""

    text: str = ""
    finish: str | None = None
    model: str | None = None
    usage: dict = field(default_factory=dict)
    on_text: Callable = lambda: None

    def add(self, text):
        if text:
            self.text += text
            self.on_text()

    def end(self, reason):
        self.finish = reason or self.finish

    def count(self, input, output, cached=None, reasoning=None, written=None):
        self.usage = dict(input=input, output=output, cached=cached, reasoning=reasoning, written=written)


def dig(thing, *names):
    """A value within objects and dictionaries, if all of them are there."""
    for name in names:
        thing = thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)
    return thing


def total(*counts):
    """Their sum, if there are any."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


# To make a client takes longer than to read an answer, so each is kept.


@cache
def openai_client(url):
    if "/deployments/" not in url:
        return openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=LIMIT)
    azure = url.removesuffix("/openai/deployments/d")
    return openai.AzureOpenAI(
        azure_endpoint=azure, azure_deployment="d", api_version="1", api_key="none", max_retries=0, timeout=LIMIT
    )


@cache
def anthropic_client(url):
    # It adds `/v1` itself.
    return anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key="none", max_retries=0, timeout=LIMIT)


@cache
def gemini_client(url):
    options = {"base_url": url, "timeout": LIMIT * 1000, "api_version": "v1beta"}
    return genai.Client(api_key="none", http_options=options)


@cache
def ollama_client(url):
    return ollama.Client(host=url, timeout=LIMIT)


@cache
def cohere_client(url):
    return cohere.ClientV2(api_key="none", base_url=url, timeout=LIMIT, max_retries=0)


@cache
def mistral_client(url):
    url = url.removesuffix("/v1")
    return mistralai.client.Mistral(api_key="none", server_url=url, timeout_ms=LIMIT * 1000, retry_config=None)


@cache
def bedrock_client(url):
    session = botocore.session.Session()
    session.set_credentials("none", "none")
    config = Config(retries={"total_max_attempts": 1}, read_timeout=LIMIT)
    return session.create_client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=config)


def _chat_usage(told, usage):
    if usage:
        cached = dig(usage, "prompt_tokens_details", "cached_tokens")
        written = dig(usage, "prompt_tokens_details", "cache_write_tokens")
        reasoning = dig(usage, "completion_tokens_details", "reasoning_tokens")
        # Whatever was not the prompt was generated, whether a maker counts thoughts among the completion or not.
        told.count(usage.prompt_tokens, usage.total_tokens - usage.prompt_tokens, cached, reasoning, written)


def openai_chat(url, told, stream=True):
    create = openai_client(url).chat.completions.create
    if not stream:
        answer = create(model="m", messages=ASK)
        told.model = answer.model
        told.add(answer.choices[0].message.content)
        told.end(answer.choices[0].finish_reason)
        return _chat_usage(told, answer.usage)
    for chunk in create(model="m", messages=ASK, stream=True, stream_options={"include_usage": True}):
        told.model = chunk.model or told.model
        for choice in chunk.choices:
            told.add(choice.delta.content)
            told.end(choice.finish_reason)
        _chat_usage(told, chunk.usage)


def _response(told, response):
    told.model = response.model
    told.end(dig(response, "incomplete_details", "reason") or response.status)
    usage = response.usage
    if usage:
        cached, reasoning = usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens
        told.count(usage.input_tokens, usage.output_tokens, cached, reasoning)


def openai_responses(url, told, stream=True, helper=False):
    responses = openai_client(url).responses
    if not stream:
        answer = responses.create(model="m", input="hi")
        told.add(answer.output_text)
        return _response(told, answer)
    if helper:
        with responses.stream(model="m", input="hi") as events:
            return _response_events(told, events)
    _response_events(told, responses.create(model="m", input="hi", stream=True))


def _response_events(told, events):
    for event in events:
        if event.type == "response.output_text.delta":
            told.add(event.delta)
        if event.type in ("response.completed", "response.incomplete", "response.failed"):
            _response(told, event.response)


def openai_responses_helper(url, told, stream=True):
    openai_responses(url, told, stream, helper=True)


def _message(told, message):
    told.model = message.model
    told.end(message.stop_reason)
    usage = message.usage
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    reasoning = dig(usage, "output_tokens_details", "thinking_tokens")
    told.count(total(usage.input_tokens, read, written), usage.output_tokens, read, reasoning, written)


def anthropic_messages(url, told, stream=True):
    client = anthropic_client(url)
    if not stream:
        answer = client.messages.create(model="m", max_tokens=9, messages=ASK)
        told.add(answer.content[0].text)
        return _message(told, answer)
    with client.messages.stream(model="m", max_tokens=9, messages=ASK) as events:
        for text in events.text_stream:
            told.add(text)
        _message(told, events.get_final_message())


def _gemini_part(told, part):
    told.model = part.model_version or told.model
    for candidate in part.candidates or []:
        for piece in dig(candidate, "content", "parts") or []:
            told.add(piece.text)
        told.end(candidate.finish_reason and candidate.finish_reason.value)
    usage = part.usage_metadata
    if usage:
        told.count(
            total(usage.prompt_token_count, usage.tool_use_prompt_token_count),
            total(usage.candidates_token_count, usage.thoughts_token_count),
            usage.cached_content_token_count,
            usage.thoughts_token_count,
        )


def gemini(url, told, stream=True):
    client = gemini_client(url)
    if not stream:
        return _gemini_part(told, client.models.generate_content(model="gemini-test", contents="hi"))
    for part in client.models.generate_content_stream(model="gemini-test", contents="hi"):
        _gemini_part(told, part)


def gemini_array(url, told, stream=True):
    """The SDK asks for events only, so its types judge the elements of the array that others ask for."""
    asked = httpx.post(f"{url}/v1beta/models/gemini-test:streamGenerateContent", json={}, timeout=LIMIT)
    for element in asked.json():
        if "error" in element:
            raise genai.errors.ServerError(element["error"]["code"], element)
        _gemini_part(told, genai.types.GenerateContentResponse.model_validate(element))


def _ollama_part(told, part):
    told.model = part.model
    told.add(part.message.content)
    if part.done:
        told.end(part.done_reason)
        told.count(part.prompt_eval_count, part.eval_count)


def ollama_chat(url, told, stream=True):
    answer = ollama_client(url).chat(model="m", messages=ASK, stream=stream)
    for part in answer if stream else [answer]:
        _ollama_part(told, part)


def _cohere_usage(told, usage):
    if usage:
        count = lambda value: None if value is None else int(value)
        told.count(count(usage.tokens.input_tokens), count(usage.tokens.output_tokens), count(dig(usage, "cached_tokens")))


def cohere_chat(url, told, stream=True):
    client = cohere_client(url)
    if not stream:
        answer = client.chat(model="m", messages=ASK)
        told.add(answer.message.content[0].text)
        told.end(answer.finish_reason)
        return _cohere_usage(told, answer.usage)
    for event in client.chat_stream(model="m", messages=ASK):
        if event.type == "content-delta":
            told.add(event.delta.message.content.text)
        if event.type == "message-end":
            told.end(event.delta.finish_reason)
            _cohere_usage(told, event.delta.usage)


def mistral(url, told, stream=True):
    with mistral_client(url).chat.stream(model="m", messages=ASK) as events:
        for event in events:
            told.model = event.data.model
            for choice in event.data.choices:
                told.add(choice.delta.content)
                told.end(choice.finish_reason)
            _chat_usage(told, event.data.usage)


def _bedrock_usage(told, usage):
    read, written = usage.get("cacheReadInputTokens"), usage.get("cacheWriteInputTokens")
    told.count(total(usage["inputTokens"], read, written), usage["outputTokens"], read, None, written)


def bedrock_converse(url, told, stream=True):
    client = bedrock_client(url)
    asked = dict(modelId="m", messages=[{"role": "user", "content": [{"text": "hi"}]}])
    if not stream:
        answer = client.converse(**asked)
        told.add(answer["output"]["message"]["content"][0]["text"])
        told.end(answer["stopReason"])
        return _bedrock_usage(told, answer["usage"])
    for event in client.converse_stream(**asked)["stream"]:
        told.add(dig(event, "contentBlockDelta", "delta", "text"))
        told.end(dig(event, "messageStop", "stopReason"))
        if "metadata" in event:
            _bedrock_usage(told, event["metadata"]["usage"])


def bedrock_invoke(url, told, stream=True):
    answer = bedrock_client(url).invoke_model_with_response_stream(modelId="m", body="{}")
    for event in answer["body"]:
        words = json.loads(event["chunk"]["bytes"])
        told.model = dig(words, "message", "model") or told.model
        told.add(dig(words, "delta", "text"))
        told.end(dig(words, "delta", "stop_reason"))
        metrics = words.get("amazon-bedrock-invocationMetrics")
        if metrics:
            read, written = metrics["cacheReadInputTokenCount"], metrics["cacheWriteInputTokenCount"]
            told.count(total(metrics["inputTokenCount"], read, written), metrics["outputTokenCount"], read, None, written)


def readers(fixture):
    """Who reads this fixture, and what stands before the part of the path that the SDK adds."""
    path, mistral_too = fixture.path, fixture.name.startswith("mistral")
    for end, found in [
        ("/chat/completions", [openai_chat, mistral] if mistral_too else [openai_chat]),
        ("/responses", [openai_responses, openai_responses_helper] if fixture.streams() else [openai_responses]),
        ("/messages", [anthropic_messages]),
        ("/v1beta/models/gemini-test:streamGenerateContent", [gemini] if fixture.streams() else [gemini_array]),
        ("/v1beta/models/gemini-test:generateContent", [gemini]),
        ("/api/chat", [ollama_chat]),
        ("/v2/chat", [cohere_chat]),
        ("/model/m/converse-stream", [bedrock_converse]),
        ("/model/m/converse", [bedrock_converse]),
        ("/model/m/invoke-with-response-stream", [bedrock_invoke]),
    ]:
        if path.endswith(end):
            return path.removesuffix(end), found
    return "", []
