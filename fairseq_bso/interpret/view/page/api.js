// Requests to the server. It answers with JSON; an error has one sentence. A saved page holds the answers of one view.

const stored = document.getElementById("saved");
// { address, answers } of a saved page; null for a page of the server.
export const SAVED = stored ? JSON.parse(stored.textContent) : null;
export const ONE_VIEW = "This file holds one view. The capture has the others: fairseq-bso view DIR.";

export async function ask(name, fields = {}, signal = undefined) {
  if (SAVED) {
    if (SAVED.answers[name]) return SAVED.answers[name];
    throw new Error(ONE_VIEW);
  }
  const query = new URLSearchParams();
  for (const [field, value] of Object.entries(fields)) {
    if (value !== null && value !== undefined && value !== "") query.set(field, value);
  }
  let answer;
  let content;
  try {
    answer = await fetch(`api/${name}?${query}`, { signal });
    content = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is fairseq-bso view still running?");
  }
  if (!answer.ok) throw new Error(content.error);
  return content;
}

// The main part is `aria-busy` while an answer is missing, for screen readers and for tests.
const unanswered = new Set();

function setUnanswered(requests, waits) {
  if (waits) unanswered.add(requests);
  else unanswered.delete(requests);
  document.getElementById("main").setAttribute("aria-busy", String(unanswered.size > 0));
}

// Requests of one kind, of which only the last counts. A newer request cancels the one before. The same request is not
// sent twice in a row.
export class Latest {
  constructor(name, delay = 0) {
    this.name = name;
    this.delay = delay;
    this.key = null;
    this.answer = null;
    this.controller = null;
  }

  // Calls `use(answer)` or `fail(error)`, at once if the last request was the same.
  ask(fields, use, fail) {
    const key = JSON.stringify(fields);
    if (key === this.key && this.answer) return use(this.answer);
    if (key === this.key && this.controller) return undefined; // the request is still running
    this.stop();
    this.key = key;
    const controller = (this.controller = new AbortController());
    setUnanswered(this, true);
    const start = async () => {
      try {
        const answer = await ask(this.name, fields, controller.signal);
        if (controller.signal.aborted) return;
        this.answer = answer;
        this.controller = null;
        use(answer);
      } catch (error) {
        if (controller.signal.aborted) return;
        this.stop();
        fail(error);
      }
      if (!this.controller) setUnanswered(this, false); // the answer may have led to the next request
    };
    this.timer = setTimeout(start, this.delay);
    return undefined;
  }

  stop() {
    clearTimeout(this.timer);
    this.controller?.abort();
    this.controller = this.answer = this.key = null;
    setUnanswered(this, false);
  }
}
