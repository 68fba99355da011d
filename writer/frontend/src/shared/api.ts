/** Requests to our own server: JSON both ways, the session's cookie, the CSRF token as a header. */

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly body: Record<string, unknown> = {},
  ) {
    super(message);
  }

  get signedOut(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

/** The server could not be reached. */
export class Unreachable extends Error {}

export async function request<T>(method: string, path: string, body?: unknown, patience = 20_000): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      credentials: "same-origin",
      redirect: "error",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrfToken() },
      signal: AbortSignal.timeout(patience),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new Unreachable("The server cannot be reached.");
  }
  if (response.status === 204) return undefined as T;
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer as T;
  // 502 to 504 come from a proxy whose web server is away: the same as no answer.
  if (response.ok || (response.status >= 502 && response.status <= 504)) throw new Unreachable("The server gave no answer.");
  const fields = (answer ?? {}) as Record<string, unknown>;
  throw new ApiError(response.status, plain(fields.detail) ?? `The server answered ${response.status}.`, fields);
}

function plain(detail: unknown): string | undefined {
  if (typeof detail === "string") return detail;
  if (!Array.isArray(detail)) return undefined;
  return detail.map((entry: { msg?: unknown }) => String(entry.msg ?? entry)).join(" ");
}

/** Read at every request: signing in again in another tab makes a new one. */
function csrfToken(): string {
  return /(?:^|;\s*)csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? "";
}
