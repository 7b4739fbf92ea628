// The server's tracking, watched: asked again and again for what was found since.

import { own } from "/page/api.js";

const PAUSE_MS = 120;

export class Tracking {
  // `hand` is told: found(answers) as they come, ended(progress) once
  constructor(hand) {
    this.hand = hand;
    this.watched = 0; // which job is watched: an older one's answers are no longer wanted
    this.active = false;
    this.bar = document.getElementById("bar");
    this.pace = document.getElementById("pace");
  }

  stop() {
    this.watched += 1;
    this.active = false;
    this.show({ condition: "done", done: 0, total: 0 });
  }

  // From the answer to the request that started a job, or the one that opened a session.
  async watch(progress) {
    this.watched += 1;
    const mine = this.watched;
    const running = (one) => one.condition === "running" || one.condition === "waiting" || one.found.length > 0;
    this.active = progress.condition === "running" || progress.condition === "waiting";
    if (!this.active) return;
    this.show(progress);
    try {
      while (running(progress)) {
        if (progress.found.length) this.hand.found(progress.found);
        else await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        if (mine !== this.watched) return;
        progress = await own("GET", `/progress?since=${progress.next}`);
        if (mine !== this.watched) return;
        this.show(progress);
      }
    } catch (error) {
      progress = { ...progress, condition: "failed", error: error.message };
      this.show(progress);
    }
    this.active = false;
    this.hand.ended(progress);
  }

  show(progress) {
    const { condition, done, total } = progress;
    const share = total ? done / total : 0;
    this.bar.firstElementChild.style.width = `${100 * share}%`;
    this.bar.setAttribute("aria-valuenow", share.toFixed(3));
    this.bar.classList.toggle("waiting", condition === "waiting");
    this.pace.classList.toggle("bad", condition === "failed");
    this.pace.textContent = words(progress);
  }
}

function words({ condition, done, total, ahead, per_second: rate, seconds_left: left }) {
  if (condition === "waiting") return ahead ? `Waiting for ${ahead} other ${ahead === 1 ? "job" : "jobs"}` : "Starting";
  if (condition === "failed") return "Tracking stopped";
  if (condition === "cancelled") return `Cancelled after ${done} of ${total} frames, which are kept`;
  if (condition === "running") {
    const speed = rate ? ` · ${rate.toFixed(1)}/s · ${time(left)} left` : "";
    return `${done} of ${total} frames${speed}`;
  }
  return total ? `${total} ${total === 1 ? "frame" : "frames"} tracked` : "";
}

function time(seconds) {
  const whole = Math.ceil(seconds);
  return whole < 100 ? `${whole} s` : `${Math.round(whole / 60)} min`;
}
