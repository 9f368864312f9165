// Alerts where nobody is looking: their number before the title of the tab, a sound, and a sentence for screen readers.

const TONES = { __proto__: null, critical: [880, 660, 880], warning: [660, 880], info: [] };
const NOTE_SECONDS = 0.16;

export class Bell {
  #app; #audio = null; #shown = "";

  constructor(app) {
    this.#app = app;
    app.feed.addEventListener("alert", ({ detail }) => this.#take(detail));
  }

  /** Shows how many alerts nobody has acknowledged. */
  show(active) {
    const badge = active ? `(${active}) ` : "";
    if (badge === this.#shown) return;
    this.#shown = badge;
    this.#app.setBadge(badge);
  }

  /** Switches the sound on or off. A browser lets a page sound only after a person has done something like this. */
  setSound(isOn) {
    this.#app.settings.set("sound", isOn);
    if (isOn) this.ring("warning");
  }

  ring(severity) {
    if (!this.#app.settings.get("sound") || !TONES[severity]?.length || !globalThis.AudioContext) return;
    this.#audio ??= new AudioContext();
    this.#audio.resume();
    const { currentTime, destination } = this.#audio;
    TONES[severity].forEach((hertz, at) => {
      const tone = this.#audio.createOscillator(), volume = this.#audio.createGain(), start = currentTime + at * NOTE_SECONDS;
      tone.frequency.value = hertz;
      volume.gain.setValueAtTime(0, start);
      volume.gain.linearRampToValueAtTime(0.15, start + 0.02);
      volume.gain.linearRampToValueAtTime(0, start + NOTE_SECONDS);
      tone.connect(volume).connect(destination);
      tone.start(start);
      tone.stop(start + NOTE_SECONDS);
    });
  }

  // An alert that comes again in the same occurrence has rung already.
  #take({ action, severity, title, count }) {
    if (action !== "raised" || count > 1 || this.#app.feed.isPast) return;
    this.#app.announce(`${severity} alert: ${title}`);
    this.ring(severity);
  }
}
