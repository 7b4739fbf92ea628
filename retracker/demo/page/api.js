// What the page asks the server for. A refusal becomes an Error whose message is the server's sentence.

const FAILED = "The server failed; its terminal says more";
let session = null;

export function use(key) {
  session = key;
}

export async function call(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  return answer(await reach(path, options));
}

export function own(method, path = "", body = undefined) {
  return call(method, `/api/sessions/${session}${path}`, body);
}

export function framePath(t) {
  return `/api/sessions/${session}/frames/${t}`;
}

export async function download(kind) {
  const reply = await reach(`/api/sessions/${session}/download/${kind}`, {});
  if (!reply.ok) await answer(reply);
  const named = /filename="([^"]+)"/.exec(reply.headers.get("content-disposition") ?? "");
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(reply.headers.get("content-disposition") ?? "");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await reply.blob());
  link.download = encoded ? decodeURIComponent(encoded[1]) : (named?.[1] ?? `tracks.${kind}`);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// XMLHttpRequest, because fetch does not tell how much of an upload is done.
export function upload(file, onShare) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/sessions?name=${encodeURIComponent(file.name)}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => onShare(event.loaded / Math.max(1, event.total));
    request.onerror = () => reject(new Error("The upload broke off: is the server still running?"));
    request.onload = () =>
      request.status < 400 ? resolve(request.response) : reject(new Error(request.response?.error ?? FAILED));
    request.send(file);
  });
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error("The server does not answer: is it still running?");
  }
}

async function answer(reply) {
  const told = await reply.json().catch(() => ({}));
  if (!reply.ok) throw Object.assign(new Error(told.error ?? FAILED), { status: reply.status });
  return told;
}
