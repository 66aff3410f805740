/** Requests to Palaver: the only module of the dashboard that fetches. */

/** What Palaver refused, or the network kept back (status 0). */
export class ApiError extends Error {
  /** @param {string} message @param {{ status: number, code: string, requestId: string | null }} facts */
  constructor(message, { status, code, requestId }) {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }

  get isNetwork() {
    return this.status === 0;
  }
}

/**
 * @typedef {{
 *   query?: Record<string, string | number | boolean | null | undefined>,
 *   body?: unknown,
 *   form?: FormData,
 *   headers?: Record<string, string>,
 *   signal?: AbortSignal,
 * }} Options
 */

/** Marks requests of this page: with the cookie alone, no other page can change anything. */
const OWN = { "X-Palaver-Browser": "1" };

/** What runs when a request finds that nobody is signed in. */
let onSignedOut = () => {};

/** @param {() => void} action */
export function whenSignedOut(action) {
  onSignedOut = action;
}

/** The address of a path of the API. Relative to the page, so that it also holds below a proxy's prefix.
 * @param {string} path @param {Options["query"]} [query] */
export function urlOf(path, query) {
  const url = new URL(path, new URL(".", document.baseURI));
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  return url;
}

/** The answer as it came. Throws ApiError.
 * @param {string} method @param {string} path @param {Options} [options] @returns {Promise<Response>} */
export async function respond(method, path, { query, body, form, headers, signal } = {}) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch(urlOf(path, query), {
      method,
      headers: { ...OWN, ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: form ?? (body === undefined ? undefined : JSON.stringify(body)),
      credentials: "same-origin",
      cache: "no-store",
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("Palaver cannot be reached", { status: 0, code: "unreachable", requestId: null });
  }
  if (response.ok) return response;
  const error = await errorOf(response);
  if (error.status === 401 && !headers?.["X-API-Key"]) onSignedOut();
  throw error;
}

/** @param {Response} response */
async function errorOf(response) {
  const text = await response.text();
  /** @type {any} */
  let content = {};
  try {
    content = JSON.parse(text);
  } catch {
    // not Palaver's: a proxy's page
  }
  return new ApiError(content.message ?? content.error?.message ?? `${response.status} ${response.statusText}`, {
    status: response.status,
    code: String(content.code ?? content.error?.code ?? `http_${response.status}`),
    requestId: content.request_id ?? response.headers.get("X-Request-ID"),
  });
}

/** What the answer holds, out of its envelope. Throws ApiError.
 * @param {string} method @param {string} path @param {Options} [options] @returns {Promise<any>} */
export async function request(method, path, options) {
  const response = await respond(method, path, options);
  const content = await response.json();
  return content && typeof content === "object" && "data" in content && ("status" in content || "code" in content)
    ? content.data
    : content;
}

/** Upload a form, with progress. Throws ApiError.
 * @param {string} path @param {FormData} form
 * @param {{ onProgress?: (share: number) => void, signal?: AbortSignal }} [options] @returns {Promise<any>} */
export function upload(path, form, { onProgress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest(); // fetch tells no progress
    sender.open("POST", urlOf(path));
    for (const [name, value] of Object.entries(OWN)) sender.setRequestHeader(name, value);
    sender.upload.onprogress = (event) => event.lengthComputable && onProgress?.(event.loaded / event.total);
    sender.onload = async () => {
      const response = new Response(sender.responseText, { status: sender.status });
      if (response.ok) resolve(JSON.parse(sender.responseText).data);
      else reject(await errorOf(response));
    };
    const fail = () => reject(new ApiError("The upload was cut off", { status: 0, code: "unreachable", requestId: null }));
    sender.onerror = fail;
    sender.onabort = fail;
    signal?.addEventListener("abort", () => sender.abort());
    sender.send(form);
  });
}

/** The events of a stream, as they come. Throws ApiError, also when the stream is cut.
 * @param {Response} response @returns {AsyncGenerator<{ id: number, data: any }>} */
export async function* eventsOf(response) {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const frames = (rest + value).split("\n\n");
      rest = frames.pop() ?? "";
      for (const frame of frames) {
        const id = /^id: (\d+)$/m.exec(frame);
        const data = /^data: (.*)$/m.exec(frame);
        if (data) yield { id: id ? Number(id[1]) : 0, data: JSON.parse(data[1]) };
      }
    }
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The stream was cut", { status: 0, code: "unreachable", requestId: null });
  } finally {
    reader.cancel().catch(() => {});
  }
}
