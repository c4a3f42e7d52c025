// A scripted server: the page's own files and a fleet that does as told, for what no real cluster shows on demand.
// It speaks the contract of the routes that the page asks.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import path from "node:path";

const ASSETS = fileURLToPath(new URL("../../../../libs/control-plane/dashboard/assets/", import.meta.url));
const KINDS = { ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };
const GIB = 1024 ** 3;

/** What a fleet looks like at a moment: `fleet.nodes()`, `fleet.status()`; `fleet.events` are told from the start. */
export class Fleet {
  tick = 0;
  events = [];

  /** Of `nodes` nodes the stream lists `listed`; the others are online. */
  constructor(nodes, { profile = "cloud", events = 0, listed = nodes } = {}) {
    this.all = nodes;
    this.size = listed;
    this.profile = profile;
    this.begin = Date.now() - 3 * 3600_000;
    for (let id = 1; id <= events; id += 1) this.events.push(this.event(id, events));
  }

  event(id, of) {
    const kinds = ["node_joined", "node_unreachable", "node_online", "pool_ready", "quarantined", "readmitted", "node_offline", "node_drained", "node_undrained"];
    const kind = kinds[id % kinds.length];
    const node_id = this.name(id % this.size);
    const at = new Date(Date.now() - (of - id) * 1000).toISOString();
    return { id, at, kind, node_id, pool_id: kind.startsWith("pool") ? "chat" : undefined, message: `${node_id}: ${kind.replaceAll("_", " ")}` };
  }

  name(number) {
    return `gpu-${String(number + 1).padStart(2, "0")}`;
  }

  busy(number, of) {
    return Math.round((of * (1 + Math.sin(this.tick / 7 + number * 1.7))) / 2);
  }

  nodes() {
    return { nodes: Array.from({ length: this.size }, (_, number) => this.node(number)).sort((a, b) => (a.node_id < b.node_id ? -1 : 1)) };
  }

  node(number) {
    const status = { 7: "offline", 11: "unreachable", 4: "draining" }[number] ?? "online";
    const total = number % 3 === 1 ? 16 : 4;
    const busy = status === "offline" ? 0 : this.busy(number, total);
    const gpu = ["RTX 3090", "RTX 4090", "A100 80GB PCIe"][number % 3];
    const vram = [24, 24, 80][number % 3] * GIB;
    const gpus = Array.from({ length: 1 + (number % 2) }, (_, device_id) => ({ device_id, name: gpu, vram_total_bytes: vram, compute_capability: "8.6" }));
    const drain = status === "draining" ? { for_ms: 41_000 + this.tick * 1000, deadline_ms: 240_000, slots_busy: busy } : undefined;
    const pool = (pool_id, engine, models, slots, taken) => ({
      pool_id,
      ready: status !== "offline",
      draining: Boolean(drain),
      slots_free: slots - taken,
      slots_total: slots,
      vram_free_bytes: vram * 0.35,
      engine,
      engine_version: engine === "vllm" ? "0.11.0" : "b10434",
      models_available: models,
      replicas: Array.from({ length: slots > 8 ? 2 : 1 }, (_, r) => ({ replica_id: `r${r}`, ready: true, slots_free: (slots - taken) >> 1, slots_total: slots > 8 ? slots / 2 : slots, models })),
      quarantine: number === 2 ? { reason: "connections were refused", retry_in_ms: 3200 } : null,
      requests_running: taken,
      drain,
    });
    return {
      node_id: this.name(number),
      machine_id: this.name(number),
      address: `http://192.168.1.${20 + number}:9200`,
      status,
      status_reason: status === "offline" ? "no heartbeat for 30.0 s" : status === "unreachable" ? "probes fail: connection refused" : undefined,
      last_heartbeat_age_ms: status === "offline" ? 312_000 : 4200,
      incarnation: 1,
      version: "0.1.0",
      capabilities: { gpus, cpu_cores: 32, ram_total_bytes: 128 * GIB },
      gpus: status === "offline" ? undefined : gpus.map((one) => ({ device_id: one.device_id, vram_total_bytes: vram, vram_used_bytes: vram * 0.65, vram_free_bytes: vram * 0.35, utilization_percent: Math.round((90 * busy) / total), temperature_celsius: 48 + busy, power_watts: 90 + 20 * busy })),
      drain,
      pools: number % 3 === 1 ? [pool("chat", "vllm", ["llama-3.1-8b-instruct"], 16, busy)] : [pool("code", "llamacpp", ["qwen2.5-coder-32b"], 2, Math.min(2, busy)), pool("small", "llamacpp", ["gemma-3-4b"], 2, Math.max(0, busy - 2))],
    };
  }

