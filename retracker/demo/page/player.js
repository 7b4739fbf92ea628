// Which frame is asked for, and playing them one after another.

import { Frames } from "/page/frames.js";

const AHEAD = 8; // frames fetched before they are shown in a film that plays
const LATE_MS = 100; // by so much a film may lag before it gives up catching up

export class Player {
  // `hand` is told: wanted(t) at once, show(picture, t) when its picture is there, state(playing), failed(error)
  constructor(hand) {
    this.hand = hand;
    this.frames = new Frames();
    this.open(0, 1);
  }

  open(numFrames, fps) {
    this.frames.clear();
    Object.assign(this, { numFrames, fps, wanted: 0, playing: false });
  }

  async seek(t) {
    if (!this.numFrames) return;
    this.wanted = Math.min(this.numFrames - 1, Math.max(0, Math.round(t) || 0));
    this.hand.wanted(this.wanted);
    const asked = this.wanted;
    try {
      const picture = await this.frames.get(asked);
      if (asked === this.wanted) this.hand.show(picture, asked);
    } catch (error) {
      this.pause();
      this.hand.failed(error);
    }
  }

  pause() {
    this.playing = false;
    this.hand.state(false);
  }

  async play() {
    this.playing = true;
    this.hand.state(true);
    if (this.wanted >= this.numFrames - 1) await this.seek(0);
    let due = performance.now();
    while (this.playing && this.wanted < this.numFrames - 1) {
      const until = Math.min(this.numFrames - 1, this.wanted + AHEAD);
      for (let t = this.wanted + 1; t <= until; t += 1) this.frames.get(t).catch(() => {});
      due = Math.max(due + 1000 / this.fps, performance.now() - LATE_MS);
      await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
      if (this.playing) await this.seek(this.wanted + 1);
    }
    this.pause();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }
}
