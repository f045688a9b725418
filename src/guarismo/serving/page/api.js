// What the server is asked. Every error becomes a Failure with a sentence of the server's or of ours.

export class Failure extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const response = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Failure("The server does not answer. Is guarismo serve still running?");
  });
  if (!response.ok) throw await failureOf(response);
  return response.status === 204 ? null : response.json();
}

async function failureOf(response) {
  const problem = await response.json().catch(() => ({}));
  return new Failure(problem.detail || problem.title || `HTTP ${response.status}`, response.status);
}

const sent = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

// The digits of a picture: bytes, and how it is to be read (drawn, detail, page, hand).
export function read(picture, how, signal) {
  const given = Object.entries(how).filter(([, value]) => value);
  const headers = { "Content-Type": picture.type || "application/octet-stream" };
  return ask(`v1/read?${new URLSearchParams(given)}`, { method: "POST", headers, body: picture, signal });
}

export const look = (image, signal) => ask("v1/look", sent({ image }, signal));
export const runs = () => ask("v1/runs");
export const newHand = () => ask("v1/hands", sent({}));
export const addSamples = (hand, samples) => ask(`v1/hands/${hand}/samples`, sent({ samples }));
export const undoSamples = (hand) => ask(`v1/hands/${hand}/samples/last`, { method: "DELETE" });
export const keepHand = (hand) => ask(`v1/hands/${hand}/keep`, sent({}));
export const forgetHand = (hand) => ask(`v1/hands/${hand}`, { method: "DELETE" });