  traffic(at) {
    const wave = (period, from, to) => from + ((to - from) * (1 + Math.sin(at / period))) / 2;
    const jitter = (value) => value * (0.95 + 0.1 * Math.abs(Math.sin(at * 12.9898)));
    return {
      window_ms: 10_000,
      requests_per_s: jitter(wave(180, 2, 14)),
      errors_per_s: at % 400 < 30 ? 0.3 : 0,
      tokens_per_s: jitter(wave(180, 200, 1450)),
      first_token_ms: { p50: jitter(wave(150, 90, 160)), p90: jitter(wave(150, 210, 420)), p99: jitter(wave(110, 420, 980)) },
      inter_token_ms: { p50: jitter(11), p90: jitter(15), p99: jitter(wave(130, 22, 44)) },
      queue_ms: { p50: 0, p90: 3, p99: jitter(120) },
    };
  }

  status() {
    const { nodes } = this.nodes();
    const by = (status) => nodes.filter((node) => node.status === status).length;
    const pools = nodes.flatMap((node) => node.pools);
    const names = [...new Set(pools.flatMap((pool) => pool.models_available))].sort();
    const sum = (list, key) => list.reduce((all, one) => all + one[key], 0);
    const models = names.map((model, place) => {
      const serving = pools.filter((pool) => pool.models_available.includes(model));
      const slots_total = sum(serving, "slots_total");
      const slots_free = sum(serving, "slots_free");
      return { model, endpoints: serving.length, slots_total, slots_free, running: slots_total - slots_free, queued_interactive: place === 2 ? 3 : 0, queued_batch: place === 2 ? 9 : 0 };
    });
    const now = Date.now();
    return {
      version: "0.1.0",
      profile: this.profile,
      uptime_ms: now - this.begin,
      now: new Date(now).toISOString(),
      nodes: { online: by("online") + this.all - this.size, draining: by("draining"), unreachable: by("unreachable"), offline: by("offline") },
      slots: { total: sum(pools, "slots_total"), free: sum(pools, "slots_free") },
      models,
      traffic: this.traffic(now / 1000),
      recent_errors: [
        { at: new Date(now - 42_000).toISOString(), request_id: "7b1f2a90c4", code: "QUEUE_FULL", message: "every slot is taken and 256 requests wait already; try again in 2.1 s", model: "qwen2.5-coder-32b", node_id: null },
        { at: new Date(now - 640_000).toISOString(), request_id: "19ce07d2b8", code: "WORKER_RESET", message: "the engine broke off after 213 tokens", model: "gemma-3-4b", node_id: "gpu-08" },
      ],
    };
  }

  history() {
    const columns = ["at", "requests_per_s", "errors_per_s", "tokens_per_s", "first_token_p50", "first_token_p90", "first_token_p99", "inter_token_p50", "inter_token_p90", "inter_token_p99", "queue_p50", "queue_p99", "slots_free"];
    const now = Date.now();
    const rows = Array.from({ length: 358 }, (_, place) => {
      const at = now - (358 - place) * 5000;
      const t = this.traffic(at / 1000);
      return [new Date(at).toISOString(), t.requests_per_s, t.errors_per_s, t.tokens_per_s, t.first_token_ms.p50, t.first_token_ms.p90, t.first_token_ms.p99, t.inter_token_ms.p50, t.inter_token_ms.p90, t.inter_token_ms.p99, 0, 0, 5];
    });
    return { columns, rows };
  }

  keys() {
    const at = (days) => Date.now() + days * 86_400_000;
    const key = (number, more) => ({ key_id: String(number).padStart(12, "0"), name: `team ${number}`, scopes: ["client"], valid: true, created_at_ms: at(-number), ...more });
    return {
      keys: [
        key(1, { name: "admin", scopes: ["operator"] }),
        key(2, { limits: { requests_per_minute: 60, tokens_per_day: 1_000_000, models: ["gemma-3-4b", "qwen2.5-coder-32b"], highest_priority: "batch" }, expires_at_ms: at(30) }),
        key(3, { previous_valid_until_ms: at(0.04), rotated_at_ms: at(0) }),
        key(4, { scopes: ["node"], node: "gpu-01" }),
        key(5, { valid: false, revoked_at_ms: at(-1) }),
        key(6, { valid: false, expires_at_ms: at(-2) }),
      ],
    };
  }

