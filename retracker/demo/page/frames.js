// The pictures of frames: asked for once, kept while they are likely to be wanted again.

import { framePath } from "/page/api.js";

const KEPT = 160;

export class Frames {
  constructor() {
    this.pictures = new Map(); // t -> promise of an image, the most recently used last
  }

  clear() {
    this.pictures.clear();
  }

  get(t) {
    const known = this.pictures.get(t);
    const picture = known ?? load(framePath(t));
    this.pictures.delete(t);
    this.pictures.set(t, picture);
    if (!known) picture.catch(() => this.pictures.delete(t));
    if (this.pictures.size > KEPT) this.pictures.delete(this.pictures.keys().next().value);
    return picture;
  }
}

async function load(path) {
  const image = new Image();
  image.src = path;
  try {
    await image.decode();
  } catch {
    throw new Error("This frame cannot be shown");
  }
  return image;
}
