// Unsaved work, kept in the browser's own database: a refresh, a crash or a lost connection costs nothing.
export function makeDrafts(database = "segdemo-canvas") {
  const MOST = 200; // photos with unsaved work that are remembered
  let opening = null;

  function open() {
    opening ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(database, 1);
      request.onupgradeneeded = () =>
        request.result.createObjectStore("drafts", { keyPath: "key" }).createIndex("when", "when");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    return opening;
  }

  async function run(mode, work) {
    const transaction = (await open()).transaction("drafts", mode, { durability: "strict" });
    const request = work(transaction.objectStore("drafts"));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  }

  async function prune() {
    const keys = await run("readonly", (store) => store.index("when").getAllKeys());
    for (const key of keys.slice(0, Math.max(0, keys.length - MOST)))
      await run("readwrite", (store) => store.delete(key));
  }

  return {
    all: () => run("readonly", (store) => store.getAll()),
    get: (key) => run("readonly", (store) => store.get(key)),
    put: (draft) => run("readwrite", (store) => store.put(draft)).then(prune),
    remove: (key) => run("readwrite", (store) => store.delete(key)),
  };
}
