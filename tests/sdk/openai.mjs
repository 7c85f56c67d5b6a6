// SPDX-License-Identifier: MIT
// OpenAI's own library against examples/llm-proxy. Standard input: { "baseURL", "key", "poor", "frozen", "session" } (keys of
// callers). Standard output: { NAME: what came of it }; an exception is { "class", "status", "code", "type", "message" }.
import OpenAI, * as errors from 'openai';

async function readInput() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

const input = await readInput();
const as = (apiKey, more = {}) => new OpenAI({ apiKey, baseURL: input.baseURL, ...more });
const client = as(input.key);
const orders = (order) => [{ role: 'user', content: JSON.stringify(order) }];
const results = {};

async function attempt(name, run) {
  try {
    results[name] = await run();
  } catch (error) {
    results[name] = {
      class: error.constructor.name,
      isApiError: error instanceof errors.APIError,
      status: error.status,
      code: error.code,
      type: error.type,
      message: error.message,
      ours: error.error?.spendgate_error,
    };
  }
}

await attempt('chat', async () => {
  const answer = await client.chat.completions.create({ model: 'gpt-4o', messages: orders({ words: 4 }) });
  return { text: answer.choices[0].message.content, usage: answer.usage.total_tokens, id: answer._request_id };
});
await attempt('stream', async () => {
  let text = '', usage = 0, chunks = 0;
  const stream = await client.chat.completions.create({ model: 'gpt-4o', messages: orders({ words: 6, delay: 0.02 }), stream: true });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? '';
    usage += chunk.usage ? 1 : 0;
    chunks++;
  }
  return { text, usage, chunks };
});
await attempt('stream with usage', async () => {
  let usage = null;
  const stream = await client.chat.completions.create({
    model: 'gpt-4o', messages: orders({ words: 6, split: 1 }), stream: true, stream_options: { include_usage: true },
  });
  for await (const chunk of stream) usage = chunk.usage ?? usage;
  return { usage: usage.total_tokens };
});
await attempt('stream helper', async () => {
  const stream = client.chat.completions.stream({ model: 'gpt-4o-mini', messages: orders({ words: 3 }) });
  return { text: (await stream.finalChatCompletion()).choices[0].message.content };
});
await attempt('responses', async () => {
  const answer = await client.responses.create({ model: 'gpt-4o', input: JSON.stringify({ words: 3 }) });
  return { text: answer.output_text, usage: answer.usage.total_tokens };
});
await attempt('responses stream', async () => {
  let text = '', last = '';
  const stream = await client.responses.create({ model: 'gpt-4o', input: orders({ words: 5 }), stream: true });
  for await (const event of stream) {
    if (event.type === 'response.output_text.delta') text += event.delta;
    last = event.type;
  }
  return { text, last };
});
await attempt('embeddings', async () => {
  const answer = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['one', 'two'] });
  return { vectors: answer.data.map((item) => item.embedding) };
});
await attempt('models', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  return { ids, one: (await client.models.retrieve('gpt-4o')).id };
});
await attempt('session token', async () => {
  const answer = await as(input.session).chat.completions.create({ model: 'gpt-4o', messages: orders({ words: 2 }) });
  return { text: answer.choices[0].message.content };
});
await attempt('hang up', async () => {
  let words = 0;
  const stream = await client.chat.completions.create({ model: 'gpt-4o', messages: orders({ words: 200, delay: 0.05 }), stream: true });
  for await (const chunk of stream) {
    words += chunk.choices[0]?.delta?.content ? 1 : 0;
    if (words === 5) break; // the library then closes the connection
  }
  return { words };
});

const count = async (run) => {
  let requests = 0;
  const fetchCounted = (...args) => {
    requests++;
    return fetch(...args);
  };
  await run(fetchCounted);
  return requests;
};
await attempt('wrong key', () => as('ak_wrong').chat.completions.create({ model: 'gpt-4o', messages: orders({}) }));
await attempt('unknown model', () => client.chat.completions.create({ model: 'gpt-9', messages: orders({}) }));
await attempt('bad request', () => client.responses.create({ model: 'gpt-4o', input: 'x', previous_response_id: 'resp_1' }));
await attempt('frozen', () => as(input.frozen).chat.completions.create({ model: 'gpt-4o', messages: orders({}) }));
results.requests = {
  // refused by the proxy, and by the gate when everything is spent: both say that it is no use to try again
  large: await count((fetch) => attempt('over budget', () => as(input.key, { fetch }).chat.completions.create({ model: 'gpt-4o', n: 100, max_tokens: 32768, messages: orders({}) }))),
  poor: await count((fetch) => attempt('nothing left', () => as(input.poor, { fetch }).chat.completions.create({ model: 'gpt-4o', messages: orders({}) }))),
  broken: await count((fetch) => attempt('provider broken', () => as(input.key, { fetch }).chat.completions.create({ model: 'gpt-4o', messages: orders({ status: 500 }) }))),
};
await attempt('broken off', async () => {
  const stream = await client.chat.completions.create({ model: 'gpt-4o', messages: orders({ words: 20, cut: 4 }), stream: true });
  for await (const chunk of stream) void chunk;
  return { text: 'as if nothing had happened' };
});
process.stdout.write(JSON.stringify(results));
