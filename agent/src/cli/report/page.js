"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const fullName = (pod) => pod.namespace + "/" + pod.name + (pod.pods ? " (" + pod.pods.length + " pods)" : "");
const allNames = (pod) => (pod.pods ?? [pod.name]).map((name) => pod.namespace + "/" + name).join("\n");
const namespaces = [...new Set(data.pods.map((pod) => pod.namespace))];
// Beyond so many pods, those that are alike come together unless asked otherwise, and no more than MOST make a table.
const FEW = 30;
const MOST = 250;
// No more than so many make a graph in which lines can be told apart.
const IN_GRAPH = 60;
// What a cell says.
const SELF = { sign: "·", kind: "self", words: "itself" };
const ABSENT = { sign: "·", kind: "self", words: "no such port" };
const YES = { sign: "+", kind: "yes", words: "allowed" };
const SOME = { sign: "±", kind: "some", words: "some ports" };
const NO = { sign: "−", kind: "no", words: "denied" };

function element(name, properties = {}, children = []) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function options(select, entries, selected) {
  select.append(...entries.map(([value, text]) => element("option", { value, textContent: text })));
  select.value = selected;
}

function count(number, what) {
  return number + " " + what + (number === 1 ? "" : "s");
}

// The ports of each pod: index of the port, and the sources as text of hexadecimal digits.
const targets = data.pods.map(() => []);
for (const target of data.targets) targets[target.pod].push(target);

function reaches(target, from) {
  return ((parseInt(target.from[from >> 2], 16) >> (from & 3)) & 1) === 1;
}

// What every pod may do at every other, on the chosen port or on all of theirs: an index of STATES for each pair.
const STATES = [SELF, ABSENT, YES, SOME, NO];
const size = data.pods.length;
const codesOf = new Map();
function codes(port) {
  if (!codesOf.has(port)) {
    const made = new Uint8Array(size * size);
    for (let to = 0; to < size; to++) {
      const asked = targets[to].filter((target) => port === "" || target.port === Number(port));
      for (let from = 0; from < size; from++) {
        const allowed = asked.reduce((sum, target) => sum + (reaches(target, from) ? 1 : 0), 0);
        const some = allowed === asked.length ? YES : allowed === 0 ? NO : SOME;
        const itself = from === to && !data.pods[to].pods;
        made[from * size + to] = STATES.indexOf(itself ? SELF : asked.length === 0 ? ABSENT : some);
      }
    }
    codesOf.set(port, made);
  }
  return codesOf.get(port);
}

function state(from, to, port) {
  return STATES[codes(port)[from * size + to]];
}

// Whether two pods of a namespace reach and are reached alike.
function alike(one, other, table) {
  if (data.pods[one].namespace !== data.pods[other].namespace) return false;
  const each = table[one * size + other];
  if (each !== table[other * size + one]) return false;
  if ([one, other].some((pod) => data.pods[pod].pods && table[pod * size + pod] !== each)) return false;
  for (let pod = 0; pod < size; pod++) {
    if (pod === one || pod === other) continue;
    if (table[one * size + pod] !== table[other * size + pod]) return false;
    if (table[pod * size + one] !== table[pod * size + other]) return false;
  }
  return true;
}

function groups(pods, port, together) {
  const made = [];
  for (const pod of pods) {
    const found = together && made.find((group) => alike(group[0], pod, codes(port)));
    if (found) found.push(pod);
    else made.push([pod]);
  }
  return made;
}

function groupName(group) {
  const first = fullName(data.pods[group[0]]);
  return group.length === 1 ? first : first + " and " + (group.length - 1) + " alike";
}

function between(from, to, port) {
  if (from[0] === to[0] && data.pods[to[0]].pods) return state(from[0], to[0], port);
  const source = from.find((one) => one !== to[0]);
  if (source !== undefined) return state(source, to[0], port);
  const target = to.find((other) => other !== from[0]);
  return target === undefined ? SELF : state(from[0], target, port);
}

