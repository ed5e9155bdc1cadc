// JavaScript clients on the service at the URL given: each makes its checks with each model. What went wrong goes to
// stdout as JSON, {client: {model: {check: message}}}, with an empty message for a check that passed. The conversation
// that they have is that of conversation.py.
import assert from "node:assert/strict";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";

globalThis.AI_SDK_LOG_WARNINGS = false;
const [url, question, refused, weather, ...models] = process.argv.slice(2);
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const description = "The weather in a city";
const look = ({ city }) => {
  assert.equal(city, "Ghent");
  return weather;
};

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, timeout: 20_000 });
const anthropic = new Anthropic({ baseURL: url, authToken: "none", apiKey: null, maxRetries: 0, timeout: 20_000 });

function openaiChat(model) {
  const tools = [{ type: "function", function: { name: "get_weather", description, parameters } }];
  const messages = [{ role: "user", content: question }];
  const round = async (ask) => {
    const { message } = (await ask({ model, messages, tools })).choices[0];
    const results = message.tool_calls.map((call) => ({
      role: "tool",
      tool_call_id: call.id,
      content: look(JSON.parse(call.function.arguments)),
    }));
    return (await ask({ model, messages: [...messages, message, ...results], tools })).choices[0].message.content;
  };
  return {
    whole: () => round((body) => openai.chat.completions.create(body)),
    streamed: () => round((body) => openai.chat.completions.stream(body).finalChatCompletion()),
    refused: () => openai.chat.completions.create({ model, messages: [{ role: "user", content: refused }] }),
  };
}

function openaiResponses(model) {
  const tools = [{ type: "function", name: "get_weather", description, parameters, strict: false }];
  const round = async (ask) => {
    const input = [{ role: "user", content: question }];
    const { output } = await ask({ model, input, tools, store: false });
    const calls = output.filter((item) => item.type === "function_call");
    const results = calls.map((call) => ({
      type: "function_call_output",
      call_id: call.call_id,
      output: look(JSON.parse(call.arguments)),
    }));
    const last = await ask({ model, input: [...input, ...output, ...results], tools, store: false });
    return last.output.flatMap((item) => item.content ?? []).map((part) => part.text ?? "").join("");
  };
  return {
    whole: () => round((body) => openai.responses.create(body)),
    streamed: () => round((body) => openai.responses.stream(body).finalResponse()),
    refused: () => openai.responses.create({ model, input: refused, store: false }),
  };
}

function anthropicMessages(model) {
  const tools = [{ name: "get_weather", description, input_schema: parameters }];
  const messages = [{ role: "user", content: question }];
  const asked = { model, max_tokens: 1000, tools };
  const round = async (ask) => {
    const { content, stop_reason } = await ask({ ...asked, messages });
    assert.equal(stop_reason, "tool_use");
    const calls = content.filter((block) => block.type === "tool_use");
    const results = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: look(call.input) }));
    const history = [...messages, { role: "assistant", content }, { role: "user", content: results }];
    return (await ask({ ...asked, messages: history })).content[0].text;
  };
  return {
    whole: () => round((body) => anthropic.messages.create(body)),
    streamed: () => round((body) => anthropic.messages.stream(body).finalMessage()),
    refused: () => anthropic.messages.create({ ...asked, messages: [{ role: "user", content: refused }] }),
  };
}

function aiSdk(model) {
  const tools = { get_weather: tool({ description, inputSchema: jsonSchema(parameters), execute: look }) };
  const asked = { model, tools, stopWhen: stepCountIs(3), maxRetries: 0 };
  return {
    whole: async () => (await generateText({ ...asked, prompt: question })).text,
    streamed: () => streamText({ ...asked, prompt: question, onError: () => {} }).text,
    refused: () => generateText({ ...asked, prompt: refused }),
  };
}

const own = { baseURL: `${url}/v1`, apiKey: "none" };
const clients = {
  "openai/chat": openaiChat,
  "openai/responses": openaiResponses,
  "@anthropic-ai/sdk/messages": anthropicMessages,
  "ai/chat": (model) => aiSdk(createOpenAICompatible({ name: "lakehouse", ...own }).chatModel(model)),
  "ai/responses": (model) => aiSdk(createOpenAI(own).responses(model)),
  "ai/messages": (model) => aiSdk(createAnthropic(own)(model)),
};

const passes = {
  whole: async (call) => assert.match(await call(), new RegExp(weather)),
  streamed: async (call) => assert.match(await call(), new RegExp(weather)),
  refused: (call) =>
    assert.rejects(call, (error) => (error.status ?? error.statusCode) === 400 && /temperature/.test(error.message)),
};

const report = {};
for (const [name, makeChecks] of Object.entries(clients)) {
  report[name] = {};
  for (const model of models) {
    const told = (report[name][model] = {});
    for (const [check, call] of Object.entries(makeChecks(model))) {
      told[check] = await passes[check](call).then(() => "", (error) => `${error}`.slice(0, 500) || "failed");
    }
  }
}
console.log(JSON.stringify(report));
