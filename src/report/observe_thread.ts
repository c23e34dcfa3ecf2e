/**
 * The observer's thread: takes intervals out of shared memory as observe_apart.ts puts them there. Pure.
 */
import { createObserver, type Observation } from "./observe.ts";
import { FAILED, type Failure, FREE, type ObserverMessage, viewCells } from "./observe_slots.ts";

/** This thread, as those of its kind have it. */
const thread = self as unknown as {
  onmessage: (event: MessageEvent<ObserverMessage>) => void;
  postMessage(message: unknown, transfer?: Transferable[]): void;
};
let observer: ReturnType<typeof createObserver> | undefined, states: Int32Array = new Int32Array(0);
const slots: SharedArrayBuffer[] = [];

function take(message: ObserverMessage): void {
  if (message.kind === "begin") {
    states = message.states;
    observer = createObserver(message.options);
  } else if (message.kind === "stream") observer!.startStream();
  else if (message.kind === "room") slots[message.slot] = message.room;
  else if (message.kind === "interval") {
    const { slot, count, interval, exclusions } = message;
    observer!.add({ ...interval, cells: viewCells(slots[slot]!, count) }, exclusions);
    Atomics.store(states, slot, FREE);
    Atomics.notify(states, slot);
  } else {
    const observation = observer!.finish();
    observer = undefined;
    slots.length = 0;
    thread.postMessage(observation, buffersOf(observation));
  }
}

/** What would otherwise be copied. */
function buffersOf({ streams, marks }: Observation): Transferable[] {
  const buffers = new Set<ArrayBuffer>();
  const keep = (value: unknown) => {
    if (ArrayBuffer.isView(value)) buffers.add(value.buffer as ArrayBuffer);
    else if (value instanceof Map) { for (const one of value.values()) keep(one); }
    else if (typeof value === "object" && value !== null) { for (const one of Object.values(value)) keep(one); }
  };
  for (const { keys, sources, marks: own } of streams) keep({ keys, sources, own });
  keep(marks);
  return [...buffers];
}

thread.onmessage = ({ data }) => {
  try {
    take(data);
  } catch (error) {
    states.fill(FAILED);
    for (let slot = 0; slot < states.length; slot++) Atomics.notify(states, slot);
    thread.postMessage({ failed: `${error}` } satisfies Failure);
  }
};
thread.postMessage("ready");
