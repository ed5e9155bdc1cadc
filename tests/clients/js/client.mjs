// OpenAI's JavaScript client, making its usual calls of the service at the URL given. What it saw goes to stdout as
// JSON; what it ought to have seen is in test_openai_js.py, which also says what each model's name makes happen.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "ours", maxRetries: 0, timeout: 10_000 });
const messages = [{ role: "user", content: "Hi" }];
const ask = (model, more = {}) => client.chat.completions.create({ model, messages, ...more });
const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object" } } }];

async function create() {
  const { model, choices, usage } = await ask("whole");
  const { content, reasoning_content } = choices[0].message;
  return { model, content, reasoning_content, finish: choices[0].finish_reason, total: usage.total_tokens };
}

async function streamWithUsage() {
  const seen = { text: "", finish: null, total: null };
  for await (const chunk of await ask("stream", { stream: true, stream_options: { include_usage: true } })) {
    seen.text += chunk.choices[0]?.delta?.content ?? "";
    seen.finish ??= chunk.choices[0]?.finish_reason ?? null;
    seen.total = chunk.usage?.total_tokens ?? seen.total;
  }
  return seen;
}

async function toolsBothWays() {
  const names = (completion) =>
    completion.choices[0].message.tool_calls.map((call) => [call.id, call.function.name, JSON.parse(call.function.arguments)]);
  const whole = await ask("tools", { tools });
  const streamed = client.chat.completions.stream({ model: "tools", messages, tools });
  return { whole: names(whole), streamed: names(await streamed.finalChatCompletion()) };
}

async function jsonSchema() {
  const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const format = { type: "json_schema", json_schema: { name: "city", strict: true, schema } };
  return JSON.parse((await ask("json", { response_format: format })).choices[0].message.content);
}

async function models() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  return ids;
}

async function failures() {
  const seen = {};
  for (const model of ["bad_request", "context_overflow", "model_not_found", "rate_limit", "auth", "timeout"]) {
    const raised = await ask(model).then(() => null, (error) => error);
    seen[model] = [raised?.constructor.name, raised?.status, raised?.code];
  }
  return seen;
}

async function brokenStream() {
  let text = "";
  try {
    for await (const chunk of await ask("broken", { stream: true })) text += chunk.choices[0].delta.content;
  } catch (error) {
    return { text, api: error instanceof OpenAI.APIError, message: error.message, code: error.code };
  }
  return { text };
}

async function abandon() {
  for await (const chunk of await ask("endless", { stream: true })) break;
  return (await ask("is the endless one closed?")).choices[0].message.content;
}

const calls = { create, streamWithUsage, toolsBothWays, jsonSchema, models, failures, brokenStream, abandon };
const report = {};
for (const [name, call] of Object.entries(calls)) report[name] = await call().catch((error) => String(error));
console.log(JSON.stringify(report));
