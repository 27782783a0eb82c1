// Bounded waiting: every test polls for the condition it needs, and fails with words when it does not come.

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Long enough for a request or frame that was written to reach the server, where the server gives no sign of it.
export const SETTLE_MS = 30;
export const settle = () => sleep(SETTLE_MS);

// How long anything that must happen may take. Far above what is ever needed, so that a busy machine is no failure.
export const DEADLINE_MS = 5000;

export async function until(condition, what, ms = DEADLINE_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`did not happen within ${ms} ms: ${what}`);
    await sleep(5);
  }
}

export async function within(promise, what, ms = DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`did not happen within ${ms} ms: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// A queue that producers push into and a test reads from in order.
export class Mailbox {
  #items = [];
  #waiting = [];

  push(item) {
    const reader = this.#waiting.shift();
    if (reader) reader(item);
    else this.#items.push(item);
  }

  next(what = "the next item", ms = DEADLINE_MS) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return new Promise((resolve, reject) => {
      const reader = (item) => {
        clearTimeout(timer);
        resolve(item);
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(reader), 1);
        reject(new Error(`did not happen within ${ms} ms: ${what}`));
      }, ms);
      this.#waiting.push(reader);
    });
  }

  async take(count, what, ms) {
    const items = [];
    while (items.length < count) items.push(await this.next(what, ms));
    return items;
  }

  drain() {
    return this.#items.splice(0);
  }

  get size() {
    return this.#items.length;
  }
}
