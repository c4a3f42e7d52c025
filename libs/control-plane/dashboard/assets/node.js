// One node of the list: a line, and below it its GPUs, pools and replicas.

import { attribute, h, keyed, show, text } from "./dom.js";
import { drainButton, drainProgress } from "./drain.js";
import { forgetButton } from "./forget.js";
import { NONE, ago, duration, gibibytes, plural } from "./format.js";
import { badge, bar, busySlots, empty, modelNames, nodeState, poolState, replicaState, slotBar } from "./parts.js";
import { state } from "./store.js";

export function nodeLine(id, opened) {
  const mark = badge();
  const bodyId = `node-${id}`;
  const twist = h("button", { type: "button", class: "twist", "aria-controls": bodyId, onclick: () => open(body.hidden) }, h("i", { "aria-hidden": "true" }), h("span", { class: "id" }, id));
  const hardware = h("span", { class: "node-hardware" });
  const models = h("span", { class: "node-models" });
  const slots = slotBar(`slots taken of ${id}`);
  const action = drainButton({ kind: "node", path: `/v2/nodes/${encodeURIComponent(id)}`, name: id });
  const forget = forgetButton(id);
  const reason = h("p", { class: "note" });
  const progress = drainProgress(id);
  const facts = h("dl", { class: "facts" });
  const gpus = h("ul", { class: "gpus", "aria-label": `GPUs of ${id}` });
  const pools = h("ul", { class: "pools", "aria-label": `Pools of ${id}` });
  const idle = empty("No engine yet", "Write a handoff file to the directory that this node watches; the engine appears here within a second.");
  const body = h("div", { class: "node-body", id: bodyId, hidden: true }, facts, gpus, pools, idle);
  const element = h(
    "li",
    { class: "node panel" },
    h("div", { class: "node-head" }, twist, mark.element, hardware, models, slots.element, h("span", { class: "actions" }, action.element, forget.element)),
    reason,
    progress.element,
    body,
  );
  let latest = null;
  open(opened);

  function open(wanted) {
    show(body, wanted);
    attribute(twist, "aria-expanded", String(wanted));
    if (wanted && latest) details(latest);
  }

  function details(node) {
    const hardware = node.capabilities ?? {};
    const pairs = [
      ["Address", node.address],
      ["Machine", node.machine_id === node.node_id ? null : node.machine_id],
      ["Agent", node.version],
      ["CPU", hardware.cpu_cores ? plural(hardware.cpu_cores, "core") : null],
      ["Memory", hardware.ram_total_bytes ? gibibytes(hardware.ram_total_bytes) : null],
    ];
    keyed(facts, pairs.filter(([, value]) => value), ([name]) => name, fact);
    keyed(gpus, gpusOf(node), (gpu) => gpu.device_id, (gpu) => gpuLine(id, gpu));
    show(gpus, gpus.childElementCount > 0);
    keyed(pools, node.pools ?? [], (pool) => pool.pool_id, (pool) => poolLine(id, pool));
    show(idle, pools.childElementCount === 0 && node.status === "online");
  }

  return {
    element,
    open,
    update(node) {
      latest = node;
      const [kind, word] = nodeState(node);
      mark.set(kind, word);
      attribute(element, "data-kind", kind);
      text(hardware, hardwareInWords(node));
      const names = node.pools?.flatMap((pool) => pool.models_available ?? []) ?? [];
      text(models, names.length ? modelNames(names) : "");
      attribute(models, "title", [...new Set(names)].join(", ") || null);
      const total = node.pools?.reduce((sum, pool) => sum + pool.slots_total, 0) ?? 0;
      slots.set(node.pools?.reduce((sum, pool) => sum + busySlots(pool), 0) ?? 0, total);
      const why = whyNot(node);
      text(reason, why);
      show(reason, why !== "");
      action.update(node.drain, node.status === "offline");
      forget.update(node);
      progress.update(node.drain, node.pools ?? []);
      if (!body.hidden) details(node);
    },
  };
}

/** What is wrong with a node: how long it has been silent, faults of its GPUs, refused handoffs. */
function whyNot(node) {
  const silent = node.last_heartbeat_age_ms == null ? "" : `last heard ${ago(node.last_heartbeat_age_ms + Date.now() - state.nodesAt)} ago`;
  if (node.status === "offline" || node.status === "unreachable") {
    const held = node.held ? "; requests still go there, because most nodes fell silent together" : "";
    return [node.status_reason, silent].filter(Boolean).join("; ") + held;
  }
  const gpus = (node.gpus ?? []).filter((gpu) => gpu.problem).map((gpu) => `GPU ${gpu.device_id}: ${gpu.problem}`);
  const handoffs = (node.refused_handoffs ?? []).map((refused) => `handoff ${refused.file} is refused: ${refused.reason}`);
  return [...gpus, ...handoffs].join("; ");
}

function fact([name]) {
  const value = h("dd", {});
  return {
    element: h("div", {}, h("dt", {}, name), value),
    update: ([, now]) => text(value, now),
  };
}

