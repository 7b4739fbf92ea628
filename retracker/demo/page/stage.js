// The frame on its canvas: zoom and pan, and what a hand does to the points.

import { drawPoints } from "/page/marks.js";

const MARGIN = 12; // px around the frame that fits
const REACH = 12; // px: a click this close to a point means that point
const TREMBLE = 4; // px: a hand that moves less has clicked
const MOST_ZOOM = 40;
const SHOW_PIXELS = 5; // px of the screen per px of the picture, from where on its pixels stay sharp

export class Stage {
  // `hand` is told: add(xy), correct(id, xy), select(id or null), look(xy or null), zoomed(zoom)
  constructor(canvas, hand) {
    this.canvas = canvas;
    this.hand = hand;
    this.look = { points: [], t: 0, selected: null, trail: 20, hidden: true, locked: false };
    this.size = { width: 1, height: 1 };
    this.room = { width: canvas.clientWidth, height: canvas.clientHeight }; // px of the screen
    this.picture = null;
    this.press = null;
    this.hover = null;
    this.fit();
    new ResizeObserver(() => this.measure()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => this.release());
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  open(width, height) {
    this.size = { width, height };
    this.picture = null;
    this.fit();
  }

  show(picture, look) {
    this.picture = picture ?? this.picture;
    Object.assign(this.look, look);
    this.redraw();
  }

  fit() {
    this.zoom = 1;
    this.centre = { x: this.size.width / 2, y: this.size.height / 2 };
    this.hand.zoomed(1);
    this.redraw();
  }

  // Zoom so that what lies under `at` (px of the canvas; its middle if none is given) stays there.
  zoomBy(factor, at = { x: this.room.width / 2, y: this.room.height / 2 }) {
    const before = this.toVideo(at);
    this.zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    const after = this.toVideo(at);
    this.panBy(before.x - after.x, before.y - after.y);
    this.hand.zoomed(this.zoom);
  }

  panBy(x, y) {
    this.centre.x = this.kept(this.centre.x + x, this.size.width);
    this.centre.y = this.kept(this.centre.y + y, this.size.height);
    this.redraw();
  }

  // What fits stands in the middle; else some part of it stays there.
  kept(centre, length) {
    return this.zoom === 1 ? length / 2 : Math.min(length, Math.max(0, centre));
  }

  get scale() {
    const { width, height } = this.room;
    const fitting = Math.min((width - 2 * MARGIN) / this.size.width, (height - 2 * MARGIN) / this.size.height);
    return Math.max(1e-3, fitting) * this.zoom;
  }

  toVideo({ x, y }) {
    const { width, height } = this.room;
    return { x: (x - width / 2) / this.scale + this.centre.x, y: (y - height / 2) / this.scale + this.centre.y };
  }

  toCanvas({ x, y }) {
    const { width, height } = this.room;
    return { x: (x - this.centre.x) * this.scale + width / 2, y: (y - this.centre.y) * this.scale + height / 2 };
  }

  inside({ x, y }) {
    return x >= 0 && y >= 0 && x <= this.size.width && y <= this.size.height;
  }

  // The nearest point that is drawn within reach; the selected one wins over others.
  pointAt(at) {
    const { points, t, selected, hidden } = this.look;
    let best = null;
    let least = REACH;
    for (const point of points) {
      if (!point.known(t) || !(hidden || point.visible(t) || point.id === selected)) continue;
      const place = this.toCanvas({ x: point.x[t], y: point.y[t] });
      const distance = Math.hypot(place.x - at.x, place.y - at.y) - (point.id === selected ? 3 : 0);
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  }

  down(event) {
    if (!this.picture) return;
    document.activeElement?.blur(); // keys now mean the video
    this.canvas.setPointerCapture(event.pointerId);
    const at = { x: event.offsetX, y: event.offsetY };
    const point = event.button === 0 && !event.shiftKey ? this.pointAt(at) : null;
    this.press = { start: at, at, point, moved: false, button: event.button, shift: event.shiftKey, t: this.look.t };
    if (point) this.hand.select(point.id);
  }

  move(event) {
    const at = { x: event.offsetX, y: event.offsetY };
    const press = this.press;
    if (!press) {
      const point = this.pointAt(at);
      const here = this.toVideo(at);
      this.hover = point?.id ?? null;
      this.canvas.style.cursor = point ? (this.look.locked ? "pointer" : "move") : "crosshair";
      this.hand.look(this.inside(here) ? here : null);
      this.redraw();
      return;
    }
    press.moved ||= Math.hypot(at.x - press.start.x, at.y - press.start.y) > TREMBLE;
    if (press.moved && !press.point) {
      this.canvas.style.cursor = "grabbing";
      this.panBy((press.at.x - at.x) / this.scale, (press.at.y - at.y) / this.scale);
    }
    press.at = at;
    if (this.dragged) this.hand.look(this.dragged);
    this.redraw();
  }

  // Where the point in hand is now, px of the video; null if none is being moved.
  get dragged() {
    const press = this.press;
    if (!press?.point || !press.moved || this.look.locked) return null;
    const { point, t } = press;
    const x = point.x[t] + (press.at.x - press.start.x) / this.scale;
    const y = point.y[t] + (press.at.y - press.start.y) / this.scale;
    return { x: Math.min(this.size.width, Math.max(0, x)), y: Math.min(this.size.height, Math.max(0, y)) };
  }

  up(event) {
    const press = this.press;
    if (!press) return;
    const dragged = this.dragged;
    this.release();
    if (dragged) {
      this.hand.correct(press.point.id, dragged, press.t);
    } else if (!press.moved && press.button === 0 && !press.point) {
      const here = this.toVideo({ x: event.offsetX, y: event.offsetY });
      if (!this.inside(here)) this.hand.select(null);
      else if (press.shift && this.look.selected !== null) this.hand.correct(this.look.selected, here, press.t);
      else this.hand.add(here, press.t);
    }
  }

  release() {
    this.press = null;
    this.canvas.style.cursor = "crosshair";
    this.redraw();
  }

  leave() {
    this.hover = null;
    this.hand.look(null);
    this.redraw();
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoomBy(Math.exp(-event.deltaY * lines * 0.0016), { x: event.offsetX, y: event.offsetY });
  }

  redraw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
    });
  }

  draw() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(this.room.width * ratio), Math.round(this.room.height * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.room.width, this.room.height);
    if (!this.picture) return;
    const corner = this.toCanvas({ x: 0, y: 0 });
    const [w, h] = [this.size.width * this.scale, this.size.height * this.scale];
    context.imageSmoothingEnabled = (w * ratio) / this.picture.naturalWidth < SHOW_PIXELS;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, corner.x, corner.y, w, h);
    context.save();
    context.beginPath();
    context.rect(corner.x - MARGIN, corner.y - MARGIN, w + 2 * MARGIN, h + 2 * MARGIN);
    context.clip();
    drawPoints(context, this.look, {
      place: (x, y) => this.toCanvas({ x, y }),
      inside: (xy) => this.inside(xy),
      hover: this.hover,
      dragged: this.dragged && { id: this.press.point.id, ...this.dragged },
      room: this.room.width,
    });
    context.restore();
    canvas.dataset.frame = this.look.t;
  }

  measure() {
    this.room = { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
    this.panBy(0, 0); // stay inside
  }
}
