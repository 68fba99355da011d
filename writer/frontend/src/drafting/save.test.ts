import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ApiError, Unreachable } from "../shared/api";
import type { Save } from "./outbox";
import { Saver, type SaveState, type Theirs } from "./save";

/** A server with one story, as docs/protocol.md has it: revisions, the same name answered the same, 409 with both texts. */
class Server {
  head = "r0";
  text = "";
  saves: Save[] = [];
  #answered = new Map<string, string>();
  /** What happens to the next requests: answered, lost on the way there, or on the way back. */
  fate: ("lost" | "unanswered" | number)[] = [];

  async save(save: Save) {
    const fate = this.fate.shift();
    if (fate === "lost") throw new Unreachable("away");
    if (typeof fate === "number") throw new ApiError(fate, "no");
    const known = this.#answered.get(save.op_id);
    if (!known) {
      if (save.base_revision !== this.head) {
        const theirs: Theirs = { revision: this.head, text: this.text, absorbed: 0, generation: null };
        throw new ApiError(409, "changed", { theirs, yours: save.text });
      }
      this.saves.push(save);
      this.head = `r${this.saves.length}`;
      this.text = save.text;
      this.#answered.set(save.op_id, this.head);
    }
    if (fate === "unanswered") throw new Unreachable("away");
    return { revision: this.#answered.get(save.op_id)!, absorbed: save.absorbed, words: 0 };
  }
}

function desk(server: Server, base = server.head) {
  const states: SaveState[] = [];
  const page = { text: "", kept: null as { sent: Save | null; draft: Save | null } | null, conflicts: [] as Theirs[] };
  const saver: Saver = new Saver(
    {
      savable: () => ({ text: page.text, absorbed: 0 }),
      send: (save) => server.save(save),
      store: { keep: async (sent, draft) => void (page.kept = sent || draft ? { sent, draft } : null), part: () => undefined },
      report: (state) => void states.push(state),
      conflict: (theirs) => void page.conflicts.push(theirs),
    },
    base,
  );
  const type = (text: string): void => {
    page.text = text;
    saver.touch();
  };
  return { saver, page, states, type };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("a writer's changes", () => {
  test("are saved a second after the last one", async () => {
    const server = new Server();
    const { page, states, type } = desk(server);
    type("a");
    await vi.advanceTimersByTimeAsync(900);
    type("ab");
    await vi.advanceTimersByTimeAsync(900);
    expect(server.text).toBe("");
    await vi.advanceTimersByTimeAsync(200);
    expect([server.text, server.saves.length, page.kept]).toEqual(["ab", 1, null]);
    expect(states).toEqual(["unsaved", "saving", "saved"]);
  });

  test("are saved while somebody types without a rest", async () => {
    const server = new Server();
    const { type } = desk(server);
    for (let i = 0; i < 30; i++) {
      type("a".repeat(i));
      await vi.advanceTimersByTimeAsync(500);
    }
    expect(server.saves.length).toBeGreaterThan(0);
  });

  test("are in the outbox before they are sent", async () => {
    const { page, type } = desk(new Server());
    type("a");
    await vi.advanceTimersByTimeAsync(200);
    expect(page.kept?.draft?.text).toBe("a");
  });

  test("wait for the connection and go out under the same name", async () => {
    const server = new Server();
    server.fate = ["lost", "unanswered"];
    const { page, saver, states, type } = desk(server);
    type("a");
    await vi.advanceTimersByTimeAsync(1_100);
    expect([saver.state, page.kept?.sent?.text]).toEqual(["offline", "a"]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect([server.text, server.saves.length, page.kept, states.at(-1)]).toEqual(["a", 1, null, "saved"]);
  });

  test("typed while a save was lost come after it, on top of it", async () => {
    const server = new Server();
    server.fate = ["unanswered"];
    const { page, type } = desk(server);
    type("a");
    await vi.advanceTimersByTimeAsync(1_100);
    type("ab");
    await vi.advanceTimersByTimeAsync(200);
    expect([page.kept?.sent?.text, page.kept?.draft?.text]).toEqual(["a", "ab"]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect([server.text, server.saves.length]).toEqual(["ab", 2]);
  });

  test("survive a reload after a lost answer, without a conflict with themselves", async () => {
    const server = new Server();
    server.fate = ["unanswered"];
    const first = desk(server);
    first.type("a");
    await vi.advanceTimersByTimeAsync(1_100);
    first.type("ab");
    await vi.advanceTimersByTimeAsync(200);
    const kept = structuredClone(first.page.kept!);
    vi.clearAllTimers();

    const second = desk(server);
    second.page.text = kept.draft!.text;
    second.saver.restore({ story: "s", window: "w", at: 0, ...kept });
    await vi.advanceTimersByTimeAsync(5_000);
    expect([server.text, second.page.conflicts.length, second.saver.state]).toEqual(["ab", 0, "saved"]);
  });

  test("are kept while the writer is signed out", async () => {
    const server = new Server();
    server.fate = [401, 401];
    const { saver, page, type } = desk(server);
    type("a");
    await vi.advanceTimersByTimeAsync(1_100);
    expect([saver.state, page.kept?.sent?.text]).toEqual(["signed-out", "a"]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.text).toBe("a");
  });

  test("that the server refuses are not lost, and tried again when they changed", async () => {
    const server = new Server();
    server.fate = [422];
    const { saver, page, type } = desk(server);
    type("a");
    await vi.advanceTimersByTimeAsync(1_100);
    expect(saver.state).toBe("refused");
    expect(page.kept).not.toBeNull();
    type("ab");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(server.text).toBe("ab");
  });
});

describe("two windows", () => {
  async function collide() {
    const server = new Server();
    const [mine, theirs] = [desk(server), desk(server)];
    theirs.type("theirs");
    await vi.advanceTimersByTimeAsync(1_100);
    mine.type("mine");
    await vi.advanceTimersByTimeAsync(1_100);
    return { server, mine };
  }

  test("never overwrite each other", async () => {
    const { server, mine } = await collide();
    await vi.advanceTimersByTimeAsync(60_000);
    expect([server.text, mine.saver.state]).toEqual(["theirs", "conflict"]);
    expect(mine.page.conflicts.map((theirs) => theirs.text)).toEqual(["theirs"]);
    expect(mine.page.kept?.sent?.text).toBe("mine");
  });

  test("mine can become the newer version", async () => {
    const { server, mine } = await collide();
    expect(await mine.saver.keepMine(mine.page.conflicts[0]!)).toBe(true);
    expect([server.text, server.saves.at(-1)?.base_revision]).toEqual(["mine", "r1"]);
  });

  test("theirs can be taken", async () => {
    const { server, mine } = await collide();
    await mine.saver.rebase(mine.page.conflicts[0]!.revision);
    expect([mine.saver.state, mine.page.kept, server.text]).toEqual(["saved", null, "theirs"]);
  });
});
