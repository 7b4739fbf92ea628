// How points and their trails are drawn: a dark rim for light footage, a light one for dark.

const INK = "rgb(8 10 14 / .72)";
const PAPER = "rgb(255 255 255 / .95)";
const MANY = 120; // points, from where on marks are small and trails plain

export function drawPoints(context, look, { place, inside, hover, dragged, room }) {
  const { points, t, selected, trail, hidden } = look;
  const many = points.length > MANY;
  const radius = many ? 3.4 : 5.2;
  const at = (point, frame) => place(point.x[frame], point.y[frame]);
  const known = points.filter((point) => point.known(t) && point.id !== dragged?.id);
  for (const point of known) drawTrail(context, point, t, trail, at, many);
  const shown = known.filter((point) => inside({ x: point.x[t], y: point.y[t] })); // beyond, it means little
  for (const point of shown) {
    if (!point.visible(t) && (hidden || point.id === selected)) ring(context, at(point, t), radius, point);
  }
  for (const point of shown) if (point.visible(t)) dot(context, at(point, t), radius, point);
  for (const point of shown) if (point.id === selected) mark(context, at(point, t), radius, point, { t, room });
  const near = shown.find((point) => point.id === hover && point.id !== selected);
  if (near) label(context, at(near, t), radius, near, { room });
  const held = points.find((point) => point.id === dragged?.id);
  if (held) drag(context, at(held, t), place(dragged.x, dragged.y), radius, held);
}

function drawTrail(context, point, t, length, at, plain) {
  context.lineCap = "round";
  for (let frame = Math.max(1, t - length + 1); frame <= t; frame += 1) {
    if (!point.visible(frame) || !point.visible(frame - 1) || point.anchored(frame)) continue;
    const fade = 1 - (t - frame) / (length + 1);
    const [from, to] = [at(point, frame - 1), at(point, frame)];
    if (!plain) segment(context, from, to, 4.2, `rgb(8 10 14 / ${0.4 * fade})`);
    segment(context, from, to, plain ? 1.6 : 2.2, point.colour(0.9 * fade));
  }
}

function segment(context, from, to, width, colour) {
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.lineTo(to.x, to.y);
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.stroke();
}

function disc(context, { x, y }, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
}

function dot(context, at, radius, point) {
  disc(context, at, radius + 2.2);
  context.fillStyle = INK;
  context.fill();
  disc(context, at, radius + 1.1);
  context.fillStyle = PAPER;
  context.fill();
  disc(context, at, radius);
  context.fillStyle = point.colour();
  context.fill();
}

function ring(context, at, radius, point) {
  disc(context, at, radius + 0.4);
  context.lineWidth = 3.4;
  context.strokeStyle = "rgb(8 10 14 / .45)";
  context.stroke();
  context.lineWidth = 1.6;
  context.strokeStyle = point.colour(0.9);
  context.stroke();
}

// The selected point: a circle, its number, and a diamond where somebody has put it.
function mark(context, at, radius, point, { t, room }) {
  for (const [width, colour] of [[4, INK], [1.8, PAPER]]) {
    disc(context, at, radius + 6);
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }
  const note = point.anchored(t) ? (point.born === t ? " born" : " corrected") : "";
  label(context, at, radius + 5, point, { room, note });
}

function label(context, at, radius, point, { room, note = "" }) {
  const words = `#${point.id}${note}`;
  context.font = "600 12px system-ui, 'DejaVu Sans', sans-serif";
  const width = context.measureText(words).width + 10;
  const left = at.x + radius + 6 + width > room ? at.x - radius - 6 - width : at.x + radius + 6;
  const top = Math.max(2, at.y - radius - 14);
  context.beginPath();
  context.roundRect(left, top, width, 19, 5);
  context.fillStyle = "rgb(14 16 20 / .85)";
  context.fill();
  context.fillStyle = point.colour();
  context.textBaseline = "middle";
  context.fillText(words, left + 5, top + 10);
}

function drag(context, from, to, radius, point) {
  context.setLineDash([4, 4]);
  segment(context, from, to, 1.6, PAPER);
  context.setLineDash([]);
  ring(context, from, radius, point);
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    const near = { x: to.x + dx * 4, y: to.y + dy * 4 };
    const far = { x: to.x + dx * 15, y: to.y + dy * 15 };
    segment(context, near, far, 3.6, INK);
    segment(context, near, far, 1.5, PAPER);
  }
  disc(context, to, 2.2);
  context.fillStyle = point.colour();
  context.fill();
}
