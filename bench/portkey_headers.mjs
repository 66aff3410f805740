// Portkey 1.15 appends to the headers of what fetch answers. Node's are immutable there, and the patch of a dependency
// by which the gateway gets round that is not in its npm package: a copy of the answer's head does the same.
const fetched = globalThis.fetch
const Answer = globalThis.Response

globalThis.fetch = async (...request) => {
  const answer = await fetched(...request)
  const { status, statusText } = answer
  return new Answer(answer.body, { status, statusText, headers: new Headers(answer.headers) })
}
