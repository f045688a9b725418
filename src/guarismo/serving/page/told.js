// Sentences that the server says in English, in the words of this page and the reader's language. {fields} stand for
// what the server fills in. Reasons and stages come from reading/ and results/pictures.py, the rest from what refuses.

import { percent, t } from "./words.js";

const KNOWN = [
  // why a mark is not read
  "not a digit, or digits that I cannot separate: {share}",
  "not a digit: {share}",
  "cut off by the edge of the picture",
  "far fainter than the rest",
  "far smaller than the rest",
  "far broader than the rest",
  "a blot, not a stroke",
  "no clearer than the grain of the paper",
  "among marks that are no digits",
  "as if left of a printed line",
  "a digit in outline only, not in its greys",
  // the stages
  "1  The photo, upright",
  "{width} × {height} pixels. Paper, light and shadow are in it besides ink; the network knows none of them.",
  "2  Light and shadow divided out",
  "Light ink. Each pixel is divided by the paper round it: a shadow dims both alike, and cancels out.",
  "Dark ink. Each pixel is divided by the paper round it: a shadow dims both alike, and cancels out.",
  "3  Ink above the noise",
  "Ink is what stands out from the paper's own noise, and about half as strongly as the strokes close by.",
  "4  Printed lines taken out",
  "Long straight lines go (orange), but for the places where a stroke crosses them: it would fall apart.",
  "None were found here: all ink stays.",
  "5  One box for each digit",
  "What touches is cut and what is loose is joined, in every way; the way that gives the likeliest digits wins.",
  "What touches is cut and what is loose is joined, in every way; the way that gives the likeliest digits wins. Dashed: refused.",
  // why a hand is not learnt
  ["Not kept: of {n} held-out MNIST digits it would read {now} instead of {was}, {rest}", "Not learnt: other people's digits would be read worse, {now} instead of {was}. More samples of each digit help, and neater ones."],
  ["Not kept: {n} of {all} samples are surely other digits than {rest}", "Not learnt: {n} of {all} samples look like other digits than those asked for."],
  ["Not kept: left out in turn, {after} of {n} samples would be read right instead of {before}. {rest}", "Not learnt: of your digits, {after} of {n} would be read right instead of {before}. More samples of each digit help."],
  // why a picture is not taken
  ["Expected a photo (JPEG, HEIC, PNG, TIFF, WebP, …) or a PDF. {rest}", "This is no photo and no PDF. JPEG, HEIC, PNG, TIFF, WebP and PDF are read."],
  ["{file} is not a readable image ({rest}", "The photo is damaged or cut short. Please copy it again, or take another."],
  ["The body is empty. {rest}", "The file is empty."],
  ["{file}: {found}, at most {n} million are read. Make it smaller.", "The photo has too many pixels: at most {n} million are read."],
  ["This path takes bodies of at most {n} MiB. {rest}", "The file is too large: at most {n} MiB are taken."],
  ["This takes more than {what}. Send a smaller picture.", "This photo takes too long. Please choose a smaller one."],
  ["{file} is protected by a password. {rest}", "The PDF is protected by a password. Please take the password out first."],
  ["{file} is damaged. {rest}", "The PDF is damaged. Please print it into a new PDF, or photograph the paper."],
  ["{file} is cut short: {rest}", "The file is cut short. Please copy it again."],
  // what the server cannot do now
  ["{what} Try again in {n} s.", "The server has too much to do just now. Please try again in {n} s."],
  ["The body did not come within {n} s. {rest}", "The connection is too slow: the picture did not come within {n} s."],
  ["The server met a fault of its own. Its log tells more under {mark}.", "The server met a fault of its own. Its log tells more under {mark}."],
  ["Send the header `Authorization: {rest}", "This server asks for its token: open the page once as /?token=TOKEN."],
].map((each) => (typeof each === "string" ? [each, each] : each));

const patterns = KNOWN.map(([theirs, ours]) => [new RegExp(`^${escaped(theirs)}$`, "s"), ours]);

function escaped(text) {
  return text.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replace(/\{(\w+)\}/g, "(?<$1>.+?)");
}

// The sentence in the reader's language; as it came where it is not known.
export function told(sentence) {
  for (const [pattern, ours] of patterns) {
    const found = pattern.exec(sentence);
    if (found) return t(ours, shown(found.groups ?? {}));
  }
  return t(sentence);
}

function shown(fields) {
  return fields.share ? { ...fields, share: percent(Number(fields.share)) } : fields;
}
