// The masked ids of the transcripts: `{{sid}}`, `{{sid1}}` … stand for the ids that this run's server gives.

const PLACEHOLDER = /\{\{(\w+)\}\}/g;

export class Mask {
  #ids = new Map();

  // The text with the ids of this run in place of the placeholders.
  fill(text) {
    return text.replace(PLACEHOLDER, (whole, name) => this.#ids.get(name) ?? whole);
  }

  // Whether `actual` is `expected`; a placeholder not seen before takes the id that stands in its place.
  matches(expected, actual) {
    if (typeof expected !== "string" || typeof actual !== "string") return expected === actual;
    const fresh = [];
    const pattern = this.fill(expected)
      .split(/(\{\{\w+\}\})/)
      .map((part) => {
        const name = /^\{\{(\w+)\}\}$/.exec(part)?.[1];
        if (!name) return part.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
        if (fresh.includes(name)) return `\\${fresh.indexOf(name) + 1}`;
        fresh.push(name);
        return "([A-Za-z0-9_-]{20})";
      });
    const match = new RegExp(`^${pattern.join("")}$`, "s").exec(actual);
    if (!match) return false;
    fresh.forEach((name, i) => this.#ids.set(name, match[i + 1]));
    return true;
  }

  // The same for JSON values; the order of an object's keys does not matter.
  matchesValue(expected, actual) {
    if (typeof expected !== "object" || expected === null || typeof actual !== "object" || actual === null) {
      return this.matches(expected, actual);
    }
    if (Array.isArray(expected) !== Array.isArray(actual)) return false;
    const keys = Object.keys(expected);
    if (keys.length !== Object.keys(actual).length) return false;
    return keys.every((key) => Object.hasOwn(actual, key) && this.matchesValue(expected[key], actual[key]));
  }
}
