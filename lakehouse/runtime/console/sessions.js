// ---- sessions --------------------------------------------------------------------------------------------------

const SESSIONS = 30;                    // sessions that are asked for
const SHOWN_FOR = 60;                   // seconds for which one without requests in flight is shown
const SURE = 4000;                      // milliseconds in which a second press stops a session
const STATES = {running: "good live", stopped: "bad", idle: "idle"};
let sure = null;                        // the id of the session whose button has been pressed once

function spent(counted) {
  const tokens = counted.input_tokens + counted.output_tokens;
  return [tokens ? `${count(tokens)} tokens` : "", counted.cost_usd ? `$ ${counted.cost_usd.toPrecision(2)}` : ""];
}

function renderAgent(agent, rows) {     // its requests, then the agents below it; nothing for one in which nothing runs
  const own = rows.filter(row => row.agent === agent.agent).map(renderRequest);
  const below = agent.agents.flatMap(inner => {
    const parts = renderAgent(inner, rows);
    if (!parts.length) return [];
    const facts = [`${inner.in_flight} of ${inner.calls} calls in flight`, ...spent(inner), inner.stopped ? "stopped" : ""];
    return [make("li", "agent", null, make("b", "", inner.agent), make("span", "note", ` ${facts.filter(Boolean).join(" · ")}`), make("ul", "requests", null, ...parts))];
  });
  return [...own, ...below];
}

function stopButton(session) {
  const button = make("button", "", sure === session.id ? "Stop it?" : "Stop");
  button.type = "button";
  button.dataset.session = session.id;
  button.setAttribute("aria-label", `${button.textContent} ${session.id}`);
  button.addEventListener("click", () => press(session.id).catch(error => alarm(`The session was not stopped: ${error.message}`)));
  return button;
}

async function press(id) {              // the first press asks, the second one stops
  if (sure !== id) {
    sure = id;
    setTimeout(() => { if (sure === id) sure = null; }, SURE);
  } else {
    sure = null;
    const response = await get(`/v1/sessions/${encodeURIComponent(id)}`, {method: "DELETE"});
    if (!response.ok) throw new Error(`the service answers ${response.status}`);
    const receipt = await response.json();
    $("sessions-status").textContent = `${id}: ${receipt.calls === 1 ? "1 call" : `${receipt.calls} calls`} ended`;
  }
  await look();
}

function renderSession(session, rows) {
  const facts = [session.agents > 1 ? `${session.agents} agents` : "", `${session.in_flight} of ${session.calls} calls in flight`, session.failed ? `${session.failed} failed` : "", session.refused ? `${session.refused} refused` : "", ...spent(session), session.principal || ""];
  const head = make("div", "session", null,
    make("span", `chip ${STATES[session.state] || "idle"}`, session.state),
    make("span", "what", session.id),
    make("span", "age", seconds(session.age)),
    session.state === "stopped" ? make("span") : stopButton(session),
    make("span", "more", facts.filter(Boolean).join(" · ")));
  return make("li", "", null, head, make("ul", "requests", null, ...renderAgent(session.tree, rows)));
}

function showSessions(listed, rows) {   // the requests that belong to no session that is shown
  const sessions = listed.filter(session => session.in_flight || session.idle < SHOWN_FOR);
  const focused = document.activeElement && document.activeElement.dataset.session;
  $("sessions").replaceChildren(...sessions.map(session => renderSession(session, rows.filter(row => row.session === session.id))));
  $("runs").hidden = !sessions.length;
  const again = focused && [...$("sessions").querySelectorAll("button")].find(button => button.dataset.session === focused);
  if (again) again.focus();
  const shown = new Set(sessions.map(session => session.id));
  return rows.filter(row => !shown.has(row.session));
}
