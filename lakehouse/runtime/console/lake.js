// ---- tabs ------------------------------------------------------------------------------------------------------

const TABS = ["service", "lake", "search"];

function select(name, focus = false) {
  for (const tab of TABS) {
    const chosen = tab === name;
    $(tab).hidden = !chosen;
    $(`tab-${tab}`).setAttribute("aria-selected", String(chosen));
    $(`tab-${tab}`).tabIndex = chosen ? 0 : -1;
  }
  if (focus) $(`tab-${name}`).focus();
  if (name === "lake" && !tablesShown) { loadTables(); loadEngines(); }
  if (name === "search" && !corporaShown) loadCorpora();
}

function selectByHand(name) {
  history.replaceState(null, "", `#${name}`);
  select(name, true);
}

function selectByAddress() {            // "#lake" opens that tab; a fragment of no tab is a place in the first one
  const name = location.hash.slice(1);
  select(TABS.includes(name) ? name : "service");
}

for (const tab of TABS) $(`tab-${tab}`).addEventListener("click", () => selectByHand(tab));
$("tabs").addEventListener("keydown", event => {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!step) return;
  const at = TABS.findIndex(tab => $(`tab-${tab}`).tabIndex === 0);
  selectByHand(TABS[(at + step + TABS.length) % TABS.length]);
});
addEventListener("hashchange", selectByAddress);

// ---- tables ----------------------------------------------------------------------------------------------------

const ROWS = 1000;                      // rows of a result that are fetched and shown
const BARS = 40;                        // bars of a chart

