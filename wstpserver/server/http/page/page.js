// The status page. It gets a snapshot and then differences as server-sent events, and draws from one state.
// Everything that comes from the server is put into the page as text, never as markup.

const KERNELS_SHOWN = 60;
const MANY_CELLS = 120;
const MOST_CELLS = 2500;
const MOST_SLOTS = 240;
const LOG_SHOWN = 200;
const SILENCE = 16000; // milliseconds without an event after which the server counts as gone
const RETRY = [500, 1000, 2000, 4000, 8000];
const CHART = { width: 360, height: 64 };

const byId = (id) => document.getElementById(id);
const state = {
  Server: {}, Pools: {}, Kernels: {}, Waiting: [], WaitingNumber: 0, Points: {}, PointsUntil: 0, PointInterval: 10,
  Log: [], Administrator: false,
};
let clockOffset = 0; // the server's clock less that of this computer, in seconds
let connected = false;
let goneSince = null;
let needsToken = false;
let token = sessionStorage.getItem("wstpserver-token") || "";
let tokenIsRight = false;
let sort = { key: "Pool", descending: false };
let showAll = false;
let picked = "";
let connection = null;

// -- small helpers --------------------------------------------------------------------------------------------------

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

function drawn(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

// Show these children in this order, moving as few of them as possible.
function arrange(parent, children) {
  let place = parent.firstChild;
  for (const child of children) {
    if (child === place) place = place.nextSibling;
    else parent.insertBefore(child, place);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function merge(target, change) {
  for (const [key, value] of Object.entries(change)) {
    if (value === null) delete target[key];
    else if (target[key] && typeof value === "object" && !Array.isArray(value)) Object.assign(target[key], value);
    else target[key] = value;
  }
}

const now = () => (goneSince ?? Date.now()) / 1000 + clockOffset;

function plural(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
  return `${plural(Math.floor(whole / 86400), "day")} ${Math.floor((whole % 86400) / 3600)} h`;
}

function size(bytes) {
  if (!bytes) return "";
  const mega = bytes / 1e6;
  return mega < 1000 ? `${mega < 10 ? mega.toFixed(1) : Math.round(mega)} MB` : `${(mega / 1000).toFixed(2)} GB`;
}

function clock(seconds, withSeconds = false) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", {
    hour: "2-digit", minute: "2-digit", second: withSeconds ? "2-digit" : undefined,
  });
}

// -- kernels ----------------------------------------------------------------------------------------------------------

// What a cell and a row say of a kernel: the class of the cell, and the words.
function look(kernel) {
  if (kernel.Busy && (kernel.State === "bridged" || kernel.State === "free" || kernel.State === "reserved")) {
    return { cell: "busy", words: kernel.State === "bridged" ? "evaluating" : `evaluating, ${kernel.State}` };
  }
  return { cell: kernel.State, words: kernel.State === "bridged" ? "idle, bridged" : kernel.State };
}

const LEGEND = [
  ["free", "free"], ["bridged", "bridged, idle"], ["busy", "evaluating"], ["reserved", "reserved"],
  ["starting", "starting or resetting"], ["closing", "ending"],
];

const RANK = { busy: 0, bridged: 1, starting: 2, resetting: 3, dying: 4, closing: 5, reserved: 6, free: 7 };

function host(kernel) {
  return kernel.Host || state.Server.Machine || "";
}

// `most`: the first click on the title shows the largest first; `natural`: "Client 9" before "Client 10".
// Kernels that are equal are in the order of their start.
const COLUMNS = [
  { key: "ID", title: "Kernel", class: "id mono", value: (kernel) => kernel.id },
  { key: "Pool", title: "Pool", class: "pool-name", value: (kernel) => kernel.Pool || "", natural: true },
  { key: "State", title: "State", class: "state-cell", value: (kernel) => RANK[look(kernel).cell] ?? 9 },
  { key: "Client", title: "Client", class: "client", value: (kernel) => kernel.Client || "\uffff", natural: true },
  { key: "BusySince", title: "Evaluating for", class: "busy-time number", value: (kernel) => -(kernel.BusySince ?? Infinity), most: true },
  { key: "Evaluations", title: "Evaluations", class: "evaluations number", value: (kernel) => kernel.Evaluations, most: true },
  { key: "Memory", title: "Memory", class: "memory number", value: (kernel) => kernel.Memory || 0, most: true },
  { key: "Host", title: "Host", class: "host", value: host, natural: true },
];

