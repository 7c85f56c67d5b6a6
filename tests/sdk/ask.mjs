// SPDX-License-Identifier: MIT
// Ask Clerk's SDK about tokens. Standard input: { "url": of the stand-in, "secretKey", "authorizedParties",
// "tokens": [ { "name", "token" } ] }. Standard output: { NAME: [kinds as which it takes the token] }.
import { createClerkClient } from '@clerk/backend';

const kinds = ['session_token', 'm2m_token', 'oauth_token'];

async function readInput() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

const input = await readInput();
const client = createClerkClient({
  apiUrl: input.url,
  secretKey: input.secretKey,
  publishableKey: 'pk_test_' + Buffer.from('clerk.example.com$').toString('base64'),
  telemetry: { disabled: true },
});

async function takes(token, kind) {
  let request;
  try {
    request = new Request('https://app.example.com/api/file.txt', { headers: { authorization: `Bearer ${token}` } });
  } catch {
    return false; // no header can hold it
  }
  try {
    const state = await client.authenticateRequest(request, {
      acceptsToken: kind,
      // It would look for the azp of a machine's token as well, which has none.
      authorizedParties: kind === 'session_token' ? input.authorizedParties : undefined,
      clockSkewInMs: 5000,
    });
    return state.isAuthenticated && state.toAuth().isAuthenticated; // the second sees a pending session
  } catch {
    return false; // it gives up on some tokens instead of judging them
  }
}

const verdicts = {};
for (const { name, token } of input.tokens) {
  verdicts[name] = [];
  for (const kind of kinds) if (await takes(token, kind)) verdicts[name].push(kind);
}
process.stdout.write(JSON.stringify(verdicts));
