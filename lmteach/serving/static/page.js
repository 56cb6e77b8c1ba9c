"use strict";

const SHOWN = 12; // labels asked for
const FIRST = { tagger: 5, classifier: 1 }; // taken where the student has no threshold
const byId = (id) => document.getElementById(id);
let health = null;

function headers() {
  const found = { "Content-Type": "application/json" };
  const token = byId("token").value;
  if (token) found.Authorization = `Bearer ${token}`;
  return found;
}

async function introduce() {
  health = await (await fetch("/health")).json();
  byId("name").textContent = health.name;
  document.title = health.name;
  const classes = health.kind === "classifier";
  byId("about").textContent = `A ${health.kind} with ${health.n_labels.toLocaleString("en")} ${classes ? "classes" : "labels"}`;
  byId("tags-title").textContent = classes ? "Class" : "Tags";
  byId("nearest-title").textContent = classes ? "Other classes" : "Nearest labels";
  const select = byId("threshold");
  const words = { f1: "best F1", precision: "precision first", recall: "recall first" };
  for (const [name, value] of Object.entries(health.thresholds)) {
    select.add(new Option(`${words[name] || name} (p ≥ ${value.toFixed(2)})`, name));
  }
  byId("threshold-field").hidden = select.options.length === 0;
}

function cell(row, kind, text) {
  const made = row.insertCell();
  made.className = kind;
  made.textContent = text;
  return made;
}

function fill(table, tags, most) {
  table.replaceChildren();
  if (!tags.length) return;
  const likely = tags[0].probability !== null;
  const head = table.createTHead().insertRow();
  for (const [kind, text] of [["name", "label"], ["bar", ""], ["number", likely ? "probability" : ""], ["number", "score"]]) {
    const made = document.createElement("th");
    made.className = kind;
    made.textContent = text;
    head.append(made);
  }
  const body = table.createTBody();
  for (const tag of tags) {
    const row = body.insertRow();
    cell(row, "name", tag.label);
    const bar = document.createElement("span");
    bar.style.width = `${Math.max(0, Math.min(1, likely ? tag.probability : tag.score / most)) * 100}%`;
    cell(row, "bar", "").append(bar);
    cell(row, "number", likely ? tag.probability.toFixed(2) : "");
    cell(row, "number", tag.score.toFixed(3));
  }
}

async function ask(body) {
  const response = await fetch("/predict", { method: "POST", headers: headers(), body: JSON.stringify(body) });
  const answer = await response.json();
  if (response.ok) return answer.predictions[0].tags;
  if (response.status === 401) {
    byId("token-field").hidden = false;
    byId("token").focus();
  }
  throw new Error(typeof answer.detail === "string" ? answer.detail : answer.detail.map((d) => d.msg).join(" "));
}

function show(all, kept, milliseconds) {
  const most = Math.max(...all.map((tag) => tag.score), 1e-9);
  fill(byId("tags"), all.slice(0, kept), most);
  fill(byId("nearest"), all.slice(kept), most);
  byId("none").hidden = kept > 0;
  byId("tags-sheet").hidden = kept === 0;
  byId("nearest-sheet").hidden = byId("nearest-title").hidden = all.length === kept;
  byId("took").textContent = `${Math.round(milliseconds)} ms`;
  byId("result").hidden = false;
}

byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("problem").hidden = true;
  byId("go").disabled = true;
  const texts = [byId("text").value];
  const threshold = byId("threshold").value;
  const start = performance.now();
  try {
    const all = await ask({ texts, top_k: SHOWN });
    const milliseconds = performance.now() - start;
    const kept = threshold ? (await ask({ texts, top_k: SHOWN, threshold })).length : Math.min(FIRST[health.kind], all.length);
    show(all, kept, milliseconds);
  } catch (error) {
    byId("result").hidden = true;
    byId("problem").textContent = error.message;
    byId("problem").hidden = false;
  } finally {
    byId("go").disabled = false;
  }
});

byId("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
});

introduce();