const compareText = new Intl.Collator("en", { numeric: true }).compare;

function sorted(kernels) {
  const { value, natural = false } = COLUMNS.find((column) => column.key === sort.key);
  const sign = sort.descending ? -1 : 1;
  return kernels.sort((one, other) => {
    const a = value(one), b = value(other);
    const order = natural ? compareText(a, b) : a < b ? -1 : a > b ? 1 : 0;
    return order * sign || one.order - other.order;
  });
}

function matches(kernel, words) {
  if (!words.length) return true;
  const text = [kernel.id, kernel.Pool, kernel.Client, kernel.Address, kernel.State, look(kernel).words, host(kernel)]
    .join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

const rows = new Map();

function row(kernel) {
  let made = rows.get(kernel.id);
  if (!made) {
    const cells = COLUMNS.map((column) => element("td", { class: column.class }));
    const acts = element("td", { class: "acts" });
    cells[2].append(element("span", { class: "state" }, element("span", { class: "cell" }), element("span")));
    cells[3].append(element("span"), " ", element("small"));
    made = { node: element("tr", {}, ...cells, acts), cells, acts, withButtons: false };
    rows.set(kernel.id, made);
  }
  const { cells } = made;
  const shown = look(kernel);
  setClass(made.node, kernel.id === picked ? "picked" : "");
  setText(cells[0], kernel.id);
  setText(cells[1], kernel.Pool || "outside pools");
  const [cell, words] = cells[2].firstChild.children;
  setClass(cell, `cell ${shown.cell}`);
  setText(words, shown.words);
  const [name, address] = cells[3].children;
  setText(name, kernel.Client || "");
  setText(address, kernel.Address || "");
  setText(cells[4], kernel.Busy && kernel.BusySince ? duration(now() - kernel.BusySince) : "");
  setClass(cells[3], kernel.Client ? "client" : "client nobody");
  setText(cells[5], kernel.Evaluations.toLocaleString("en"));
  setText(cells[6], size(kernel.Memory));
  setText(cells[7], host(kernel));
  const withButtons = canAct();
  if (withButtons !== made.withButtons) {
    made.withButtons = withButtons;
    made.acts.replaceChildren(...(withButtons ? buttonsOf(kernel.id) : []));
  }
  if (withButtons) made.acts.firstChild.disabled = !kernel.Busy;
  return made.node;
}

function buttonsOf(id) {
  return [
    element("button", { onclick: () => act("abort", { Kernel: id }), "aria-label": `Abort kernel ${id}` }, "Abort"),
    element("button", { class: "danger", onclick: () => closeKernel(id), "aria-label": `Close kernel ${id}` }, "Close"),
  ];
}

async function closeKernel(id) {
  const kernel = state.Kernels[id];
  const user = kernel && kernel.Client ? ` ${kernel.Client} is using it, and its link will be closed.` : "";
  if (await confirmed(`Close kernel ${id}?`, `What is in it is lost.${user}`, "Close kernel")) act("close", { Kernel: id });
}

function drawKernels() {
  const all = Object.values(state.Kernels);
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = sorted(all.filter((kernel) => matches(kernel, words)));
  const most = showAll ? found.length : KERNELS_SHOWN;
  const shown = found.slice(0, most);
  setText(byId("kernel-count"), 
    `${words.length ? `${found.length.toLocaleString("en")} of ` : ""}${all.length ? all.length.toLocaleString("en") : ""}`);
  arrange(byId("kernels"), shown.map(row));
  const visible = new Set(shown.map((kernel) => kernel.id));
  for (const id of rows.keys()) if (!visible.has(id)) rows.delete(id);
  const none = byId("no-kernels");
  none.hidden = found.length > 0;
  setText(none, all.length ? "No kernel matches the filter." : "No kernel is running. The first client that needs one starts it.");
  const more = byId("more");
  more.hidden = found.length <= KERNELS_SHOWN;
  setText(more, showAll ? "Show fewer" : `Show all ${found.length.toLocaleString("en")} kernels`);
  for (const heading of byId("columns").children) {
    if (heading.dataset.key !== sort.key) heading.removeAttribute("aria-sort");
    else heading.setAttribute("aria-sort", sort.descending ? "descending" : "ascending");
  }
}

// -- pools --------------------------------------------------------------------------------------------------------------

const cards = new Map();

function card(name) {
  let made = cards.get(name);
  if (made) return made;
  made = {
    head: element("h3", {}, name || "Outside pools"), tags: element("span"), buttons: element("span", { class: "tools" }),
    text: element("p", { class: "pool-text" }), trouble: element("p", { class: "trouble", hidden: true }),
    cells: element("div", { class: "cells", "aria-hidden": "true" }), chart: name ? chart(name) : null,
    cellOf: new Map(), slots: [],
  };
  const parts = [element("div", { class: "pool-head" }, made.head, made.tags, made.buttons), made.text, made.trouble, made.cells];
  made.node = element("article", { class: "panel pool", "aria-label": name ? `Pool ${name}` : "Kernels outside pools" },
    ...parts, made.chart && made.chart.node);
  made.cells.addEventListener("click", (event) => pick(event.target.dataset.id));
  cards.set(name, made);
  return made;
}

function pick(id) {
  if (!id) return;
  picked = picked === id ? "" : id;
  byId("filter").value = picked;
  draw();
  if (picked) byId("kernels-title").scrollIntoView({ behavior: "smooth", block: "start" });
}

function counted(kernels) {
  const counts = { used: 0, busy: 0, ready: 0 };
  for (const kernel of kernels) {
    counts.used += kernel.State === "bridged" || kernel.State === "reserved";
    counts.busy += kernel.Busy;
    counts.ready += ["free", "bridged", "reserved", "resetting"].includes(kernel.State);
  }
  return counts;
}

function drawPool(name, kernels) {
  const pool = state.Pools[name];
  const made = card(name);
  const counts = counted(kernels);
  const maximum = pool ? pool.MaximumKernelNumber : kernels.length;
  const queue = pool?.WaitingClients ? `, ${pool.WaitingClients.toLocaleString("en")} waiting` : "";
  const of = pool ? ` of ${maximum.toLocaleString("en")}` : "";
  const rest = `${of} in use, ${counts.busy.toLocaleString("en")} evaluating${queue}`;
  if (made.text.dataset.key !== `${counts.used}${rest}`) {
    made.text.dataset.key = `${counts.used}${rest}`;
    made.text.replaceChildren(element("strong", {}, counts.used.toLocaleString("en")), rest);
  }
  drawTags(made, pool);
  const trouble = pool?.Trouble || "";
  made.trouble.hidden = !trouble;
  setText(made.trouble, trouble);
  drawCells(made, kernels, pool ? maximum : 0);
  drawButtons(made, name, pool);
  made.chart?.draw(name, counts, pool);
  return made.node;
}

function drawTags(made, pool) {
  const tags = [];
  const admission = pool?.Admission ?? "open";
  if (pool?.EntryPool) tags.push(["default", ""]);
  if (pool?.ParallelKernels) tags.push(["parallel", ""]);
  if (pool?.Retired) tags.push(["not configured any more", "warn"]);
  if (admission !== "open") tags.push([admission, "warn"]);
  const key = JSON.stringify(tags);
  if (made.tags.dataset.key === key) return;
  made.tags.dataset.key = key;
  made.tags.replaceWith(made.tags = element("span", { class: "tools", "data-key": key },
    ...tags.map(([text, kind]) => element("span", { class: `tag ${kind}` }, text))));
}

function drawButtons(made, name, pool) {
  const drained = (pool?.Admission ?? "open") !== "open";
  const key = canAct() ? (pool ? (drained ? "resume" : "drain") : "start") : "";
  if (made.buttons.dataset.key === key) return;
  made.buttons.dataset.key = key;
  const start = element("button", { onclick: () => act("start", name ? { Pool: name } : {}) }, "Start kernel");
  const turn = drained
    ? element("button", { onclick: () => act("resume", { Pool: name }) }, "Resume")
    : element("button", { onclick: () => drainPool(name) }, "Drain");
  made.buttons.replaceChildren(...(key ? [start, ...(pool ? [turn] : [])] : []));
}

async function drainPool(name) {
  const text = "It admits no more clients. Those that are there go on until they leave.";
  if (await confirmed(`Drain pool ${name}?`, text, "Drain")) act("drain", { Pool: name });
}

function drawCells(made, kernels, maximum) {
  const shown = kernels.slice(0, MOST_CELLS);
  const many = Math.max(kernels.length, Math.min(maximum, MOST_SLOTS)) > MANY_CELLS;
  setClass(made.cells, many ? "cells many" : "cells");
  made.node.classList.toggle("wide", many);
  const nodes = shown.map((kernel) => {
    let cell = made.cellOf.get(kernel.id);
    if (!cell) made.cellOf.set(kernel.id, (cell = element("span", { "data-id": kernel.id })));
    const { cell: name, words } = look(kernel);
    const title = `${kernel.id}: ${words}${kernel.Client ? `, ${kernel.Client}` : ""}`;
    setClass(cell, `cell ${name}`);
    if (cell.title !== title) cell.title = title;
    return cell;
  });
  if (made.cellOf.size > shown.length) {
    const ids = new Set(shown.map((kernel) => kernel.id));
    for (const id of made.cellOf.keys()) if (!ids.has(id)) made.cellOf.delete(id);
  }
  const slots = maximum <= MOST_SLOTS ? Math.max(0, maximum - shown.length) : 0;
  while (made.slots.length < slots) made.slots.push(element("span", { class: "cell slot", title: "room for a kernel" }));
  arrange(made.cells, [...nodes, ...made.slots.slice(0, slots)]);
}

// The last hour: kernels in use as an area, those that evaluate as a line, clients that waited as marks above.
function chart(poolName) {
  const svg = drawn("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, preserveAspectRatio: "none", role: "img" });
  const parts = {
    maximum: drawn("path", { class: "maximum" }), used: drawn("path", { class: "used" }),
    busy: drawn("path", { class: "busy-line" }), queue: drawn("path", { class: "queue" }),
    cursor: drawn("path", { class: "cursor" }),
  };
  const base = drawn("path", { class: "base", d: `M0 ${CHART.height}H${CHART.width}` });
  svg.append(base, parts.maximum, parts.used, parts.busy, parts.queue, parts.cursor);
  const [left, middle, right] = [element("span"), element("span", { class: "middle" }), element("span")];
  const node = element("div", { class: "chart" }, svg, element("div", { class: "chart-text" }, left, middle, right));
  let drawnKey = "", points = [], pointer = null;

  function describe() {
    const interval = state.PointInterval;
    setText(left, clock(state.PointsUntil - CHART.width * interval));
    setText(right, "now");
    const index = pointer === null ? null : Math.round(pointer * CHART.width) - (CHART.width - points.length);
    const point = index === null ? null : points[Math.min(index, points.length - 1)];
    if (!point) {
      parts.cursor.setAttribute("d", "");
      setText(middle, "kernels in use over the last hour");
      return;
    }
    const place = CHART.width - points.length + points.indexOf(point) + 0.5;
    parts.cursor.setAttribute("d", `M${place} 0V${CHART.height}`);
    const age = points.length - 2 - points.indexOf(point); // the last one is that of now
    const at = age < 0 ? "now" : clock(state.PointsUntil - age * interval, true);
    const queue = point[2] ? `, ${point[2]} waiting` : "";
    setText(middle, `${at}: ${point[0]} in use, ${point[1].toFixed(1)} evaluating${queue}`);
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    pointer = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    describe();
  });
  svg.addEventListener("pointerleave", () => { pointer = null; describe(); });

  function draw(name, counts, pool) {
    points = [...(state.Points[name] || []), [counts.used, counts.busy, pool.WaitingClients]].slice(-CHART.width);
    const top = Math.max(1, pool.MaximumKernelNumber, ...points.map((point) => point[0]));
    const key = `${state.PointsUntil} ${points.length} ${top} ${counts.used} ${counts.busy} ${pool.WaitingClients}`;
    if (key !== drawnKey) {
      drawnKey = key;
      const y = (value) => (CHART.height - 1 - (value / top) * (CHART.height - 10)).toFixed(2);
      const x = (index) => CHART.width - points.length + index;
      const steps = points.map((point, index) => `L${x(index)} ${y(point[0])}H${x(index) + 1}`).join("");
      parts.used.setAttribute("d", points.length ? `M${x(0)} ${CHART.height}${steps}V${CHART.height}` : "");
      parts.busy.setAttribute("d", points.map((point, index) => `${index ? "L" : "M"}${x(index) + 0.5} ${y(point[1])}`).join(""));
      parts.queue.setAttribute("d", points.map((point, index) => (point[2] ? `M${x(index)} 0h1v4h-1z` : "")).join(""));
      parts.maximum.setAttribute("d", `M0 ${y(pool.MaximumKernelNumber)}H${CHART.width}`);
      svg.setAttribute("aria-label", `Kernels of pool ${poolName} in use over the last hour, now ${counts.used}`);
    }
    describe();
  }

  return { node, draw };
}

function drawPools() {
  const ofPool = new Map(Object.keys(state.Pools).map((name) => [name, []]));
  const all = Object.values(state.Kernels).sort((one, other) => one.order - other.order);
  for (const kernel of all) {
    const name = kernel.Pool in state.Pools ? kernel.Pool : "";
    if (!ofPool.has(name)) ofPool.set(name, []);
    ofPool.get(name).push(kernel);
  }
  for (const name of cards.keys()) if (!ofPool.has(name)) cards.delete(name);
  arrange(byId("pools"), [...ofPool].map(([name, kernels]) => drawPool(name, kernels)));
}

// -- the rest of the page -------------------------------------------------------------------------------------------------

function drawHead() {
  const server = state.Server;
  setText(byId("machine"), server.Machine || "WSTPServer");
  document.title = server.Machine ? `${server.Machine} · WSTPServer` : "WSTPServer";
  const pools = Object.values(state.Pools);
  const starting = Object.values(state.Kernels).filter((kernel) => kernel.State === "starting").length;
  // One that the administrator has closed to clients says so as the reason why it serves nobody.
  const troubled = pools.filter((pool) => pool.Trouble && (pool.Admission ?? "open") === "open").length;
  const drained = pools.filter((pool) => (pool.Admission ?? "open") !== "open").length;
  let [kind, text] = ["good", "Everything is ready"];
  if (!connected) [kind, text] = ["", needsToken ? "Not signed in" : goneSince ? "Not connected" : "Connecting"];
  else if (server.Stopping) [kind, text] = ["bad", "The server is stopping"];
  else if (troubled) [kind, text] = ["bad", `${plural(troubled, "pool")} in trouble`];
  else if (state.WaitingNumber) [kind, text] = ["waits", `${plural(state.WaitingNumber, "client waits", "clients wait")}`];
  else if (drained) [kind, text] = ["waits", drained === pools.length ? "Drained or paused" : `${plural(drained, "pool")} drained or paused`];
  else if (starting) [kind, text] = ["waits", `${plural(starting, "kernel is", "kernels are")} starting`];
  setClass(byId("summary"), `summary ${kind}`);
  setText(byId("summary-text"), text);
  const facts = [
    ["Clients", (server.Clients ?? 0).toLocaleString("en")], ["Kernels", Object.keys(state.Kernels).length.toLocaleString("en")],
    ["Up", server.Started ? duration(now() - server.Started).replace(/ \d+ s$/, "") : ""],
    ["Loop lag", server.Lag === undefined ? "" : `${Math.round(server.Lag * 1000)} ms`],
  ];
  const list = byId("facts");
  if (!list.children.length) list.append(...facts.map(([name]) => element("div", {}, element("dt", {}, name), element("dd"))));
  facts.forEach(([, value], index) => setText(list.children[index].lastChild, value));
  byId("reload").hidden = byId("drain").hidden = !canAct();
  const all = pools.length > 0 && drained === pools.length;
  setText(byId("drain"), all ? "Resume server" : "Drain server");
  const button = byId("sign-in");
  button.hidden = Boolean(server.NoActions);
  setText(button, tokenIsRight ? "Sign out" : "Sign in");
  const footer = [
    server.Version ? `WSTPServer ${server.Version}` : "", server.Listening || "",
    server.ProcessID ? `process ${server.ProcessID}` : "", server.ConfigurationFile || "", server.NoActions || "",
  ].filter(Boolean);
  if (byId("footer").dataset.key !== footer.join("|")) {
    byId("footer").dataset.key = footer.join("|");
    const links = ["metrics", "ready"].map((path) => element("a", { href: path }, `/${path}`));
    byId("footer").replaceChildren(...footer.map((part) => element("span", {}, part)), ...links);
  }
}

function drawWaiting() {
  byId("waiting-section").hidden = !state.WaitingNumber;
  setText(byId("waiting-count"), String(state.WaitingNumber || ""));
  const lines = state.Waiting.map((waiting) => {
    const name = element("td", {}, waiting.Client, " ", waiting.Address ? element("small", {}, waiting.Address) : "");
    return element("tr", {}, name, element("td", {}, waiting.Wanted),
      element("td", { class: "number" }, duration(now() - waiting.Since)),
      element("td", { title: `because of ${waiting.Because}` }, waiting.Reason));
  });
  if (state.WaitingNumber > lines.length) {
    lines.push(element("tr", {}, element("td", { colspan: 4 }, `and ${plural(state.WaitingNumber - lines.length, "more client")}`)));
  }
  byId("waiting").replaceChildren(...lines);
}

function addToLog(entries) {
  const list = byId("log");
  const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 30;
  for (const entry of entries) {
    const time = element("time", { datetime: new Date(entry.time * 1000).toISOString() }, clock(entry.time, true));
    list.append(element("li", { class: entry.level.toLowerCase() }, time, element("p", {}, entry.text)));
  }
  while (list.children.length > LOG_SHOWN) list.firstChild.remove();
  byId("log-section").hidden = !state.Administrator;
  if (follows) list.scrollTop = list.scrollHeight;
}

let waitsForFrame = false;

function draw() {
  if (waitsForFrame) return;
  waitsForFrame = true;
  requestAnimationFrame(() => {
    waitsForFrame = false;
    drawHead();
    drawPools();
    drawWaiting();
    drawKernels();
  });
}

// -- events ---------------------------------------------------------------------------------------------------------------

let nextOrder = 0;

function mergeKernels(change) {
  for (const [id, kernel] of Object.entries(change)) {
    if (kernel === null) delete state.Kernels[id];
    else if (state.Kernels[id]) merge(state.Kernels[id], kernel);
    else state.Kernels[id] = { ...kernel, id, order: nextOrder++ };
  }
}

function receive(name, message) {
  clockOffset = message.Now - Date.now() / 1000;
  state.Administrator = message.Administrator;
  if (name === "state") {
    Object.assign(state, { Server: {}, Pools: {}, Kernels: {}, Log: [], Points: {} });
    nextOrder = 0;
    byId("log").replaceChildren();
  }
  merge(state.Server, message.Server ?? {});
  merge(state.Pools, message.Pools ?? {});
  mergeKernels(message.Kernels ?? {});
  for (const key of ["Waiting", "WaitingNumber", "PointsUntil", "PointInterval"]) {
    if (key in message) state[key] = message[key];
  }
  for (const [pool, points] of Object.entries(message.Points ?? {})) {
    state.Points[pool] = [...(state.Points[pool] ?? []), ...points].slice(-CHART.width);
  }
  addToLog(message.Log ?? []);
  draw();
}

function setConnected(value) {
  connected = value;
  if (value) goneSince = null;
  else goneSince ??= Date.now();
  document.body.classList.toggle("is-gone", !value && !needsToken);
  const gone = byId("gone");
  gone.hidden = value;
  if (!value) {
    setText(gone, needsToken ? "This server shows its state only to those who have an access token: sign in."
      : `The server has not answered since ${clock(goneSince / 1000, true)}. Trying again ...`);
  }
  draw();
}

async function listenOnce() {
  connection = new AbortController();
  let timer = setTimeout(() => connection.abort(), SILENCE);
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch("events", { headers, cache: "no-store", signal: connection.signal });
    if (response.status === 401 || response.status === 403) {
      needsToken = response.status === 401;
      if (token) signOut();
      throw new Error("refused");
    }
    needsToken = false;
    if (!response.ok) throw new Error(response.statusText);
    tokenIsRight = Boolean(token);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => connection.abort(), SILENCE);
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const match = /^event: (\w+)\ndata: (.*)$/s.exec(event);
        if (!match) continue;
        if (!connected) setConnected(true);
        receive(match[1], JSON.parse(match[2]));
      }
    }
  } finally {
    clearTimeout(timer);
    connection.abort();
  }
}