function isolation(pod, direction) {
  const by = data.pods[pod][direction];
  const guards = data.pods[pod][direction + "_guards"] ?? [];
  const judged = guards.length ? ", judged by ClusterNetworkPolicy " + guards.join(", ") : "";
  return (by.length === 0 ? "no policy isolates it" : "isolated by " + by.join(", ")) + judged;
}

function describe(from, to, port) {
  const what = between(from, to, port);
  const head = groupName(from) + " to " + groupName(to) + ": " + what.words + ". ";
  if (what === SELF || what === ABSENT) return head;
  const ports = targets[to[0]].filter((target) => port === "" || target.port === Number(port));
  const source = from.find((pod) => pod !== to[0]) ?? from[0];
  const names = (wanted) => ports.filter((target) => reaches(target, source) === wanted).map((it) => data.ports[it.port]);
  const list = (text, wanted) => (names(wanted).length ? text + " " + names(wanted).join(", ") + ". " : "");
  const end = (direction, pod) => direction + " of " + fullName(data.pods[pod]) + ": " + isolation(pod, direction.toLowerCase()) + ".";
  return head + list("Allowed:", true) + list("Denied:", false) + end("Egress", source) + " " + end("Ingress", to[0]);
}

function cell(from, to, port) {
  const what = between(from, to, port);
  const made = element("td", { className: what.kind, tabIndex: -1 }, [
    element("span", { textContent: what.sign, ariaHidden: "true" }),
    element("span", { className: "hidden-text", textContent: what.words }),
  ]);
  made.addEventListener("focus", () => { byId("detail").textContent = describe(from, to, port); });
  return made;
}

function heading(group, scope) {
  const title = group.map((pod) => allNames(data.pods[pod])).join("\n");
  return element("th", { scope, title }, [element("span", { textContent: groupName(group) })]);
}

function inNamespace(select) {
  const chosen = byId(select).value;
  return data.pods.map((_, index) => index).filter((pod) => chosen === "" || data.pods[pod].namespace === chosen);
}

function drawMatrix() {
  const port = byId("port").value;
  const offers = (pod) => targets[pod].some((target) => port === "" || target.port === Number(port));
  const [sources, destinations] = [inNamespace("from"), inNamespace("to").filter(offers)];
  const together = byId("group").checked;
  const [rows, columns] = [groups(sources, port, together), groups(destinations, port, together)];
  const place = byId("table");
  if (rows.length === 0 || columns.length === 0) {
    place.replaceChildren(element("p", { textContent: "No pod here has such a port." }));
  } else if (rows.length > MOST || columns.length > MOST) {
    const much = count(rows.length, "row") + " and " + count(columns.length, "column");
    place.replaceChildren(element("p", { textContent: much + " are too many to show: choose a namespace, or put pods together." }));
  } else {
    place.replaceChildren(matrixTable(rows, columns, port));
  }
}

function matrixTable(rows, columns, port) {
  const corner = element("th", { scope: "col", textContent: "from ↓ to →" });
  const head = element("thead", {}, [element("tr", {}, [corner, ...columns.map((group) => heading(group, "col"))])]);
  const row = (from) => element("tr", {}, [heading(from, "row"), ...columns.map((to) => cell(from, to, port))]);
  const body = element("tbody", {}, rows.map(row));
  const caption = element("caption", { className: "hidden-text", textContent: "Who reaches whom" });
  const table = element("table", { className: "matrix" }, [caption, head, body]);
  body.rows[0].cells[1].tabIndex = 0;
  table.addEventListener("keydown", (event) => moveFocus(event, body));
  table.addEventListener("click", (event) => event.target.closest("td")?.focus());
  return table;
}

function moveFocus(event, body) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const from = event.target.closest("td");
  if (!from || !steps[event.key]) return;
  const [down, right] = steps[event.key];
  const to = body.rows[from.parentElement.sectionRowIndex + down]?.cells[from.cellIndex + right];
  if (!to || to.tagName !== "TD") return;
  event.preventDefault();
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

