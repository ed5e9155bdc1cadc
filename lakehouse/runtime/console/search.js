// ---- search and ask --------------------------------------------------------------------------------------------

const FOUND = 10;                       // passages of a search

let corporaShown = false, searching = null;

const named = text => text.split(",").map(name => name.trim()).filter(Boolean);
const chosenCorpora = () => [...$("corpora").querySelectorAll("input:checked")].map(box => box.value);
const allCorpora = () => [...$("corpora").querySelectorAll("input")].map(box => box.value);

function askDocument() {                // every corpus chosen is what the service does without `corpora`
  const corpora = chosenCorpora(), tables = named($("search-tables").value), model = $("search-model").value.trim();
  const all = corpora.length === allCorpora().length && !(corpora.length === 0 && tables.length);
  return {question: $("search-text").value.trim(), ...(all ? {} : {corpora}), ...(tables.length ? {tables} : {}), ...(model ? {model} : {}), stream: true};
}

function showAskCurl() {
  const header = token ? ` \\\n  -H "Authorization: Bearer $LAKEHOUSE_TOKEN"` : "";
  $("ask-curl").textContent = `curl -N ${quoted(`${location.origin}/v1/ask`)} \\\n  -H 'Content-Type: application/json'${header} \\\n  -d ${quoted(JSON.stringify(askDocument()))}`;
}

function corpusChoice({name, length}, checked) {
  const box = make("input");
  box.type = "checkbox";
  box.value = name;
  box.checked = checked;
  return make("li", "", null, make("label", "", null, box, make("span", "", name), make("span", "note", plural(length, "item"))));
}

async function loadCorpora() {
  corporaShown = true;
  const before = new Map([...$("corpora").querySelectorAll("input")].map(box => [box.value, box.checked]));
  $("corpora-note").textContent = "loading…";
  try {
    const response = await get("/v1/matrix/corpora");
    if (!response.ok) throw new Error((await problemOf(response)).message);
    const corpora = (await response.json()).indexes.filter(index => index.model && index.name !== "playbook_memory");
    $("corpora").replaceChildren(...corpora.map(index => corpusChoice(index, before.get(index.name) ?? true)));
    $("corpora-note").textContent = corpora.length ? String(corpora.length) : "none yet: put documents into one with `lakehouse ingest`";
  } catch (error) {
    $("corpora-note").textContent = `not available: ${error.message}`;
  }
  showAskCurl();
}

function sourceOf({corpus, table, id, metadata}) {
  const {heading, page} = metadata || {};
  return [`${corpus ?? `table ${table}`}: ${id}`, typeof heading === "string" ? heading : "", page ? `page ${page}` : ""].filter(Boolean).join(", ");
}

function showPassage(passage, cited) {
  const facts = passage.distance === undefined || passage.distance === null ? "" : `  distance ${passage.distance.toFixed(3)}`;
  const summary = make("summary", "", null, make("b", "", `[${passage.n}] `), sourceOf(passage), make("span", "note", facts));
  const details = make("details", "", null, summary, make("pre", "", passage.text));
  if (passage.table) details.append(rowButton(passage));
  const item = make("li", cited ? "cited" : "", null, details);
  item.id = `passage-${passage.n}`;
  return item;
}

function rowButton({table, metadata}) { // a row is shown by the query that finds it in its snapshot
  const open = make("button", "small", "Open the row");
  open.type = "button";
  open.addEventListener("click", async () => {
    await loadEngines("duckdb");        // the statement is in its dialect
    $("sql").value = `SELECT * FROM ${identifier(table)} AT (VERSION => ${metadata.snapshot_id}) LIMIT 1 OFFSET ${metadata.row}`;
    showSqlCurl();
    selectByHand("lake");
    runQuery();
  });
  return open;
}

function showPassages(passages, cited = []) {
  const numbers = new Set(cited.map(passage => passage.n));
  $("passages").replaceChildren(...passages.map(passage => showPassage(passage, numbers.has(passage.n))));
  $("h-passages").hidden = !passages.length;
}

function openPassage(number) {
  const details = $(`passage-${number}`).querySelector("details");
  details.open = true;
  details.scrollIntoView({block: "nearest"});
  details.querySelector("summary").focus({preventScroll: true});
}

function withCitations(text) {          // the text with a button for each mark, which opens the passage
  return text.split(/(\[\d+\])/).map(part => {
    const number = /^\[(\d+)\]$/.exec(part)?.[1];
    if (!number || !$(`passage-${number}`)) return part;
    const mark = make("button", "", number);
    mark.type = "button";
    mark.setAttribute("aria-label", `Passage ${number}`);
    mark.addEventListener("click", () => openPassage(number));
    return mark;
  });
}

