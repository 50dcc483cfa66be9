"use strict";
(() => {
const at = id => document.getElementById(id);
let kept = null;
try { kept = localStorage.getItem("isobuilder-lang"); } catch { /* no storage for files */ }
const language = () => at("lang-ko").checked ? "ko" : "en";
if (kept === "en" || kept === "ko") at("lang-" + kept).checked = true;
const counted = (number, noun) => number + " " + noun + (number === 1 ? "" : "s");
const say = (english, korean) => language() === "ko" ? korean : english;
const words = () => {
  for (const one of document.querySelectorAll("option[data-en]")) one.textContent = one.dataset[language()];
};
const today = new Date().toISOString().slice(0, 10);

/* the table */
const list = at("isos");
const filter = list && (() => {
  const rows = [...list.tBodies[0].rows].map(row => {
    const cells = [...row.cells].map(cell => cell.textContent.trim());
    return {row, cells, text: (cells.join(" ") + " " + row.cells[0].firstChild.getAttribute("href")).toLowerCase()};
  });
  const value = id => at(id) ? at(id).value : "";
  return () => {
    const asked = value("q").toLowerCase().split(/\s+/), minor = value("minor"), arch = value("arch");
    const flavour = value("flavour"), life = value("life"), signed = value("signed"), server = value("server");
    let count = 0;
    for (const {row, cells, text} of rows) {
      const ended = cells[3] < today && cells[3] !== "?";
      const shows = asked.every(word => text.includes(word)) && (!minor || cells[0].startsWith(minor + "."))
        && (!arch || cells[1] === arch) && (!flavour || cells[2] === flavour)
        && (!life || (life === "over") === ended) && (!signed || (signed === "yes") === (cells[6] === "✓"))
        && (!server || cells[7].includes(server + ":"));
      row.hidden = !shows;
      count += shows;
    }
    at("count").textContent = say(count + " shown", count + "개 표시");
    at("none").hidden = count > 0;
  };
})();

/* two ISOs side by side */
const known = new Map(), waiting = new Map();
window.isobuilder = data => { known.set(data.name, data); waiting.get(data.name)?.(data); };
const load = name => known.has(name) ? Promise.resolve(known.get(name)) : new Promise((done, failed) => {
  waiting.set(name, done);
  const script = document.createElement("script");
  script.src = "isos/" + encodeURIComponent(name) + ".js";
  script.onerror = failed;
  document.head.append(script);
});
const short = text => text.startsWith("sha256:") ? text.slice(0, 19) : text;
const own = (side, name) => Object.hasOwn(side, name) ? side[name] : [];
const differences = (left, right) => {
  const found = [];
  for (const part of ["facts", "images", "files"]) {
    const names = new Set([...Object.keys(left[part]), ...Object.keys(right[part])]);
    for (const name of [...names].sort()) {
      const [old, then, before] = own(left[part], name), [now, since, after] = own(right[part], name);
      if (old === now) continue;
      const told = then && since && then !== since ? [then, since] : [old && short(old), now && short(now)];
      const sizes = part === "files" && (old === undefined || before != null) && (now === undefined || after != null);
      found.push([name, ...told, sizes ? (after || 0) - (before || 0) : null]);
    }
  }
  return found;
};
const left = at("left"), right = at("right"), table = at("changes");
const compare = left && (async () => {
  at("count").textContent = "";
  let sides;
  try { sides = await Promise.all([load(left.value), load(right.value)]); }
  catch { at("count").textContent = say("The data of one of them is not there.", "한쪽의 데이터가 없습니다."); return; }
  const found = differences(...sides), body = table.tBodies[0];
  body.replaceChildren(...found.map(([name, old, now, growth]) => {
    const row = document.createElement("tr");
    for (const text of [name, old ?? say("not there", "없음"), now ?? say("gone", "제거됨"), growth === null ? "" : growth.toLocaleString("en", {signDisplay: "exceptZero"})])
      row.insertCell().textContent = text;
    row.cells[3].className = "n";
    return row;
  }));
  table.hidden = !found.length;
  at("count").textContent = say(counted(found.length, "difference"), "차이 " + found.length + "개");
});
if (left) {
  right.append(...[...left.options].map(one => one.cloneNode(true)));
  if (left.options.length > 1) left.selectedIndex = 1;
  left.addEventListener("change", compare);
  right.addEventListener("change", compare);
}

/* days */
const days = () => {
  for (const cell of document.querySelectorAll("td[data-end]")) {
    if (!cell.dataset.end) { cell.textContent = "?"; continue; }
    const number = Math.round((Date.parse(cell.dataset.end) - Date.parse(today)) / 864e5);
    cell.textContent = number < 0 ? say("ended", "종료") : say(counted(number, "day"), number + "일");
    cell.className = "left " + (number < 0 ? "bad" : number < 60 ? "warn" : "good");
  }
};

const refresh = () => { words(); if (filter) filter(); if (compare) compare(); days(); };
for (const one of document.querySelectorAll("input[name=lang]")) one.addEventListener("change", () => {
  try { localStorage.setItem("isobuilder-lang", language()); } catch { /* as above */ }
  refresh();
});
for (const form of document.forms) form.addEventListener("submit", event => event.preventDefault());
if (list) for (const event of ["input", "change"]) document.querySelector(".filters").addEventListener(event, filter);
refresh();
})();
