// The official client for Node before a gateway: node client.mjs BASE_URL MODEL KEY. Prints what it was answered.
import OpenAI from "openai";

const [baseURL, model, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "the phone was great" }];
const common = { model, max_tokens: 8, temperature: 0, ignore_eos: true };

async function refusal(ask) {
  try {
    await ask();
  } catch (error) {
    return { class: error.constructor.name, status: error.status, message: error.message };
  }
  return null;
}

const chat = await client.chat.completions.create({ ...common, messages });
const completion = await client.completions.create({ ...common, prompt: "the phone was" });

let streamed = "";
let usage = null;
const options = { stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create({ ...common, ...options, messages })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}

let completed = "";
for await (const chunk of await client.completions.create({ ...common, stream: true, prompt: "the phone was" })) {
  completed += chunk.choices[0]?.text ?? "";
}

const models = [];
for await (const entry of client.models.list()) models.push(entry.id);

const vote = { interaction_id: chat.id, type: "thumbs", value: true };
const feedback = await client.post("/feedback", { body: vote });
const unknown = await refusal(() => client.chat.completions.create({ ...common, model: "none", messages }));
const unreadable = await refusal(() => client.chat.completions.create({ ...common, messages, stream_options: 1 }));
const refused = await refusal(() => client.chat.completions.create({ ...common, messages, temperature: -5 }));

console.log(
  JSON.stringify({ chat, request: chat._request_id, completion, streamed, usage, completed, models, feedback,
                   unknown, unreadable, refused }),
);
