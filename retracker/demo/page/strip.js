// The strip under the frame's slider: how sure the tracker is of the selected point, or of all of them.

const INSET = 8; // px: half of the slider's thumb, so that both agree on where a frame is

export class Strip {
  constructor(canvas, seek) {
    this.canvas = canvas;
    this.look = { points: [], selected: null, t: 0, numFrames: 1 };
    const go = (event) => event.buttons & 1 && seek(this.frameAt(event.offsetX));
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      go(event);
    });
    canvas.addEventListener("pointermove", go);
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  show(look) {
    Object.assign(this.look, look);
    this.draw();
  }

  frameAt(x) {
    const last = this.look.numFrames - 1;
    const share = (x - INSET) / Math.max(1, this.canvas.clientWidth - 2 * INSET);
    return Math.round(Math.min(1, Math.max(0, share)) * last);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const { numFrames, points, selected, t } = this.look;
    const step = (width - 2 * INSET) / Math.max(1, numFrames - 1);
    const place = { x: (frame) => INSET + frame * step, y: (sure) => height - 3 - sure * (height - 14), step, floor: height - 3 };
    context.fillStyle = "#10131a";
    context.beginPath();
    context.roundRect(0, 0, width, height, 6);
    context.fill();
    context.fillStyle = "#222731";
    context.fillRect(INSET, place.y(0.5), width - 2 * INSET, 1);
    const point = points.find((one) => one.id === selected);
    if (point) drawOne(context, point, numFrames, place);
    else drawAll(context, points, numFrames, place);
    context.fillStyle = "rgb(255 255 255 / .9)";
    context.fillRect(place.x(t) - 0.75, 0, 1.5, height);
  }
}

function drawOne(context, point, numFrames, place) {
  for (let frame = 0; frame < numFrames; frame += 1) {
    if (!point.known(frame)) continue;
    context.fillStyle = point.visible(frame) ? point.colour(0.55) : "rgb(157 166 181 / .22)";
    column(context, frame, point.sure[frame], place);
  }
  curve(context, numFrames, place, (frame) => (point.known(frame) ? point.sure[frame] : null), point.colour());
  for (const anchor of point.anchors) diamond(context, place.x(anchor.t), 7, point.colour());
}

// The mean confidence of all points that are known in a frame.
function drawAll(context, points, numFrames, place) {
  const sums = new Float32Array(numFrames);
  const counts = new Uint16Array(numFrames);
  for (const point of points) {
    for (let frame = 0; frame < numFrames; frame += 1) {
      if (!point.known(frame)) continue;
      sums[frame] += point.sure[frame];
      counts[frame] += 1;
    }
  }
  context.fillStyle = "rgb(92 200 242 / .28)";
  const mean = (frame) => (counts[frame] ? sums[frame] / counts[frame] : null);
  for (let frame = 0; frame < numFrames; frame += 1) if (counts[frame]) column(context, frame, mean(frame), place);
  curve(context, numFrames, place, mean, "rgb(92 200 242 / .9)");
}

// From half a frame before to half a frame after; edges on whole px, or seams would show.
function column(context, frame, sure, place) {
  const left = Math.round(Math.max(INSET, place.x(frame - 0.5)));
  const right = Math.max(left + 1, Math.round(Math.min(context.canvas.clientWidth - INSET, place.x(frame + 0.5))));
  context.fillRect(left, place.y(sure), right - left, place.floor - place.y(sure));
}

function curve(context, numFrames, place, value, colour) {
  context.beginPath();
  let before = null;
  for (let frame = 0; frame < numFrames; frame += 1) {
    const now = value(frame);
    if (now !== null) context[before === null ? "moveTo" : "lineTo"](place.x(frame), place.y(now));
    before = now;
  }
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.strokeStyle = colour;
  context.stroke();
}

function diamond(context, x, y, colour) {
  context.beginPath();
  context.moveTo(x, y - 5);
  context.lineTo(x + 5, y);
  context.lineTo(x, y + 5);
  context.lineTo(x - 5, y);
  context.closePath();
  context.fillStyle = colour;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "#fff";
  context.stroke();
}
