// Runs the functions of a self-contained factory in a Worker, or in this thread where a page's security policy
// forbids Workers. What other such factories, `parts`, make is what it is given. Arguments are copied, never transferred: a refused Worker must leave them usable here.
export function makeWorker(factory, ...parts) {
  const source = `const api = (${factory})(${parts.map((part) => `(${part})()`)});
    onmessage = async ({ data: { id, name, args } }) => {
      try {
        const result = await api[name](...args);
        const data = result.data instanceof Uint8Array ? result.data : result;
        postMessage({ id, result }, data.buffer ? [data.buffer] : []);
      } catch (error) { postMessage({ id, error: error.message }); }
    };`;
  const waiting = new Map();
  let worker = null,
    local = null,
    count = 0;

  function runHere() {
    const api = (local ??= factory(...parts.map((part) => part())));
    for (const { name, args, resolve, reject } of waiting.values())
      Promise.resolve()
        .then(() => api[name](...args))
        .then(resolve, reject);
    waiting.clear();
  }

  try {
    worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    worker.onerror = runHere;
    worker.onmessage = ({ data: { id, result, error } }) => {
      const asked = waiting.get(id);
      waiting.delete(id);
      if (error === undefined) asked?.resolve(result);
      else asked?.reject(new Error(error));
    };
  } catch {
    runHere();
  }

  function call(name, ...args) {
    return new Promise((resolve, reject) => {
      waiting.set(++count, { name, args, resolve, reject });
      if (local) runHere();
      else worker.postMessage({ id: count, name, args });
    });
  }
  return { call };
}