/** What a node has, with live figures where it reports them. */
function gpusOf(node) {
  const live = new Map((node.gpus ?? []).map((gpu) => [gpu.device_id, gpu]));
  const known = node.capabilities?.gpus ?? [];
  const all = known.map((gpu) => ({ ...gpu, ...live.get(gpu.device_id) }));
  const more = (node.gpus ?? []).filter((gpu) => !known.some((one) => one.device_id === gpu.device_id));
  return all.concat(more);
}

function hardwareInWords(node) {
  const gpus = gpusOf(node);
  if (gpus.length === 0) return node.capabilities ? "no GPU" : "";
  const by = new Map();
  for (const gpu of gpus) by.set(gpu.name ?? "GPU", (by.get(gpu.name ?? "GPU") ?? 0) + 1);
  return [...by].map(([name, number]) => (number > 1 ? `${number} × ${name}` : name)).join(", ");
}

function gpuLine(node, gpu) {
  const memory = bar(`memory taken of GPU ${gpu.device_id} of ${node}`, (used, all) => `${gibibytes(used)} of ${gibibytes(all)}`);
  const figures = h("span", { class: "faint" });
  return {
    element: h("li", {}, h("span", { class: "id" }, `GPU ${gpu.device_id}`), h("span", {}, gpu.name ?? ""), memory.element, figures),
    update(now) {
      const total = now.vram_total_bytes;
      const used = now.vram_used_bytes ?? (now.vram_free_bytes == null ? null : total - now.vram_free_bytes);
      show(memory.element, used != null && total > 0);
      if (used != null) memory.set(used, total);
      const words = [
        used == null && total ? gibibytes(total) : null,
        now.utilization_percent == null ? null : `${now.utilization_percent} % busy`,
        now.temperature_celsius == null ? null : `${now.temperature_celsius} °C`,
        now.power_watts == null ? null : `${Math.round(now.power_watts)} W`,
        now.problem,
      ];
      text(figures, words.filter(Boolean).join(" · "));
    },
  };
}

function poolLine(node, pool) {
  const mark = badge();
  const engine = h("span", { class: "faint" });
  const models = h("span", { class: "pool-models" });
  const memory = h("span", { class: "faint" });
  const slots = slotBar(`slots taken of ${pool.pool_id} of ${node}`);
  const path = `/v2/pools/${encodeURIComponent(node)}/${encodeURIComponent(pool.pool_id)}`;
  const action = drainButton({ kind: "pool", path, name: `${node} / ${pool.pool_id}` });
  const reason = h("p", { class: "note" });
  const progress = drainProgress(`${node} / ${pool.pool_id}`);
  const replicas = h("ul", { class: "replicas", "aria-label": `Replicas of ${pool.pool_id}` });
  let nodeDrains = false;
  return {
    element: h("li", { class: "pool" }, h("div", { class: "pool-head" }, h("span", { class: "id" }, pool.pool_id), mark.element, engine, models, memory, slots.element, action.element), reason, progress.element, replicas),
    update(now) {
      const [kind, word] = poolState(now);
      mark.set(kind, word);
      text(engine, [now.engine, now.engine_version].filter(Boolean).join(" "));
      text(models, modelNames(now.models_available ?? [], 4) || NONE);
      text(memory, now.vram_free_bytes > 0 ? `${gibibytes(now.vram_free_bytes)} free` : "");
      slots.set(busySlots(now), now.slots_total);
      const why = reasons(now);
      text(reason, why);
      show(reason, why !== "");
      nodeDrains = Boolean(state.nodes.find((one) => one.node_id === node)?.drain);
      action.update(nodeDrains ? null : now.drain, nodeDrains);
      progress.update(nodeDrains ? null : now.drain, [now]);
      const several = now.replicas ?? [];
      keyed(replicas, several, (replica) => replica.replica_id, (replica) => replicaLine(`${node} / ${pool.pool_id}`, path, replica));
      show(replicas, several.length > 1 || several.some((replica) => replicaState(replica)[0] !== "good"));
    },
  };
}

function reasons(pool) {
  const said = [];
  if (pool.quarantine) said.push(`${pool.quarantine.reason}; tried again in ${duration(pool.quarantine.retry_in_ms)}`);
  if (pool.unavailable) said.push(pool.unavailable);
  if (pool.last_error && pool.last_error !== pool.unavailable) said.push(pool.last_error);
  return said.join("; ");
}

function replicaLine(pool, path, { replica_id: id }) {
  const mark = badge();
  const slots = slotBar(`slots taken of replica ${id}`);
  const error = h("span", { class: "faint" });
  const action = drainButton({ kind: "replica", path: `${path}/replicas/${encodeURIComponent(id)}`, name: `${pool} / ${id}` });
  return {
    element: h("li", {}, h("span", { class: "id" }, id), mark.element, slots.element, error, action.element),
    update(now) {
      mark.set(...replicaState(now));
      slots.set(busySlots(now), now.slots_total);
      text(error, reasons(now));
      action.update(now.draining, false);
    },
  };
}
