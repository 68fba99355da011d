import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ApiError, Unreachable } from "../shared/api";
import { type Act, type ActState, Acts, memoryShelf, type Shelf } from "./acts";

/** A server that stores each act once under its name, and undoes it once, as docs and `operations/act.py` have it. */
class Server {
  signedIn: number | null = 1;
  session = "first";
  /** What stands, in the order in which it came; undone acts are remembered by name. */
  stands: string[] = [];
  heard: string[] = [];
  #known = new Map<string, string>();
  /** What happens to the next requests: answered, lost on the way there or back, or refused. */
  fate: ("lost" | "unanswered" | number)[] = [];
  /** Requests wait while this is set. */
  hold: Promise<void> | null = null;

  async send<T>(method: string, path: string, body?: unknown): Promise<T> {
    await this.hold;
    if (this.signedIn === null) throw new ApiError(401, "Please sign in.");
    if (path === "/api/me") return { id: this.signedIn } as T;
    const fate = this.fate.shift();
    if (fate === "lost") throw new Unreachable("away");
    if (typeof fate === "number") throw new ApiError(fate, `no ${fate}`);
    const op_id = path.split("/").at(-1)!;
    if (method === "PUT") {
      const name = String((body as Act).name);
      this.heard.push(`+${name}`);
      if (!this.#known.has(op_id)) this.stands.push(`${this.signedIn}:${name}:${op_id}`);
      this.#known.set(op_id, name);
    } else {
      if (!this.#known.has(op_id)) throw new ApiError(404, "There is no such thing here.");
      this.heard.push(`-${this.#known.get(op_id)}`);
      this.stands = this.stands.filter((one) => !one.endsWith(op_id));
    }
    if (fate === "unanswered") throw new Unreachable("away");
    return {} as T;
  }

  get names(): string[] {
    return this.stands.map((one) => one.split(":")[1]!);
  }
}

/** What tabs of one browser share. */
function browser() {
  let last: Promise<unknown> = Promise.resolve();
  return {
    shelves: new Map<number, Shelf>(),
    alone: (work: () => Promise<void>): Promise<void> => {
      const done = last.then(work);
      last = done.catch(() => undefined);
      return done;
    },
  };
}

function tab(server: Server, of = browser(), user = 1) {
  const reported: [ActState, string, string?][] = [];
  if (!of.shelves.has(user)) of.shelves.set(user, memoryShelf());
  const acts = new Acts({
    user,
    shelf: of.shelves.get(user)!,
    send: (method, path, body) => server.send(method, path, body),
    alone: of.alone,
    session: () => server.session,
    report: (state, detail, op_id) => void reported.push(op_id === undefined ? [state, detail] : [state, detail, op_id]),
  });
  return { acts, reported, do: (name: string, before?: unknown) => acts.do({ kind: "mark", name }, `Mark: ${name}`, before) };
}

const minutes = (count: number) => vi.advanceTimersByTimeAsync(count * 60_000);

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("acts", () => {
  test("are sent by themselves, in order, once", async () => {
    const server = new Server();
    const { acts, reported, do: act } = tab(server);
    for (const name of "abc") await act(name);
    await acts.settled();
    expect([server.heard, acts.waiting]).toEqual([["+a", "+b", "+c"], 0]);
    await minutes(1);
    expect([server.heard.length, reported.at(-1)]).toEqual([3, ["saved", ""]]);
  });

  test("are kept before they are sent", async () => {
    const server = new Server();
    server.hold = new Promise(() => {});
    const one = browser();
    await tab(server, one).do("a");
    const kept = await one.shelves.get(1)!.change(1, () => undefined);
    expect([kept.map(({ label }) => label), server.heard]).toEqual([["Mark: a"], []]);
  });

  test("wait for the connection, and for a lost answer, under the same name", async () => {
    const server = new Server();
    server.fate = ["lost", "unanswered", "unanswered", "lost"];
    const { acts, reported, do: act } = tab(server);
    await act("a");
    await act("b");
    await minutes(0);
    expect(reported.at(-1)).toEqual(["offline", ""]);
    expect(acts.waiting).toBe(2);
    await minutes(5);
    expect([server.names, acts.waiting, reported.at(-1)]).toEqual([["a", "b"], 0, ["saved", ""]]);
  });

  test("go on after a reload", async () => {
    const server = new Server();
    server.fate = ["unanswered"];
    const one = browser();
    const first = tab(server, one);
    await first.do("a");
    await first.do("b");
    await minutes(0);
    vi.clearAllTimers(); // the page is gone
    const second = tab(server, one);
    second.acts.wake();
    await minutes(1);
    expect([server.names, server.heard]).toEqual([["a", "b"], ["+a", "+a", "+b"]]);
    expect(second.acts.last()?.label).toBe("Mark: b");
  });

  test.each([500, 503, 429, 401, 403])("are tried again after %i", async (status) => {
    const server = new Server();
    server.fate = [status, status];
    const { reported, do: act } = tab(server);
    await act("a");
    await minutes(0);
    expect(reported.at(-1)![0]).toBe(status >= 500 ? "offline" : status === 429 ? "saving" : "signed-out");
    await minutes(1);
    expect(server.names).toEqual(["a"]);
  });

  test("that the server will not have are dropped, and the page hears which", async () => {
    const server = new Server();
    server.fate = [422];
    const { acts, reported, do: act } = tab(server);
    const refused = await act("a");
    await act("b");
    await acts.settled();
    await minutes(0);
    expect(reported).toContainEqual(["refused", "no 422", refused.op_id]);
    expect([server.names, acts.waiting, acts.last()?.label, reported.at(-1)]).toEqual([["b"], 0, "Mark: b", ["saved", ""]]);
    expect(reported.filter(([state]) => state === "refused").length).toBe(1);
  });

  test("are not called saved while they are being written down", async () => {
    const server = new Server();
    const one = browser();
    const shelf = memoryShelf();
    const slow: Shelf = { change: async (user, work) => (await new Promise((resolve) => setTimeout(resolve, 10)), shelf.change(user, work)) };
    one.shelves.set(1, slow);
    const { acts, reported, do: act } = tab(server, one);
    void act("a");
    await vi.advanceTimersByTimeAsync(25); // the first is sent, its answer is being written down
    void act("b");
    for (let i = 0; i < 200 && server.names.length < 2; i++) {
      await vi.advanceTimersByTimeAsync(1);
      expect([reported.at(-1)![0], acts.waiting > 0]).toEqual(["saving", true]);
    }
    await minutes(1);
    expect([server.names, acts.waiting, reported.at(-1)]).toEqual([["a", "b"], 0, ["saved", ""]]);
  });

  test("are kept where the browser keeps nothing, as long as the page lives", async () => {
    const server = new Server();
    const one = browser();
    one.shelves.set(1, { change: () => Promise.reject(new Error("This browser keeps nothing")) });
    const { acts, do: act } = tab(server, one);
    await act("a");
    await act("b");
    await acts.settled();
    expect([server.names, acts.durable]).toEqual([["a", "b"], false]);
    expect((await acts.undo())?.label).toBe("Mark: b");
    await acts.settled();
    expect(server.names).toEqual(["a"]);
  });
});

describe("undoing", () => {
  test("takes back the newest act that stands, with what the page gave along", async () => {
    const server = new Server();
    const { acts, do: act } = tab(server);
    await act("a", { severity: 1 });
    await act("b");
    await acts.settled();
    expect((await acts.undo())?.label).toBe("Mark: b");
    expect((await acts.undo())?.before).toEqual({ severity: 1 });
    expect([await acts.undo(), acts.last()]).toEqual([null, null]);
    await acts.settled();
    expect([server.names, server.heard]).toEqual([[], ["+a", "+b", "-b", "-a"]]);
  });

  test("of what was never sent forgets it", async () => {
    const server = new Server();
    server.signedIn = null;
    const { acts, do: act } = tab(server);
    await act("a");
    await act("b");
    expect(acts.waiting).toBe(2);
    await acts.undo();
    expect(acts.unsent.map(({ label }) => label)).toEqual(["Mark: a"]);
    server.signedIn = 1;
    await minutes(1);
    expect(server.heard).toEqual(["+a"]);
  });

  test("of what may have arrived sends it to the end first", async () => {
    const server = new Server();
    server.fate = ["unanswered", "lost"];
    const { acts, do: act } = tab(server);
    await act("a");
    await minutes(0);
    await acts.undo();
    expect(acts.unsent).toMatchObject([{ label: "Mark: a", undone: true }]);
    expect(acts.waiting).toBe(1);
    await minutes(5);
    expect([server.heard, server.names, acts.waiting]).toEqual([["+a", "+a", "-a"], [], 0]);
  });

  test("comes before what is done after it", async () => {
    const server = new Server();
    const { acts, do: act } = tab(server);
    await act("a");
    await acts.settled();
    server.fate = ["lost", "lost"];
    await acts.undo();
    await act("b");
    await minutes(5);
    expect(server.heard).toEqual(["+a", "-a", "+b"]);
  });

  test("comes in the order in which it was done, also when it waited", async () => {
    const server = new Server();
    const { acts, do: act } = tab(server);
    for (const name of "abc") await act(name);
    await acts.settled();
    server.fate = ["lost", "lost"];
    for (let i = 0; i < 3; i++) await acts.undo();
    await act("d");
    await minutes(5);
    expect(server.heard.slice(3)).toEqual(["-c", "-b", "-a", "+d"]);
  });

  test("that the server refuses lets the act stand, and does not stand in the way", async () => {
    const server = new Server();
    const { acts, reported, do: act } = tab(server);
    await act("a");
    const named = await act("b");
    await acts.settled();
    server.fate = [409];
    await acts.undo();
    await acts.settled();
    expect(reported).toContainEqual(["refused", "no 409", named.op_id]);
    expect([server.names, acts.last()?.label]).toEqual([["a", "b"], "Mark: a"]);
  });

  test("of what the server does not know is done", async () => {
    const server = new Server();
    const { acts, reported, do: act } = tab(server);
    await act("a");
    await acts.settled();
    server.fate = [404];
    await acts.undo();
    await acts.settled();
    expect([acts.last(), reported.filter(([state]) => state === "refused")]).toEqual([null, []]);
  });

  test("reaches back over fifty acts, and forgets what is older", async () => {
    const server = new Server();
    const { acts, do: act } = tab(server);
    for (let i = 0; i < 60; i++) await act(`${i}`);
    await acts.settled();
    let undone = 0;
    while (await acts.undo()) undone++;
    await acts.settled();
    expect([undone, server.names.length]).toEqual([50, 10]);
  });
});

describe("two tabs", () => {
  test("send each act once, and undo each other's", async () => {
    const server = new Server();
    const one = browser();
    const [left, right] = [tab(server, one), tab(server, one)];
    await left.do("a");
    await right.do("b");
    await left.do("c");
    await Promise.all([left.acts.settled(), right.acts.settled()]);
    await minutes(0);
    expect(server.heard).toEqual(["+a", "+b", "+c"]);
    expect((await right.acts.undo())?.label).toBe("Mark: c");
    await right.acts.settled();
    expect(server.names).toEqual(["a", "b"]);
    left.acts.wake();
    await minutes(0);
    expect(left.acts.last()?.label).toBe("Mark: b");
  });

  test("each hear of an act of theirs that was refused, whoever sent it", async () => {
    const server = new Server();
    server.signedIn = null;
    const one = browser();
    const [left, right] = [tab(server, one), tab(server, one)];
    const refused = await left.do("a");
    await minutes(0);
    server.signedIn = 1;
    server.fate = [422];
    right.acts.wake();
    await minutes(1);
    expect(left.reported.filter(([state]) => state === "refused")).toEqual([["refused", "no 422", refused.op_id]]);
  });
});

describe("another person in the same browser", () => {
  test("neither sends nor sees them", async () => {
    const server = new Server();
    server.signedIn = null;
    const one = browser();
    const mine = tab(server, one);
    await mine.do("a");
    await minutes(0);
    [server.signedIn, server.session] = [2, "second"];
    const theirs = tab(server, one, 2);
    await theirs.do("b");
    await minutes(2);
    expect(server.stands.map((stood) => stood.slice(0, 3))).toEqual(["2:b"]);
    expect([mine.reported.at(-1), theirs.acts.last()?.label]).toEqual([["signed-out", "somebody else is signed in"], "Mark: b"]);
    [server.signedIn, server.session] = [1, "third"];
    await minutes(2);
    expect(server.stands.map((stood) => stood.slice(0, 3))).toEqual(["2:b", "1:a"]);
  });

  test("who signs in while a page is open does not get what is done on it", async () => {
    const server = new Server();
    const mine = tab(server);
    await mine.do("a");
    await mine.acts.settled();
    [server.signedIn, server.session] = [2, "second"];
    await mine.do("b");
    await minutes(2);
    expect([server.names, mine.acts.waiting, mine.reported.at(-1)![0]]).toEqual([["a"], 1, "signed-out"]);
  });
});
