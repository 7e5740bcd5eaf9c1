"use strict";
// Everything that a server sends is put into the page as text, never as markup.
const $ = (id) => document.getElementById(id);
const WAIT_MS = 150;
let cards = [];
let asked = 0;      // number of the latest search: an older answer that comes late is dropped
let answer = null;  // what is shown: text, model, labels
let right = new Map();  // key -> name of the labels that are right
let timer = null;
let listing = 0;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

async function ask(path, body, token) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (token) headers.Authorization = "Bearer " + token;
  const answered = await fetch(path, {
    method: body === undefined ? "GET" : "POST", headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const told = await answered.json().catch(() => ({ detail: "the server sent no answer" }));
  if (!answered.ok) {
    const error = new Error(told.detail);
    error.status = answered.status;
    throw error;
  }
  return told;
}

const token = () => $("token").value.trim();
const card = () => cards.find((each) => each.name === $("model").value) || cards[0];
const percent = (score) => (100 * score).toFixed(score < 0.0995 ? 1 : 0) + " %";

function say(where, text, kind = "") {
  where.textContent = text;
  where.className = kind;
  if (where === $("taught") && text) where.scrollIntoView({ block: "nearest" });
}

async function search() {
  const text = $("text").value;
  const number = ++asked;
  if (!text.trim() || !cards.length) {
    show(null);
    return say($("status"), "");
  }
  const model = card();
  try {
    const found = await ask("v1/search", {
      texts: [text], model: model.name, k: Math.min(Math.max(Number($("k").value) || 10, 1), 100),
      score: model.is_calibrated ? "probability" : "ranking",
    }, token());
    if (number !== asked) return;
    const labels = found.answers[0];
    show({ text, model: found.model, labels });
    const what = model.is_calibrated ? "probabilities" : "scores";
    say($("status"), labels.length ? `${labels.length} labels with their ${what}`
      : "No label: the model knows no word of this text.");
  } catch (error) {
    if (number === asked) say($("status"), error.message, "bad");
  }
}

function show(found) {
  const sameText = found && answer && found.text === answer.text && found.model === answer.model;
  answer = found;
  if (!sameText) right = new Map();
  $("results").replaceChildren(...(found ? found.labels.map(row) : []));
  $("correct").hidden = !found || !card().can_learn;
  if (!sameText) say($("taught"), "");
  choose();
}

function row(label, place) {
  const id = "label-" + place;
  const line = element("div", { className: "found" });
  if (card().can_learn) {
    const box = element("input", { type: "checkbox", id, checked: right.has(label.key) });
    box.addEventListener("change", () => {
      if (box.checked) right.set(label.key, label.label); else right.delete(label.key);
      choose();
    });
    line.append(box);
  } else line.append(element("span"));
  const name = element("label", { className: "name", htmlFor: id }, label.label);
  if (label.key !== label.label) name.append(" ", element("span", { className: "key" }, label.key));
  line.append(name, element("span", { className: "number" }, percent(label.score)),
    element("meter", { min: 0, max: 1, value: label.score, ariaLabel: "score of " + label.label }));
  const why = element("details", { className: "why" }, element("summary", { ariaLabel: "Why " + label.label + "?" }, "Why?"));
  why.addEventListener("toggle", () => { if (why.open && why.children.length < 2) explain(label, why); });
  return element("li", {}, line, why);
}

async function explain(label, where) {
  const body = element("div", {}, "…");
  where.append(body);
  try {
    const found = await ask("v1/search", {
      texts: [answer.text], model: answer.model, k: 1, allow: [label.key], explain: true,
    }, token());
    const told = found.answers[0][0];
    body.replaceChildren(...(told ? reasons(told.why) : ["The model does not answer this label now."]));
  } catch (error) {
    body.replaceChildren(element("span", { className: "bad" }, error.message));
  }
}

const SHOWN = 6;
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const table = (rows) => element("table", {}, ...rows.map((cells) =>
  element("tr", {}, ...cells.map((cell) => element("td", {}, cell)))));

function reasons(why) {
  const sum = (parts) => parts.reduce((total, each) => total + each.part, 0);
  const rest = why.evidence.slice(SHOWN);
  const rows = why.evidence.slice(0, SHOWN).map((each) => [each.name.replaceAll("_", " "), signed(each.part)]);
  if (rest.length) rows.push([`the rest (${rest.length} kinds)`, signed(sum(rest))]);
  rows.push(["together: " + why.form + " of the score", signed(why.constant + sum(why.evidence))]);
  const parts = [element("h3", {}, "Evidence, and its part of the score"),
    table([["constant", signed(why.constant)], ...rows])];
  if (why.ranker && why.ranker.words.length) {
    parts.push(element("h3", {}, "Words"),
      table(why.ranker.words.slice(0, SHOWN).map((each) => [each.term, signed(each.part)])));
  }
  for (const index of why.index) {
    parts.push(element("h3", {}, "Clusters that lead here"),
      table(index.paths.slice(0, 3).map((each) =>
        ["cluster " + each.cluster, each.score.toFixed(2) + " × " + each.weight.toFixed(2)])));
  }
  if (why.records) {
    const near = [...why.records.by_words, ...why.records.by_vectors].filter((each) => each.has_label);
    parts.push(element("h3", {}, "Nearest training points"),
      element("p", {}, `Of ${why.records.n_asked} nearest ones ${why.records.with_label_by_words} by words and `
        + `${why.records.with_label_by_vectors} by vectors have this label.`));
    if (near.length) parts.push(table(near.slice(0, 3).map((each) =>
      [each.labels.join(", "), each.similarity.toFixed(2)])));
  }
  const counts = [];
  if (why.n_points !== null) counts.push(why.n_points.toLocaleString("en") + " training points");
  if (why.probability !== null) counts.push("calibrated probability " + percent(why.probability));
  if (counts.length) parts.push(element("p", { className: "hint" }, counts.join(", ")));
  return parts;
}

function choose() {
  $("chosen").replaceChildren(...[...right].map(([key, name]) => {
    const gone = element("button", { type: "button", ariaLabel: "Remove " + name }, name + " ×");
    gone.addEventListener("click", () => {
      right.delete(key);
      if (answer) $("results").replaceChildren(...answer.labels.map(row));
      choose();
      $("add").focus();
    });
    return element("li", {}, gone);
  }));
  $("teach").disabled = right.size === 0;
}

async function suggest() {
  const number = ++listing;
  const wanted = $("add").value;
  if (!wanted) return;
  try {
    const found = await ask(`v1/labels?limit=20&model=${encodeURIComponent(card().name)}`
      + `&query=${encodeURIComponent(wanted)}`, undefined, token());
    if (number !== listing) return;
    $("known").replaceChildren(...found.labels.map((each) =>
      element("option", { value: each.name, label: each.name === each.key ? "" : each.key })));
    return found.labels;
  } catch (error) {
    say($("taught"), error.message, "bad");
  }
}

async function add() {
  const wanted = $("add").value.trim();
  if (!wanted) return;
  const labels = (await suggest()) || [];
  const exact = labels.find((each) => each.key === wanted || each.name === wanted)
    || labels.find((each) => each.name.toLowerCase() === wanted.toLowerCase());
  if (!exact) return say($("taught"), `No label is called “${wanted}”.`, "bad");
  right.set(exact.key, exact.name);
  $("add").value = "";
  say($("taught"), "");
  $("results").replaceChildren(...answer.labels.map(row));
  choose();
}

async function teach(event) {
  event.preventDefault();
  if (!token()) {
    say($("taught"), "Teaching changes the model for everybody, so it needs the server's token.", "bad");
    return $("token").focus();
  }
  $("teach").disabled = true;
  say($("taught"), "Learning …");
  try {
    const labels = [...right.keys()];
    await ask("v1/learn", { text: answer.text, labels, model: answer.model }, token());
    say($("taught"), "Learned. The labels above are those of the new version.", "good");
    await Promise.all([search(), about()]);
  } catch (error) {
    say($("taught"), error.message, "bad");
    if (error.status === 401) $("token").focus();
  }
  $("teach").disabled = right.size === 0;
}

async function about() {
  try {
    cards = (await ask("v1/models", undefined, token())).models;
  } catch (error) {
    if (error.status === 401) $("correct").hidden = false;  // it has the field for the token
    return say($("status"), error.message, "bad");
  }
  const chosen = $("model").value;
  $("model").replaceChildren(...cards.map((each) => element("option", { value: each.name }, each.name)));
  if (cards.some((each) => each.name === chosen)) $("model").value = chosen;
  $("models").hidden = cards.length < 2;
  describe();
}

function describe() {
  const told = card();
  if (!told) return;
  const rows = [
    ["Name", told.name], ["Version", told.version], ["Loaded", told.loaded],
    ["Labels", told.n_labels.toLocaleString("en")],
    ["Training points", told.n_training_points.toLocaleString("en")],
    ["Encoder", `${told.encoder}, ${told.dim} dimensions`],
    ["Compiled", told.is_compiled ? "yes, so it cannot learn here" : "no"],
    ["Probabilities", told.is_calibrated ? "calibrated" : "none"],
  ];
  const figures = told.validation && (told.validation.with_ranker || told.validation);
  for (const [name, value] of Object.entries(figures || {})) {
    if (typeof value === "number") rows.push([name + " (held-out points)", String(Math.round(10 * value) / 10)]);
  }
  $("card").replaceChildren(...rows.flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, value)]));
}

$("text").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, WAIT_MS); });
$("k").addEventListener("change", search);
$("model").addEventListener("change", () => { describe(); search(); });
$("add").addEventListener("input", suggest);
$("add").addEventListener("keydown", (event) => {
  if (event.key === "Enter") { event.preventDefault(); add(); }
});
$("add-button").addEventListener("click", add);
$("token").addEventListener("change", () => { if (!cards.length) about().then(search); });
$("correct").addEventListener("submit", teach);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.matches("input, textarea, select")) {
    event.preventDefault();
    $("text").focus();
  }
});
about().then(search);