async function listen() {
  for (let failures = 0; ; ) {
    const began = Date.now();
    try {
      await listenOnce();
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof TypeError && connected) console.error(error);
    }
    if (restarting) {
      restarting = false;
      continue;
    }
    failures = Date.now() - began > 10000 ? 0 : failures + 1;
    setConnected(false);
    await new Promise((resolve) => setTimeout(resolve, RETRY[Math.min(failures, RETRY.length - 1)]));
  }
}

let restarting = false;

function reconnect() {
  restarting = true;
  connection?.abort();
}

// -- actions ----------------------------------------------------------------------------------------------------------------

const canAct = () => tokenIsRight && connected;

async function post(name, content, withToken) {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${withToken}` };
  try {
    const response = await fetch(`actions/${name}`, { method: "POST", headers, body: JSON.stringify(content) });
    const answer = await response.json();
    return response.ok ? { result: answer.result } : { error: answer.error, status: response.status };
  } catch {
    return { error: "the server did not answer" };
  }
}

async function act(name, content) {
  const { result, error, status } = await post(name, content, token);
  toast(result ?? `That failed: ${error}`, Boolean(error));
  if (status === 401) {
    signOut();
    reconnect();
  }
}

function toast(text, failed) {
  const node = element("div", { class: failed ? "toast failed" : "toast" }, text);
  byId("toasts").append(node);
  setTimeout(() => node.remove(), failed ? 9000 : 5000);
}

function confirmed(title, text, yes) {
  const dialog = byId("confirm-dialog");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), yes);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

function signOut() {
  token = "";
  tokenIsRight = false;
  sessionStorage.removeItem("wstpserver-token");
}

byId("sign-in").addEventListener("click", () => {
  if (tokenIsRight) {
    signOut();
    reconnect();
    return;
  }
  byId("token").value = "";
  setText(byId("sign-in-error"), "");
  byId("sign-in-dialog").showModal();
});

byId("sign-in-cancel").addEventListener("click", () => byId("sign-in-dialog").close());

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = byId("token").value.trim();
  const { error } = await post("check", {}, said);
  if (error) {
    setText(byId("sign-in-error"), `That failed: ${error}`);
    return;
  }
  token = said;
  sessionStorage.setItem("wstpserver-token", token);
  byId("sign-in-dialog").close();
  reconnect();
});

byId("reload").addEventListener("click", () => act("reload", {}));

byId("drain").addEventListener("click", async () => {
  const pools = Object.values(state.Pools);
  if (pools.every((pool) => (pool.Admission ?? "open") !== "open")) act("resume", {});
  else if (await confirmed("Drain the server?", "No pool admits more clients. Those that are there go on until they leave.", "Drain")) {
    act("drain", {});
  }
});

// -- the beginning ------------------------------------------------------------------------------------------------------------

byId("legend").append(...LEGEND.map(([name, text]) =>
  element("li", {}, element("span", { class: `cell ${name}` }), text)));

byId("columns").append(...COLUMNS.map((column) => {
  const button = element("button", { onclick: () => sortBy(column.key) }, column.title);
  return element("th", { scope: "col", class: column.class.replace("mono", ""), "data-key": column.key }, button);
}), element("th", { class: "acts" }, element("span", { hidden: true }, "Actions")));

function sortBy(key) {
  const { most = false } = COLUMNS.find((column) => column.key === key);
  sort = { key, descending: sort.key === key ? !sort.descending : most };
  draw();
}

byId("filter").addEventListener("input", () => {
  if (byId("filter").value !== picked) picked = "";
  draw();
});
byId("more").addEventListener("click", () => { showAll = !showAll; draw(); });
setInterval(() => { if (connected && !document.hidden) draw(); }, 1000);
draw();
listen();
