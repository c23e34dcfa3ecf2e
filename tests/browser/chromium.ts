/**
 * A headless Chromium, spoken to by the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/): opens
 * a page, says what it requested and wrote to its console, runs expressions in it and takes pictures.
 */
import { browserCommand } from "../needs.ts";

/** How a page is looked at. */
export interface View {
  width: number;
  height?: number;
  scheme?: "light" | "dark";
  /** As on paper. */
  print?: boolean;
  /** Without JavaScript. */
  scriptless?: boolean;
}

/** A page that was opened. */
export interface Page {
  /** Addresses that were requested, the page itself first. */
  requests: string[];
  /** What the console got, from the page or from the browser. */
  messages: string[];
  /** Dialogs that the page wanted to open. */
  dialogs: string[];
  /** Evaluates an expression; a promise is waited for. */
  evaluate<T>(expression: string): Promise<T>;
  /** A PNG of the first screen, or of the whole page. */
  screenshot(whole?: boolean): Promise<Uint8Array>;
  close(): Promise<void>;
}

type Message = {
  id?: number;
  sessionId?: string;
  method?: string;
  params?: Record<string, unknown>;
  result?: unknown;
  error?: unknown;
};

/** A browser that ends when it is disposed of. */
export async function startBrowser(): Promise<AsyncDisposable & { open(url: string, view: View): Promise<Page> }> {
  const home = await Deno.makeTempDir({ prefix: "ibsr-chromium-" });
  const child = new Deno.Command(browserCommand(), {
    args: [
      ...["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"],
      ...["--hide-scrollbars", "--font-render-hinting=none", "--remote-debugging-port=0", `--user-data-dir=${home}`],
      ...["--proxy-server=127.0.0.1:9", "about:blank"],
    ],
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const errors = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  const socket = await connect(await readAddress(errors));
  const drained = drain(errors);

  let last = 0;
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  const listeners = new Set<(message: Message) => void>();
  socket.onmessage = ({ data }) => {
    const message: Message = JSON.parse(data);
    if (message.id === undefined) return listeners.forEach((listen) => listen(message));
    const { resolve, reject } = waiting.get(message.id)!;
    waiting.delete(message.id);
    if (message.error) reject(new Error(JSON.stringify(message.error)));
    else resolve(message.result);
  };
  // deno-lint-ignore no-explicit-any
  const send = (method: string, params: Record<string, unknown> = {}, sessionId?: string): Promise<any> => {
    const id = ++last;
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      socket.send(JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) }));
    });
  };

  return {
    async open(url, { width, height = 800, scheme = "light", print = false, scriptless = false }) {
      const { targetId } = await send("Target.createTarget", { url: "about:blank" });
      const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
      const page: Pick<Page, "requests" | "messages" | "dialogs"> = { requests: [], messages: [], dialogs: [] };
      const loaded = Promise.withResolvers<void>();
      listeners.add(({ sessionId: from, method, params = {} }) => {
        if (from !== sessionId) return;
        const text = JSON.stringify(params);
        if (method === "Network.requestWillBeSent") page.requests.push((params.request as { url: string }).url);
        else if (method === "Page.javascriptDialogOpening") {
          page.dialogs.push(text);
          send("Page.handleJavaScriptDialog", { accept: false }, sessionId);
        } else if (["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"].includes(method!)) {
          page.messages.push(text);
        } else if (method === "Page.loadEventFired") loaded.resolve();
      });
      for (const domain of ["Page", "Runtime", "Log", "Network"]) await send(`${domain}.enable`, {}, sessionId);
      const mobile = width < 600;
      await send(
        "Emulation.setDeviceMetricsOverride",
        { width, height, deviceScaleFactor: mobile ? 2 : 1, mobile },
        sessionId,
      );
      await send("Emulation.setEmulatedMedia", {
        media: print ? "print" : "",
        features: [{ name: "prefers-color-scheme", value: scheme }],
      }, sessionId);
      if (scriptless) await send("Emulation.setScriptExecutionDisabled", { value: true }, sessionId);
      await send("Page.navigate", { url }, sessionId);
      await loaded.promise;
      return {
        ...page,
        async close() {
          await send("Target.closeTarget", { targetId });
        },
        async evaluate(expression) {
          const options = { expression, awaitPromise: true, returnByValue: true };
          const { result, exceptionDetails } = await send("Runtime.evaluate", options, sessionId);
          if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails));
          return result.value;
        },
        async screenshot(whole = false) {
          const { data } = await send("Page.captureScreenshot", {
            captureBeyondViewport: whole,
            ...(whole ? await clipOf(send, sessionId) : {}),
          }, sessionId);
          return Uint8Array.fromBase64(data);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await send("Browser.close").catch(() => {});
      socket.close();
      await child.status;
      await drained;
      await Deno.remove(home, { recursive: true });
    },
  };
}

/** The whole page as a clip for a picture. */
async function clipOf(
  // deno-lint-ignore no-explicit-any
  send: (method: string, params?: Record<string, unknown>, sessionId?: string) => Promise<any>,
  sessionId: string,
) {
  const { cssContentSize: { width, height } } = await send("Page.getLayoutMetrics", {}, sessionId);
  return { clip: { x: 0, y: 0, width, height, scale: 1 } };
}

/** The address that Chromium says it listens on. */
async function readAddress(errors: ReadableStreamDefaultReader<string>): Promise<string> {
  let text = "";
  for (let part = await errors.read(); !part.done; part = await errors.read()) {
    text += part.value;
    const address = /ws:\/\/\S+(?=\s)/.exec(text)?.[0];
    if (address) return address;
  }
  throw new Error(`Chromium did not start: ${text}`);
}

/** Reads what is left, so that the browser never waits for it. */
async function drain(errors: ReadableStreamDefaultReader<string>): Promise<void> {
  while (!(await errors.read()).done);
}

async function connect(address: string): Promise<WebSocket> {
  const socket = new WebSocket(address);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`Cannot connect to ${address}`));
  });
  return socket;
}
