// The points as the page knows them. Positions are px of the video; its upper-left corner is (0, 0).

const KNOWN = 1;
const VISIBLE = 2;

export class Point {
  constructor(told, numFrames) {
    this.id = told.id;
    this.hue = told.hue;
    this.anchors = told.anchors.map(([t, x, y]) => ({ t, x, y }));
    this.x = new Float32Array(numFrames);
    this.y = new Float32Array(numFrames);
    this.sure = new Float32Array(numFrames);
    this.flags = new Uint8Array(numFrames);
    this.sum = 0;
    this.count = 0;
    told.t.forEach((t, i) => this.put(t, told.xy[i], told.visible[i], told.confidence[i]));
  }

  put(t, [x, y], visible, confidence) {
    if (this.flags[t] & KNOWN) {
      this.sum -= this.sure[t];
      this.count -= 1;
    }
    this.x[t] = x;
    this.y[t] = y;
    this.sure[t] = confidence;
    this.flags[t] = KNOWN | (visible ? VISIBLE : 0);
    this.sum += confidence;
    this.count += 1;
  }

  known(t) {
    return (this.flags[t] & KNOWN) !== 0;
  }

  visible(t) {
    return (this.flags[t] & VISIBLE) !== 0;
  }

  get born() {
    return this.anchors[0].t;
  }

  get mean() {
    return this.count ? this.sum / this.count : 0;
  }

  anchored(t) {
    return this.anchors.some((anchor) => anchor.t === t);
  }

  open(backward) {
    const start = backward ? 0 : this.born;
    for (let t = start; t < this.flags.length; t += 1) if (!(this.flags[t] & KNOWN)) return true;
    return false;
  }

  colour(alpha = 1) {
    return `oklch(0.77 0.17 ${this.hue} / ${alpha})`; // all hues equally light, unlike hsl
  }
}

export class Points {
  constructor(numFrames) {
    this.numFrames = numFrames;
    this.map = new Map();
  }

  take({ order, changed }) {
    const renewed = new Map(changed.map((told) => [told.id, new Point(told, this.numFrames)]));
    this.map = new Map(order.map((id) => [id, renewed.get(id) ?? this.map.get(id)]));
    return [...renewed.keys()];
  }

  record(found) {
    found.ids.forEach((id, i) => {
      this.map.get(id)?.put(found.t, found.xy[i], found.visible[i], found.confidence[i]);
    });
  }

  get list() {
    return [...this.map.values()];
  }

  get(id) {
    return this.map.get(id);
  }

  numOpen(backward) {
    return this.list.filter((point) => point.open(backward)).length;
  }
}