function svg(name, attributes = {}, children = []) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawGraph() {
  const port = byId("port").value;
  const [sources, destinations] = [inNamespace("from"), inNamespace("to")];
  const pods = data.pods.map((_, index) => index).filter((pod) => sources.includes(pod) || destinations.includes(pod));
  const nodes = groups(pods, port, byId("group").checked);
  byId("graph-detail").textContent = "";
  if (nodes.length < 2 || nodes.length > IN_GRAPH) {
    const text = nodes.length < 2 ? "There are no two here." : count(nodes.length, "pod") + " are too many for a graph: " +
      "choose a namespace, or put pods together.";
    byId("graph").replaceChildren(element("p", { textContent: text }));
    return;
  }
  const edges = [];
  for (const [from, source] of nodes.entries()) {
    for (const [to, target] of nodes.entries()) {
      const what = between(source, target, port);
      const asked = sources.includes(source[0]) && destinations.includes(target[0]);
      if (from !== to && asked && (what === YES || what === SOME)) edges.push({ from, to, kind: what.kind });
    }
  }
  byId("graph").replaceChildren(circle(nodes, edges));
}

// Pods around a circle, by namespace, and a line through it for each pair, wider towards its end.
function circle(nodes, edges) {
  const [RADIUS, ROOM] = [260, 520];
  const angle = (index) => (2 * Math.PI * index) / nodes.length - Math.PI / 2;
  const at = (index, radius, turn = 0) =>
    [Math.cos(angle(index) + turn) * radius, Math.sin(angle(index) + turn) * radius].map((it) => it.toFixed(1)).join(" ");
  const picture = svg("svg", { viewBox: [-ROOM, -ROOM, 2 * ROOM, 2 * ROOM].join(" "), role: "group" });
  const lines = edges.map(({ from, to, kind }) => {
    const [left, right] = [at(to, RADIUS, 0.02), at(to, RADIUS, -0.02)];
    return svg("path", { class: "edge " + kind, d: "M" + at(from, RADIUS) + " Q0 0 " + left + " L" + right + " Q0 0 " + at(from, RADIUS) });
  });
  const choose = (node) => {
    lines.forEach((line, index) => line.classList.toggle("away", edges[index].from !== node && edges[index].to !== node));
    byId("graph-detail").textContent = tellNode(nodes, edges, node);
  };
  const names = nodes.map((group, index) => {
    const degrees = (angle(index) * 180) / Math.PI;
    const flipped = degrees > 90;
    const turn = "rotate(" + (flipped ? degrees + 180 : degrees).toFixed(1) + ")";
    const text = svg("text", { x: flipped ? -RADIUS - 12 : RADIUS + 12, transform: turn, class: flipped ? "end" : "", dy: "0.35em" });
    text.append(groupName(group));
    const dot = svg("circle", { r: 6, cx: at(index, RADIUS).split(" ")[0], cy: at(index, RADIUS).split(" ")[1] });
    const label = tellNode(nodes, edges, index);
    const made = svg("g", { class: "node", tabindex: 0, role: "img", "aria-label": label }, [dot, text]);
    made.addEventListener("focus", () => choose(index));
    made.addEventListener("click", () => made.focus());
    return made;
  });
  picture.append(...lines, ...names);
  return picture;
}

function tellNode(nodes, edges, node) {
  const list = (indexes) => (indexes.length === 0 ? "nobody" : indexes.map((index) => groupName(nodes[index])).join(", "));
  const to = edges.filter((edge) => edge.from === node).map((edge) => edge.to);
  const from = edges.filter((edge) => edge.to === node).map((edge) => edge.from);
  return groupName(nodes[node]) + " reaches " + list(to) + "; it is reached by " + list(from) + ".";
}

function plainTable(caption, headings, rows) {
  const head = element("tr", {}, headings.map((text) => element("th", { scope: "col", textContent: text })));
  const body = rows.map((cells) => element("tr", {}, cells.map((content, index) =>
    element(index === 0 ? "th" : "td", index === 0 ? { scope: "row" } : {}, [content]))));
  return element("table", { className: "plain" }, [element("caption", { className: "hidden-text", textContent: caption }),
    element("thead", {}, [head]), element("tbody", {}, body)]);
}

