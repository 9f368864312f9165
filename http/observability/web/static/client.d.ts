// Types of client.js.

/** `connecting` until the first snapshot, `stale` while the server is connected and sends none, `lost` while it is not. */
export type State = "connecting" | "live" | "stale" | "lost" | "refused" | "closed";

type Json = string | number | boolean | null | Json[] | { [name: string]: Json };

export interface Snapshot {
  type: "metrics_update";
  seq: number;
  epoch: string;
  timestamp: string;
  mono_ns: number;
  age_ms: Record<string, number | null>;
  market_data: Record<string, Record<string, any>>;
  strategy: Record<string, any>;
  execution: Record<string, any>;
  system: Record<string, any>;
  [custom: string]: any;
}

/** An entry of a lane: `prev` is the `seq` of the one before it in the same filter. */
export interface Entry {
  type: "trade" | "alert" | "booking" | "order";
  seq: number;
  prev: number;
  timestamp: string;
  [field: string]: Json;
}

export interface StreamOptions {
  /** Sections, custom collectors, `metrics` for all of these (the default), and the lanes `trades`, `alerts`, `bookings` and `orders`. */
  channels?: string[];
  symbols?: string[];
  /** With `delta` fewer bytes come, and the same snapshots. */
  mode?: "full" | "delta";
  token?: string | null;
  /** Resumes lanes after the `seq` that an earlier `laneSeqs` had. */
  laneSince?: Record<string, number>;
  /** Called with the member `past` of a message about the past: time, state, speed, ends of the recording. */
  onpast?(past: Record<string, unknown>): void;
  /** Further parameters of the URL. */
  parameters?: Record<string, string>;
  onsnapshot?: (snapshot: Snapshot) => void;
  onentry?: (entry: Entry) => void;
  /** Called with the answers to `painted`. */
  onpainted?: (answer: Json) => void;
  onstate?: (state: State) => void;
  /** The class to use where there is no global one. */
  WebSocket?: typeof WebSocket;
}

/** Yields lane entries one by one and of the snapshots the newest; ends with `close`. */
export class Stream implements AsyncIterable<Snapshot | Entry> {
  constructor(url: string | URL, options?: StreamOptions);
  readonly state: State;
  readonly snapshot: Snapshot | null;
  readonly skippedFrames: number;
  readonly lostEntries: number;
  readonly laneSeqs: Record<string, number>;
  /** When the newest message came, by `performance.now()`. */
  readonly receivedAt: number;
  /** Changes what the stream brings; the next snapshot is whole, and of the new view. */
  subscribe(view: { channels?: string[]; symbols?: string[] }): void;
  /** Connects now, if the next attempt is only due later: when the network or the page has come back. */
  retry(): void;
  /** Sends a message that the server knows; returns whether there was a connection. */
  send(message: Json): boolean;
  close(): void;
  [Symbol.asyncIterator](): AsyncIterator<Snapshot | Entry>;
}

export function applyDelta(held: Snapshot, delta: Json, groups: string[][]): Snapshot;
