/** The one database that the pages of this browser share. */
export const openDatabase = (() => {
  let opened: Promise<IDBDatabase> | null = null;
  return (): Promise<IDBDatabase> =>
    (opened ??= new Promise((resolve, reject) => {
      const request = indexedDB.open("longhand", 2);
      request.onupgradeneeded = ({ oldVersion }) => {
        const database = request.result;
        if (oldVersion < 1) {
          database.createObjectStore("outbox", { keyPath: ["story", "window"] });
          database.createObjectStore("aside", { keyPath: "story" });
        }
        if (oldVersion < 2) database.createObjectStore("acts", { keyPath: "user" });
      };
      request.onsuccess = () => {
        // A page of a newer Longhand waits for the older ones to let go.
        request.result.onversionchange = () => {
          request.result.close();
          opened = null;
        };
        resolve(request.result);
      };
      request.onblocked = () => reject(new Error("A page of an older Longhand is still open in this browser"));
      request.onerror = () => reject(request.error ?? new Error("This browser keeps nothing"));
    }));
})();