let tablesShown = false;

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${Number((bytes / 1000 ** power).toPrecision(3))} ${units[power]}`;
}

const plural = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
const quote = (name, mark = '"') => /^[a-z_][a-z0-9_]*$/i.test(name) ? name : mark + name.replaceAll(mark, mark + mark) + mark;
const QUOTES = {spark: "`", flightsql: "`", trino: '"'};

function identifier(name) {             // of a table, as the chosen engine has it: `a/b.c` is a.b~c in a catalog
  const mark = QUOTES[$("engine").value];
  return mark ? name.replaceAll(".", "~").split("/").map(part => quote(part, mark)).join(".") : quote(name);
}

async function problemOf(response) {    // the error document of a response, whatever its body is
  const text = await response.text();
  return readError(text, response.status);
}

function readError(text, status) {
  try { return JSON.parse(text).error; } catch { return {message: text.slice(0, 300) || "no answer", status, code: ""}; }
}

function showTable(manifest) {
  const columns = make("dl");
  for (const {name, type} of manifest.columns) columns.append(make("dt", "", name), make("dd", "", type));
  const use = make("button", "small", "Query");
  use.type = "button";
  use.addEventListener("click", () => {
    $("sql").value = `SELECT * FROM ${identifier(manifest.name)} LIMIT 100`;
    showSqlCurl();
    runQuery();
  });
  const facts = `${plural(manifest.row_count, "row")} · ${plural(manifest.columns.length, "column")} · ${size(manifest.bytes)}`;
  const summary = make("summary", "", null, make("b", "", manifest.name), make("span", "note", `  ${facts}`));
  return make("li", "", null, make("details", "", null, summary, columns, use));
}

async function loadTables() {
  tablesShown = true;
  $("tables-note").textContent = "loading…";
  try {
    const response = await get("/v1/catalog/list");
    if (!response.ok) throw new Error((await problemOf(response)).message);
    const {manifests} = await response.json();
    const open = new Set([...$("tables").querySelectorAll("details[open] b")].map(name => name.textContent));
    $("tables").replaceChildren(...manifests.map(showTable));
    for (const name of $("tables").querySelectorAll("b")) name.closest("details").open = open.has(name.textContent);
    $("tables-note").textContent = manifests.length ? String(manifests.length) : "none yet: upload a file";
  } catch (error) {
    $("tables-note").textContent = `not available: ${error.message}`;
  }
}

$("reload").addEventListener("click", () => { loadTables(); loadEngines(); });

// ---- upload ----------------------------------------------------------------------------------------------------

let chosenFile = null, uploading = null;

const DOCUMENT = /\.(md|markdown|html?|xhtml|pdf|docx)$/i;

function nameOf(file) {                 // the name of the table or corpus of a file, as `lakehouse ingest` chooses it
  const stem = file.name.replace(/\.(gz|zst)$/i, "").replace(/\.(csv|tsv|txt|json|ndjson|jsonl|parquet|arrow|feather|ipc)$/i, "").replace(DOCUMENT, "");
  return stem.normalize("NFKD").replace(/[^A-Za-z0-9_.-]+/g, "_").replace(/^[_.]+|[_.]+$/g, "") || "upload";
}

function choose(file) {
  chosenFile = file;
  $("file-name").textContent = `${file.name} (${size(file.size)})`;
  $("table-name").value = nameOf(file);
  $("mode").disabled = DOCUMENT.test(file.name);   // a document always replaces its own passages
}

function uploadNote(text, failed = false) {
  $("upload-note").textContent = text;
  $("upload-note").classList.toggle("failed", failed);
}

function showWarnings(warnings) {
  const places = warnings.map(w => [w.line === null ? "" : `line ${w.line}`, w.column].filter(Boolean).join(", "));
  $("upload-warnings").replaceChildren(...warnings.map((w, i) => make("li", "", `${places[i] ? `${places[i]}: ` : ""}${w.message}`)));
  $("upload-warnings").hidden = !warnings.length;
}

function explain(error) {               // an error document as text, with what it says about the place
  const details = error.details || {};
  const place = ["line", "column", "value", "offset"].filter(key => details[key] !== undefined && details[key] !== null).map(key => `${key} ${JSON.stringify(details[key])}`);
  const differences = (details.differences || []).map(d => `${d.column}: was ${d.was ?? "absent"}, is ${d.is ?? "absent"}`);
  return [error.message, place.join(", "), ...differences].filter(Boolean).join("\n");
}

function ended(text, failed = false) {
  uploading = null;
  $("send-file").disabled = false;
  $("cancel-upload").disabled = true;
  $("upload-progress").hidden = true;
  uploadNote(text, failed);
}

function uploaded(request) {
  if (request.status !== 200 && request.status !== 201) {
    ended(explain(readError(request.responseText, request.status)), true);
    return;
  }
  const answer = JSON.parse(request.responseText);
  if (answer.corpus !== undefined) {
    ended(`${answer.corpus}: ${plural(answer.passages, "passage")} of ${answer.source}, ${answer.length.toLocaleString("en")} in the corpus`);
    showWarnings(answer.warnings);
    corporaShown = false;               // the tab for search asks for them again
    return;
  }
  ended(`${answer.name}: ${plural(answer.row_count, "row")}${answer.rows_added === answer.row_count ? "" : ` (${answer.rows_added.toLocaleString("en")} added)`}, ${size(answer.bytes_in)} stored as ${size(answer.bytes_stored)}`);
  showWarnings(answer.warnings);
  $("sql").value = `SELECT * FROM ${identifier(answer.name)} LIMIT 100`;
  showSqlCurl();
  loadTables();
}

function upload() {                     // XMLHttpRequest, because fetch does not tell how much of a body has left
  const request = uploading = new XMLHttpRequest();
  const name = $("table-name").value.trim();
  const parameters = new URLSearchParams(DOCUMENT.test(chosenFile.name) ? {name, source: chosenFile.name} : {name, mode: $("mode").value});
  const form = new FormData();
  form.append("file", chosenFile, chosenFile.name);
  request.open("POST", `/v1/ingest?${parameters}`);
  if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
  request.upload.addEventListener("progress", event => {
    $("upload-progress").value = event.loaded / Math.max(1, event.total);
    uploadNote(event.loaded < event.total ? `${size(event.loaded)} of ${size(event.total)} sent` : "sent; the file is being read…");
  });
  request.addEventListener("load", () => uploaded(request));
  request.addEventListener("error", () => ended("failed: the connection ended before an answer arrived", true));
  request.addEventListener("abort", () => ended("cancelled"));
  $("send-file").disabled = true;
  $("cancel-upload").disabled = false;
  $("upload-progress").value = 0;
  $("upload-progress").hidden = false;
  showWarnings([]);
  uploadNote("connecting…");
  request.send(form);
}

$("file").addEventListener("change", () => { if ($("file").files.length) choose($("file").files[0]); });
$("upload").addEventListener("submit", event => {
  event.preventDefault();
  if (uploading) return;
  if (chosenFile) upload(); else uploadNote("Choose a file first.", true);
});
$("cancel-upload").addEventListener("click", () => { if (uploading) uploading.abort(); });
for (const kind of ["dragenter", "dragover"]) $("lake").addEventListener(kind, event => { event.preventDefault(); $("drop").classList.add("over"); });
for (const kind of ["dragleave", "drop"]) $("lake").addEventListener(kind, event => { event.preventDefault(); $("drop").classList.remove("over"); });
$("lake").addEventListener("drop", event => { if (event.dataTransfer.files.length && !uploading) { choose(event.dataTransfer.files[0]); upload(); } });

// ---- queries ---------------------------------------------------------------------------------------------------

let running = null, result = null;

const hasEngines = () => $("engine").options.length > 1;
const statement = () => ({sql: $("sql").value.trim(), ...(hasEngines() ? {engine: $("engine").value} : {})});
const isNumber = type => /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|REAL|DECIMAL.*)$/i.test(type);
const isTime = type => /^(DATE|TIMESTAMP)/i.test(type);

function showSqlCurl() {
  const header = token ? ` \\\n  -H "Authorization: Bearer $LAKEHOUSE_TOKEN"` : "";
  $("sql-curl").textContent = `curl ${quoted(`${location.origin}/v1/sql`)} \\\n  -H 'Content-Type: application/json'${header} \\\n  -d ${quoted(JSON.stringify(statement()))}`;
}

async function loadEngines(wanted = "") {   // they can be chosen where the service has several
  const response = await get("/v1/sql/engines").catch(() => null);
  const {engines, default: usual} = response && response.ok ? await response.json() : {engines: [], default: ""};
  const chosen = wanted || (hasEngines() ? $("engine").value : "");
  $("engine").replaceChildren(...engines.map(name => make("option", "", name)));
  $("engine").value = engines.includes(chosen) ? chosen : usual;
  $("engine-choice").hidden = !hasEngines();
  showSqlCurl();
}

function cell(value, number) {
  if (value === null) return make("td", "null", "NULL");
  return make("td", number ? "number" : "", typeof value === "object" ? JSON.stringify(value) : String(value));
}

function showResult({columns, rows}) {
  const head = make("tr", "", null, ...columns.map(column => make("th", isNumber(column.type) ? "number" : "", column.name, make("small", "", column.type))));
  for (const th of head.children) th.scope = "col";
  const numbers = columns.map(column => isNumber(column.type));
  $("grid").querySelector("thead").replaceChildren(head);
  $("grid").querySelector("tbody").replaceChildren(...rows.map(row => make("tr", "", null, ...row.map((value, i) => cell(value, numbers[i])))));
  $("grid").hidden = !columns.length;
  $("grid").scrollTop = 0;
}

function queryFacts(answer, elapsed) {
  const rows = answer.truncated ? `the first ${plural(answer.row_count, "row")}` : plural(answer.row_count, "row");
  const scanned = answer.scanned && answer.scanned.rows ? `${plural(answer.scanned.rows, "row")} and ${size(answer.scanned.bytes)} read` : "";
  return [rows, `${seconds(answer.elapsed_ms / 1000)} in the engine`, `${seconds(elapsed)} in all`, scanned].filter(Boolean).join(" · ");
}

function queryFailed(error) {
  const position = (error.details || {}).position;
  const lines = [explain({...error, details: {}})];
  if (Number.isInteger(position)) {
    const before = [...statement().sql].slice(0, position).join("").split("\n");
    lines.push("", statement().sql.split("\n")[before.length - 1], `${" ".repeat(before.at(-1).length)}^`);
  }
  $("query-error").textContent = lines.join("\n");
  $("query-error").hidden = false;
  $("query-note").textContent = [error.status, error.code, error.request_id].filter(Boolean).join(" · ");
}

async function send(body, accept) {      // one query at a time: Cancel and Escape end this one
  running = new AbortController();
  $("run").disabled = $("download").disabled = true;
  $("cancel").disabled = false;
  $("query-error").hidden = true;
  $("query-note").textContent = "running…";
  const headers = {"Content-Type": "application/json", Accept: accept};
  const response = await get("/v1/sql", {method: "POST", body: JSON.stringify(body), headers, signal: running.signal});
  if (response.ok) return response;
  queryFailed(await problemOf(response));
  return null;
}

async function guarded(work) {
  if (running) return;
  try {
    await work();
  } catch (error) {
    $("query-note").textContent = error.name === "AbortError" ? "cancelled" : `failed: ${error.message}`;
  } finally {
    running = null;
    $("run").disabled = false;
    $("cancel").disabled = true;
    $("download").disabled = result === null;
  }
}

async function runQuery() {
  const began = performance.now();
  await guarded(async () => {
    $("grid").hidden = $("chart").hidden = true;
    const response = await send({...statement(), max_rows: ROWS}, "application/json");
    if (!response) return;
    result = await response.json();
    $("query-note").textContent = queryFacts(result, (performance.now() - began) / 1000);
    showResult(result);
    offerChart(result);
  });
}

async function download() {             // all rows, where the grid has the first ones
  await guarded(async () => {
    const response = await send(statement(), "text/csv");
    if (!response) return;
    const file = await response.blob(), link = make("a");
    link.href = URL.createObjectURL(file);
    link.download = "result.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    $("query-note").textContent = `result.csv, ${size(file.size)}`;
  });
}

$("query").addEventListener("submit", event => { event.preventDefault(); runQuery(); });
$("query").addEventListener("input", showSqlCurl);
$("cancel").addEventListener("click", () => { if (running) running.abort(); });
$("download").addEventListener("click", download);
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && running) running.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && $("query").contains(event.target)) $("query").requestSubmit();
});
copyButton("copy-sql", "sql-curl");

// ---- a chart of the result -------------------------------------------------------------------------------------

function offerChart({columns, rows}) {
  const numbers = columns.map((column, i) => i).filter(i => isNumber(columns[i].type));
  const x = [columns.findIndex(c => isTime(c.type)), columns.findIndex(c => !isNumber(c.type)), 0].find(i => i >= 0);
  const y = numbers.find(i => i !== x);
  $("chart").hidden = y === undefined || rows.length < 2;
  if ($("chart").hidden) return;
  const option = i => { const made = make("option", "", columns[i].name); made.value = i; return made; };
  $("chart-x").replaceChildren(...columns.map((_, i) => option(i)));
  $("chart-y").replaceChildren(...numbers.map(option));
  $("chart-x").value = x;
  $("chart-y").value = y;
  drawChart();
}

function svg(name, attributes, text = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

function ticks(low, high) {             // about five round values that cover the range
  const raw = (high - low) / 4 || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map(n => n * power).find(n => n >= raw * 0.999);
  const first = Math.floor(low / step) * step, found = [];
  for (let n = 0; found.length < 2 || found.at(-1) < high - step * 1e-6; n++) found.push(Number((first + n * step).toPrecision(12)));
  return found;
}

const moment = value => Date.parse(/\d\d:\d\d/.test(value) ? String(value).replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00").replace(/(:\d\d(\.\d+)?)$/, "$1Z") : value);

function chartPoints() {
  const x = Number($("chart-x").value), y = Number($("chart-y").value), type = result.columns[x].type;
  const place = isTime(type) ? moment : isNumber(type) ? Number : null;
  let points = result.rows.map(row => ({label: row[x] === null ? "NULL" : String(row[x]), x: place && place(row[x]), y: row[y] === null ? NaN : Number(row[y])})).filter(p => isFinite(p.y));
  if (place) points = points.filter(p => isFinite(p.x)).sort((a, b) => a.x - b.x);
  return {points: place ? points : points.slice(0, BARS), left: place ? 0 : Math.max(0, points.length - BARS), line: Boolean(place), time: isTime(type)};
}

function drawChart() {
  const drawing = $("drawing"), {points, left, line, time} = chartPoints();
  drawing.replaceChildren();
  if (!points.length || drawing.clientWidth === 0) return;
  const width = drawing.clientWidth, height = drawing.clientHeight, values = points.map(p => p.y);
  const scale = ticks(Math.min(0, ...values), Math.max(0, ...values)), low = scale[0], high = scale.at(-1);
  const texts = scale.map(v => v.toLocaleString("en", {maximumSignificantDigits: 6}));
  const box = {left: 12 + 7 * Math.max(...texts.map(t => t.length)), right: width - 12, top: 12, bottom: height - 26};
  const at = v => box.bottom - (v - low) / (high - low) * (box.bottom - box.top);
  scale.forEach((v, i) => drawing.append(svg("line", {class: "rule", x1: box.left, x2: box.right, y1: at(v), y2: at(v)}), svg("text", {x: box.left - 6, y: at(v) + 4, "text-anchor": "end"}, texts[i])));
  (line ? drawLine : drawBars)(drawing, points, box, at, time);
  const names = [$("chart-y"), $("chart-x")].map(list => list.selectedOptions[0].textContent);
  drawing.setAttribute("aria-label", `${names[0]} by ${names[1]}: ${points.length} values from ${Math.min(...values)} to ${Math.max(...values)}${left ? `, ${left} more are not drawn` : ""}. The table below has them.`);
}

function drawLine(drawing, points, box, at, time) {
  const first = points[0].x, span = points.at(-1).x - first || 1, across = x => box.left + (x - first) / span * (box.right - box.left);
  drawing.append(svg("path", {class: "curve", d: `M${points.map(p => `${across(p.x).toFixed(1)} ${at(p.y).toFixed(1)}`).join("L")}`}));
  if (points.length <= 100) for (const p of points) drawing.append(mark("circle", {cx: across(p.x), cy: at(p.y), r: 2.6}, p));
  const shown = Math.max(2, Math.min(7, Math.floor((box.right - box.left) / 110)));
  for (let i = 0; i < shown; i++) {
    const x = first + span * i / (shown - 1), edge = i === 0 ? "start" : i === shown - 1 ? "end" : "middle";
    drawing.append(svg("text", {x: across(x), y: box.bottom + 18, "text-anchor": edge}, time ? clock(x, span) : x.toLocaleString("en", {maximumSignificantDigits: 5, useGrouping: false})));
  }
}

function clock(x, span) {
  const text = new Date(x).toISOString();
  const days = span / 86_400_000;
  return days > 10 ? text.slice(0, 10) : days > 1 ? text.slice(5, 16).replace("T", " ") : text.slice(11, 16);
}

function drawBars(drawing, points, box, at) {
  const step = (box.right - box.left) / points.length, zero = at(0), room = Math.max(1, Math.floor(step / 6.6)), every = Math.ceil(34 / step);
  points.forEach((p, i) => {
    const x = box.left + i * step, top = Math.min(at(p.y), zero);
    drawing.append(mark("rect", {x: x + step * 0.12, y: top, width: step * 0.76, height: Math.max(1, Math.abs(at(p.y) - zero)), rx: 2}, p));
    const text = p.label.length > Math.max(room * every, 4) ? `${p.label.slice(0, Math.max(room * every, 4) - 1)}…` : p.label;
    if (i % every === 0) drawing.append(svg("text", {x: x + step / 2, y: box.bottom + 18, "text-anchor": "middle"}, text));
  });
}

function mark(name, attributes, point) {
  const element = svg(name, {class: "mark", ...attributes});
  element.append(svg("title", {}, `${point.label}: ${point.y}`));
  return element;
}

for (const id of ["chart-x", "chart-y"]) $(id).addEventListener("change", drawChart);
$("chart-hide").addEventListener("click", () => {
  const hide = $("chart-hide").getAttribute("aria-expanded") === "true";
  $("drawing").style.display = hide ? "none" : "";
  $("chart-hide").setAttribute("aria-expanded", String(!hide));
  $("chart-hide").textContent = hide ? "Show" : "Hide";
  if (!hide) drawChart();
});
addEventListener("resize", () => { if (result && !$("chart").hidden) drawChart(); });

showSqlCurl();