function showAnswer(text, claims) {     // claims are parts of the text, in its order
  let at = 0, uncited = 0;
  const parts = [];
  for (const {text: claim, citations} of claims) {
    const from = text.indexOf(claim, at);
    if (from < 0) continue;
    parts.push(...withCitations(text.slice(at, from)));
    at = from + claim.length;
    if (citations.length) parts.push(...withCitations(claim));
    else { uncited++; parts.push(make("span", "uncited", claim)); }
  }
  parts.push(...withCitations(text.slice(at)));
  $("cited-answer").replaceChildren(...parts);
  $("uncited-note").hidden = !uncited;
}

function clearSearch(note) {
  for (const id of ["cited-answer", "search-thinking", "uncited-note", "search-error"]) $(id).hidden = true;
  for (const id of ["cited-answer", "search-reasoning", "search-error"]) $(id).textContent = "";
  showPassages([]);
  $("search-note").textContent = note;
}

function searchFailed(error) {
  $("search-error").textContent = explain(error);
  $("search-error").hidden = false;
  $("search-note").textContent = [error.status, error.code, error.request_id].filter(Boolean).join(" · ");
}

async function lookUp(path, body, show) {  // one at a time: Cancel and Escape end this one
  if (searching) return;
  searching = new AbortController();
  $("ask-lake").disabled = $("search-only").disabled = true;
  $("cancel-search").disabled = false;
  clearSearch("searching…");
  const began = performance.now();
  try {
    const response = await get(path, {method: "POST", body: JSON.stringify(body), headers: {"Content-Type": "application/json"}, signal: searching.signal});
    if (response.ok) await show(response, () => (performance.now() - began) / 1000);
    else searchFailed(await problemOf(response));
  } catch (error) {
    $("search-note").textContent = error.name === "AbortError" ? "cancelled" : `failed: ${error.message}`;
  } finally {
    searching = null;
    $("ask-lake").disabled = $("search-only").disabled = false;
    $("cancel-search").disabled = true;
  }
}

async function showSearch(response, elapsed) {
  const {passages} = await response.json();
  showPassages(passages);
  $("search-note").textContent = `${plural(passages.length, "passage")} · ${seconds(elapsed())}`;
}

async function followAsk(response, elapsed) {
  let text = "", ended = false;
  for await (const event of events(response.body)) {
    if (event.type === "content") {
      text += event.text;
      $("cited-answer").hidden = false;
      $("cited-answer").append(event.text);
      $("search-note").textContent = "answering…";
    } else if (event.type === "reasoning") {
      $("search-thinking").hidden = false;
      $("search-reasoning").append(event.text);
    } else if (event.type === "done") {
      ended = true;
      showEnd(event, text, elapsed());
    } else if (event.type === "error") {
      ended = true;
      searchFailed(event.error);
    }
  }
  if (!ended) $("search-note").textContent = "the stream broke off";
}

function showEnd(done, text, elapsed) {
  showPassages(done.passages, done.citations);
  if (done.answer === null) {
    $("search-note").textContent = "no passage was found, so no model was asked";
    return;
  }
  showAnswer(text, done.claims);
  $("search-note").textContent = [`${done.provider} · ${done.model}`, `${done.citations.length} of ${plural(done.passages.length, "passage")} cited`, ...done.warnings, seconds(elapsed)].join(" · ");
}

function askLake() {
  showAskCurl();
  lookUp("/v1/ask", askDocument(), followAsk);
}

function searchLake() {
  const corpora = chosenCorpora();
  if (!corpora.length) { clearSearch("Choose a corpus first."); return; }
  if (!$("search-form").reportValidity()) return;
  const current = corpora.map(name => name === "pathway_memory" ? {name, filter: {not: {retired: true}}} : name);   // as an ask
  lookUp("/v1/matrix/context", {query_text: $("search-text").value.trim(), corpora: current, k: FOUND, max_tokens: 100_000}, showSearch);
}

$("search-form").addEventListener("submit", event => { event.preventDefault(); askLake(); });
$("search-form").addEventListener("input", showAskCurl);
$("search-only").addEventListener("click", searchLake);
$("reload-corpora").addEventListener("click", loadCorpora);
$("cancel-search").addEventListener("click", () => { if (searching) searching.abort(); });
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && searching) searching.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && $("search-form").contains(event.target)) $("search-form").requestSubmit();
});
copyButton("copy-ask", "ask-curl");

showAskCurl();