function drawFindings() {
  const notes = byId("not-judged");
  notes.hidden = data.not_judged.length === 0;
  notes.append(...data.not_judged.map((text) => element("li", { textContent: "Not judged: " + text })));
  if (data.findings.length === 0) {
    byId("findings").append(element("p", { textContent: "Nothing was found." }));
    return;
  }
  const severities = ["error", "warning", "note"];
  const worstFirst = severities.flatMap((severity) => data.findings.filter((it) => it.severity === severity));
  const rows = worstFirst.map((it) => {
    const place = [it.file, it.document && "document " + it.document, it.line && "line " + it.line].filter(Boolean);
    return [
      element("span", { className: "severity " + it.severity, textContent: it.severity }),
      element("span", {}, [it.object ?? "", element("br"), element("code", { textContent: it.field ?? "" })]),
      element("span", { textContent: it.why }),
      element("span", { textContent: it.instead ?? "" }),
      element("span", {}, [element("code", { textContent: it.rule }), element("br"), place.join(", ")]),
    ];
  });
  byId("findings").append(plainTable("Findings", ["Severity", "Object and field", "Why", "Instead", "Rule and place"], rows));
}

function drawObserved() {
  if (data.observed === null) return;
  byId("observed-section").hidden = false;
  const { denials, lost } = data.observed;
  byId("observed-lost").textContent = denials.length === 0 ? "None." :
    "Samples, most frequent first; " + (lost === 0 ? "none is" : lost + (lost === 1 ? " more is" : " more are")) + " missing.";
  const rows = denials.map((it) => [
    it.from,
    it.to + (it.port === null ? "" : " (" + it.protocol + "/" + it.port + ")"),
    it.direction + ", " + (it.verdict === "would_deny" ? "audit: " : "") + it.reason,
    it.policies.join(", "),
    String(it.count),
    it.last,
  ]);
  if (rows.length > 0) {
    byId("observed").append(plainTable("Observed denials", ["From", "To", "Direction and reason", "Isolated by", "Samples", "Last"], rows));
  }
}

function drawIsolation() {
  const names = (policies, guards) => {
    const judged = guards?.length ? "; judged by ClusterNetworkPolicy " + guards.join(", ") : "";
    return (policies.length === 0 ? "not isolated" : policies.join(", ")) + judged;
  };
  const rows = inNamespace("isolation-namespace").map((index) => {
    const pod = data.pods[index];
    return [fullName(pod), names(pod.ingress, pod.ingress_guards), names(pod.egress, pod.egress_guards)];
  });
  byId("isolation").replaceChildren(plainTable("Who isolates whom", ["Pod", "Ingress isolated by", "Egress isolated by"], rows));
}

const everyNamespace = [["", "all"], ...namespaces.map((name) => [name, name])];
for (const id of ["from", "to", "isolation-namespace"]) options(byId(id), everyNamespace, "");
options(byId("port"), [["", "all ports"], ...data.ports.map((name, index) => [String(index), name])], "");
byId("group").checked = data.pods.length > FEW;
const podCount = data.pods.reduce((sum, pod) => sum + (pod.pods?.length ?? 1), 0);
byId("summary").textContent = [count(podCount, "pod"), count(namespaces.length, "namespace"),
  data.policies + (data.policies === 1 ? " NetworkPolicy" : " NetworkPolicies"),
  ...(data.cluster_policies ? [data.cluster_policies + " of ClusterNetworkPolicy"] : []),
  count(data.findings.length, "finding")].join(", ") + ". Made by podgate " + data.version + ".";
for (const id of ["port", "from", "to", "group"]) {
  byId(id).addEventListener("change", drawMatrix);
  byId(id).addEventListener("change", drawGraph);
}
byId("isolation-namespace").addEventListener("change", drawIsolation);
drawFindings();
drawObserved();
drawMatrix();
drawGraph();
drawIsolation();