  usage() {
    const day = (days) => new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10);
    const row = (days, number, model) => ({ date: day(days), key_id: String(number).padStart(12, "0"), key_name: `team ${number}`, model, requests: 120 * number, input_tokens: 91_000 * number, output_tokens: 41_000 * number, slot_ms: 812_000 });
    return { usage: [3, 2, 1, 0].flatMap((days) => [row(days, 2, "gemma-3-4b"), row(days, 2, "qwen2.5-coder-32b"), row(days, 3, "gemma-3-4b")]) };
  }

  explain(question) {
    const candidates = this.nodes().nodes.flatMap((node) =>
      node.pools
        .filter((pool) => pool.models_available.includes(question.model))
        .map((pool) => ({
          node_id: node.node_id,
          pool_id: pool.pool_id,
          chosen: false,
          skipped: node.status === "offline" ? "not ready" : pool.draining ? "draining" : pool.slots_free === 0 ? "full" : undefined,
          score: [100 - Math.floor(pool.vram_free_bytes / GIB), pool.slots_total - pool.slots_free],
          slots_used: pool.slots_total - pool.slots_free,
          slots_total: pool.slots_total,
          vram_free_bytes: pool.vram_free_bytes,
        })),
    );
    const best = candidates.filter((one) => !one.skipped).sort((a, b) => a.score[0] - b.score[0] || a.score[1] - b.score[1])[0];
    if (best) best.chosen = true;
    return { strategy: question.strategy ?? "least-loaded", waiting: 0, no_place: best ? undefined : "every slot is taken", candidates };
  }
}

/** Starts the server on a free port: `{ url, fleet, tell(event), cut(), refuse(boolean), close() }`. */
export async function serve(fleet, { port = 0 } = {}) {
  const open = new Set();
  let refusing = false;
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    if (pathname === "/" || pathname.startsWith("/assets/")) return file(pathname, response);
    const answer = (status, body) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    };
    if (refusing) return answer(503, { error: { code: "SHUTTING_DOWN", message: "this process is stopping", retriable: true } });
    const stream = (extra = {}) => {
      response.writeHead(200, { "content-type": "text/event-stream", ...extra });
      open.add(response);
      response.on("close", () => open.delete(response));
    };
    const event = (name, data, id) => response.write(`${id ? `id: ${id}\n` : ""}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
    if (pathname === "/v2/session") {
      answer(200, { who: "a loopback peer", scopes: ["client", "node", "observer", "operator"], is_session: false });
    } else if (pathname === "/v2/live") {
      stream();
      event("history", fleet.history());
      const tick = () => (event("status", fleet.status()), event("nodes", fleet.nodes()));
      tick();
      const timer = setInterval(() => ((fleet.tick += 1), tick()), 1000);
      response.on("close", () => clearInterval(timer));
    } else if (pathname === "/v2/events") {
      stream();
      const last = Number(request.headers["last-event-id"] ?? 0);
      for (const one of fleet.events) if (one.id > last) event(one.kind, one, one.id);
      response.tell = (one) => event(one.kind, one, one.id);
    } else if (pathname.startsWith("/v2/nodes/")) {
      const number = Number(/^\/v2\/nodes\/gpu-(\d+)$/.exec(pathname)?.[1] ?? 0) - 1;
      if (number >= 0 && number < fleet.all) answer(200, fleet.node(number));
      else answer(404, { error: { code: "UNKNOWN_NODE", message: "no such node", retriable: true } });
    } else if (pathname === "/v2/keys") {
      answer(200, fleet.keys());
    } else if (pathname === "/v2/usage") {
      answer(200, fleet.usage());
    } else if (pathname === "/v2/placement/explain") {
      answer(200, fleet.explain(JSON.parse(await body(request))));
    } else if (pathname === "/v1/chat/completions") {
      await body(request);
      stream({ "x-llorch-node": "gpu-02", "x-llorch-pool": "chat", "x-llorch-replica": "r1", "x-llorch-attempts": "1", "x-llorch-queue-ms": "38", "x-request-id": "4c1d9e0a7f" });
      const words = "A slot is a place in an engine where one request runs. When every slot is taken, the next request waits in line until one is free.".split(" ");
      let place = 0;
      setTimeout(function next() {
        if (response.destroyed) return;
        if (place === words.length) {
          response.write(`data: ${JSON.stringify({ choices: [], usage: { completion_tokens: words.length } })}\n\ndata: [DONE]\n\n`);
          return response.end();
        }
        response.write(`data: ${JSON.stringify({ choices: [{ delta: { content: `${place ? " " : ""}${words[place]}` } }] })}\n\n`);
        place += 1;
        setTimeout(next, 15);
      }, 140);
    } else {
      answer(404, { error: { code: "NOT_FOUND", message: `no such route: ${request.method} ${pathname}`, retriable: false } });
    }
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    fleet,
    tell: (event) => [...open].forEach((response) => response.tell?.(event)),
    refuse: (value) => (refusing = value),
    cut: () => [...open].forEach((response) => response.destroy()),
    close: () => (server.closeAllConnections(), server.close()),
  };
}

async function file(pathname, response) {
  const name = pathname === "/" ? "index.html" : path.basename(pathname);
  try {
    const content = await readFile(path.join(ASSETS, name), "utf8");
    response.writeHead(200, {
      "content-type": pathname === "/" ? "text/html; charset=utf-8" : KINDS[path.extname(name)],
      "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'",
    });
    response.end(content.replaceAll("{{assets}}", "/assets/x"));
  } catch {
    response.writeHead(404).end();
  }
}

async function body(request) {
  let all = "";
  for await (const piece of request) all += piece;
  return all;
}
