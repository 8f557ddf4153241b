// What deserves a second look: text and boundaries that the machine was not sure of, lengths, and reading speed.

const DOUBTFUL_TEXT = 0.8;
const DOUBTFUL_BOUNDARY = 0.6;
// Netflix, Timed Text Style Guide; beyond 1.5 times it, a wrong extent is likelier than the author's style.
const SHORTEST_S = 5 / 6 / 1.5;
const LONGEST_S = 7 * 1.5;
const SLACK = 1.5;
const SPEEDS = [
  [/\p{Script=Han}/gu, 9],
  [/[\p{Script=Hiragana}\p{Script=Katakana}]/gu, 4],
  [/\p{Script=Hangul}/gu, 12],
];

function readingSeconds(text) {
  const japanese = /[\p{Script=Hiragana}\p{Script=Katakana}]/u.test(text);
  let rest = [...text.replaceAll("\n", "")].length;
  let seconds = 0;
  SPEEDS.forEach(([pattern, speed], place) => {
    const count = (text.match(pattern) ?? []).length;
    rest -= count;
    seconds += count / (place === 0 && japanese ? 4 : speed);
  });
  return seconds + rest / 20;
}

export const KINDS = {
  caption: "caption", lower_third: "lower third", title: "title", fixture: "logo or ticker", interface: "interface", scene: "scene",
};

// Rows are replaced when they change.
const known = new WeakMap();

// The doubts about a caption, in words, the worst first; a confirmed caption has none about the machine.
export function doubtsOf(row) {
  if (!known.has(row)) known.set(row, findDoubts(row));
  return known.get(row);
}

function findDoubts(row) {
  const doubts = [];
  const add = (weight, words, about) => doubts.push({ weight, words, about });
  const seconds = (row.end_ms - row.start_ms) / 1000;
  if (row.state !== "confirmed") {
    if (row.state === "issue") add(5, "has an issue", "text");
    if (row.typed_text === null) {
      if (row.ocr_error) add(5, "could not be read", "text");
      else if (row.unread) add(5, "script not read", "text");
      else if (!row.text && row.ocr_status === "completed") add(4, "no text", "text");
      else if (row.ocr_confidence !== null && row.ocr_confidence < DOUBTFUL_TEXT) {
        add(3 + DOUBTFUL_TEXT - row.ocr_confidence, `text ${Math.round(row.ocr_confidence * 100)} % sure`, "text");
      }
    }
    const sure = row.extents_confidence ?? 1;
    if (sure < DOUBTFUL_BOUNDARY) add(2 + DOUBTFUL_BOUNDARY - sure, `times ${Math.round(sure * 100)} % sure`, "times");
  }
  if (row.text_pending) add(2, "text to be checked", "text");
  if ((row.kind ?? "caption") === "caption") {
    if (row.state !== "confirmed") {
      if (seconds < SHORTEST_S) add(1, `short: ${seconds.toFixed(2)} s`, "times");
      else if (seconds > LONGEST_S) add(1, `long: ${seconds.toFixed(1)} s`, "times");
    }
    const wanted = readingSeconds(row.text ?? "");
    if (row.state !== "confirmed" && seconds > 0 && wanted > seconds * SLACK) {
      add(1, `fast: ${Math.round([...row.text].length / seconds)} characters a second`, "times");
    }
  }
  return doubts.sort((a, b) => b.weight - a.weight);
}

export const weightOf = (row) => doubtsOf(row)[0]?.weight ?? 0;
