// The table of points: one row each, whose cells follow the frame that is shown.

const LOW = 0.5; // confidence below which a bar turns orange

export class Table {
  // `hand` is told: select(id), remove(id)
  constructor(body, hand) {
    this.body = body;
    this.hand = hand;
    this.rows = new Map(); // id -> the row's elements
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (!row) return;
      const id = Number(row.dataset.id);
      if (event.target.closest(".remove")) hand.remove(id);
      else hand.select(id);
    });
  }

  // Make rows for the points there are, in their order.
  list(points) {
    const rows = new Map(points.map((point) => [point.id, this.rows.get(point.id) ?? makeRow(point)]));
    this.rows = rows;
    this.body.replaceChildren(...points.map((point) => rows.get(point.id).row));
  }

  show(points, t, selected, locked) {
    for (const point of points) {
      const cells = this.rows.get(point.id);
      if (!cells) continue;
      const known = point.known(t);
      const state = known ? (point.visible(t) ? "visible" : "concealed") : "unknown";
      const words = { visible: "visible", concealed: "hidden", unknown: "not tracked" }[state];
      set(cells.now, "className", `now ${state}`);
      set(cells.now, "title", words);
      cells.now.setAttribute("aria-label", words);
      set(cells.born, "textContent", String(point.born));
      const sure = known ? point.sure[t] : 0;
      cells.fill.style.width = `${Math.round(100 * sure)}%`;
      set(cells.fill, "className", sure < LOW ? "fill low" : "fill");
      set(cells.value, "textContent", known ? sure.toFixed(2) : "–");
      set(cells.mean, "textContent", point.count > 1 ? point.mean.toFixed(2) : "–");
      set(cells.row, "className", point.id === selected ? "selected" : "");
      cells.choose.setAttribute("aria-pressed", String(point.id === selected));
      set(cells.remove, "disabled", locked);
    }
  }

  reveal(id) {
    this.rows.get(id)?.row.scrollIntoView({ block: "nearest" });
  }
}

function set(element, property, value) {
  if (element[property] !== value) element[property] = value;
}

function makeRow(point) {
  const row = document.createElement("tr");
  row.dataset.id = point.id;
  const choose = make("button", "name", make("span", "swatch"), `#${point.id}`);
  choose.type = "button";
  choose.firstChild.style.background = point.colour();
  const [born, now] = [make("span", ""), make("span", "now unknown")];
  now.setAttribute("role", "img");
  const [fill, value, mean] = [make("div", "fill"), make("span", ""), make("span", "")];
  const remove = make("button", "remove", "✕");
  remove.type = "button";
  remove.setAttribute("aria-label", `Remove point ${point.id}`);
  const sure = make("div", "sure", make("div", "track", fill), value);
  for (const cell of [choose, born, now, sure, mean, remove]) row.append(make("td", "", cell));
  return { row, choose, born, now, fill, value, mean, remove };
}

function make(kind, className, ...children) {
  const element = document.createElement(kind);
  element.className = className;
  element.append(...children);
  return element;
}
