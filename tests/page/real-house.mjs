// @ts-check
/** The real thing: nats-server, worker, gateway and ui as processes of their own, and a model that writes a word when it is told to. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createListener } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What the real thing needs and is not here; null if all of it is. */
export function whatRealNeeds() {
  for (const name of ['FASTAGENCY_BIN', 'NATS_SERVER']) {
    const path = process.env[name];
    if (!path || !existsSync(path)) return `${name} names no program`;
  }
  return null;
}

/**
 * @param {Record<string, string>} workflows their YAML by name
 * @param {string} [ui] more lines for the page's configuration
 * @param {Record<string, string>} [people] passwords by name; with them, everybody must sign in. `name/group` is a name with a group of its own
 * @param {string} [auth] how they do
 */
export async function startRealHouse(workflows, ui = '', people = {}, auth = Object.keys(people).length > 0 ? 'auth: { mode: basic, file: access.yaml }\n' : '') {
  const folder = await mkdtemp(join(tmpdir(), 'fastagency-page-'));
  const ports = { nats: await freePort(), gateway: await freePort(), ui: await freePort() };
  const model = await playedModel();
  await mkdir(join(folder, 'workflows'));
  for (const [name, text] of Object.entries(workflows)) await writeFile(join(folder, 'workflows', `${name}.yaml`), text);
  await writeFile(join(folder, 'fastagency.yaml'), `version: 1
name: real
nats: { url: "nats://127.0.0.1:${ports.nats}" }
workflows: workflows
llms: { default: { provider: compatible, model: played, base_url: "${model.url}/v1" } }
gateway: { port: ${ports.gateway} }
ui:
  port: ${ports.ui}
  gateway_url: http://127.0.0.1:${ports.gateway}
${ui}${auth}`);
  /** @type {Set<import('node:child_process').ChildProcess>} */
  const processes = new Set();
  /** @param {string} program @param {string[]} args */
  const start = (program, args) => {
    const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'pipe', process.env.VERBOSE ? 'inherit' : 'ignore'] });
    child.stdout.resume();
    processes.add(child);
    child.on('exit', () => processes.delete(child));
    return child;
  };
  /** @param {string[]} args */
  const fastagency = (...args) => start(/** @type {string} */ (process.env.FASTAGENCY_BIN), args);
  const gatewayUrl = `http://127.0.0.1:${ports.gateway}`;
  let adminLink = '';
  const startGateway = async () => {
    const child = fastagency('gateway');
    let said = '';
    child.stdout?.on('data', (piece) => {
      said += piece;
      adminLink = /^admin: (\S+)\n/m.exec(said)?.[1] ?? adminLink;
    });
    await answers(`${gatewayUrl}/readyz`);
    return child;
  };
  start(/** @type {string} */ (process.env.NATS_SERVER), ['-js', '-sd', join(folder, 'nats'), '-a', '127.0.0.1', '-p', String(ports.nats)]);
  for (const [person, password] of Object.entries(people)) {
    const [name, group = 'teachers'] = person.split('/');
    const adding = spawn(/** @type {string} */ (process.env.FASTAGENCY_BIN), ['user', 'add', name, '--group', group], { cwd: folder, stdio: ['pipe', 'ignore', 'inherit'] });
    adding.stdin.end(`${password}\n`);
    await once(adding, 'exit');
  }
  const close = async () => {
    const ends = [...processes].map((child) => once(child, 'exit'));
    for (const child of processes) child.kill('SIGKILL');
    await Promise.all(ends);
    model.close();
    await rm(folder, { recursive: true, force: true });
  };
  const url = `http://127.0.0.1:${ports.ui}`;
  fastagency('worker');
  /** @type {import('node:child_process').ChildProcess} */
  let gateway;
  try {
    gateway = await startGateway();
    fastagency('ui');
    await answers(`${url}/readyz`);
  } catch (error) {
    // Processes that nobody ends would keep the file's test from ending.
    await close();
    throw error;
  }

  return {
    url, model,
    /** Where an operator gets in, once; where nobody signs in. */
    adminLink: async () => {
      await until('the admin link', async () => adminLink !== '');
      return adminLink;
    },
    /** What that link is exchanged for. */
    adminToken: async () => {
      await until('the admin link', async () => adminLink !== '');
      const code = new URL(adminLink).hash.slice('#link='.length);
      const answer = await fetch(`${gatewayUrl}/api/admin-link`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ code }) });
      return (await answer.json()).token;
    },
    /** Until the worker has told the gateways of its workflows. @param {string} name */
    knows: async (name) => {
      await until(`the workflow ${name}`, async () => {
        const { workflows: known } = await (await fetch(`${url}/api/workflows`)).json();
        return known.some((each) => each.name === name && each.available);
      });
    },
    killGateway: async () => {
      gateway.kill('SIGKILL');
      await once(gateway, 'exit');
    },
    startGateway: async () => { gateway = await startGateway(); },
    /** The records of a run's log. @param {string} run */
    log: async (run) => {
      const text = await (await fetch(`${gatewayUrl}/api/runs/${run}/events?follow=false`)).text();
      return text.split('\n\n').filter((block) => /^event: ?record$/m.test(block)).map((block) => JSON.parse(/^data: ?(.*)$/m.exec(block)?.[1] ?? 'null'));
    },
    close,
  };
}

/** A model of OpenAI's kind: `write` sends the next piece of the answer under way, `finish` ends it. */
async function playedModel() {
  /** @type {import('node:http').ServerResponse | null} */
  let answer = null;
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.flushHeaders();
    answer = response;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  /** @param {object} choice */
  const send = (choice) => answer?.write(`data: ${JSON.stringify({ id: '1', object: 'chat.completion.chunk', created: 1, model: 'played', choices: [{ index: 0, ...choice }] })}\n\n`);
  return {
    url: `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}`,
    isAsked: () => answer !== null,
    /** @param {string} text */
    write: (text) => send({ delta: { content: text }, finish_reason: null }),
    /** @param {string} name @param {string} json the arguments */
    call: (name, json) => send({ delta: { tool_calls: [{ index: 0, id: 'call_1', type: 'function', function: { name, arguments: json } }] }, finish_reason: null }),
    /** @param {{prompt_tokens: number, completion_tokens: number}} [usage] what it has read and written */
    finish: (usage) => {
      send({ delta: {}, finish_reason: 'stop' });
      if (usage) answer?.write(`data: ${JSON.stringify({ id: '1', object: 'chat.completion.chunk', created: 1, model: 'played', choices: [], usage })}\n\n`);
      answer?.end('data: [DONE]\n\n');
      answer = null;
    },
    close: () => { server.closeAllConnections(); server.close(); },
  };
}

/** @param {string} url */
const answers = (url) => until(url, () => fetch(url).then((response) => response.ok, () => false));

/** @param {string} what @param {() => Promise<boolean>} isThere */
export async function until(what, isThere) {
  const deadline = Date.now() + 30_000;
  while (!await isThere()) {
    if (Date.now() > deadline) throw new Error(`this never came: ${what} (set VERBOSE=1 to see what the processes say)`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/** @type {Set<number>} */
const givenPorts = new Set();

/** A port that nobody has, that was not given before, and that no connection is given meanwhile: those come from above 32 768. */
export async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (givenPorts.has(port)) continue;
    givenPorts.add(port);
    const listener = createListener().listen(port, '127.0.0.1');
    const listens = await new Promise((resolve) => {
      listener.once('listening', () => resolve(true));
      listener.once('error', () => resolve(false));
    });
    if (!listens) continue;
    listener.close();
    await once(listener, 'close');
    return port;
  }
}
