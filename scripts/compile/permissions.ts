/**
 * What the executable may do and what it sees of its surroundings, whichever way it is made.
 *
 * Permissions are a process's, not a command's, so each is what the most demanding command needs; a list is given
 * where the needs are known when the program is built.
 */

/** Flags of `deno compile` and `deno run`. There is no --allow-import, and nothing is asked for. */
export const PERMISSIONS: readonly string[] = [
  "--allow-read", // the paths that a user names
  "--allow-write", // the folders that a user names
  // Not a list of libraries: for one, Deno takes a name such as libbpf.so.1 for a file in the working folder.
  "--allow-ffi",
  "--allow-net", // S3 endpoints that a user names
  // Not `IBSR_*`: all names are looked through, to tell a user of a misspelt one, and a list forbids that.
  "--allow-env",
  "--allow-run", // a credential_process; every command without one gives it up before anything else
  "--allow-sys=hostname,uid,osRelease,statfs,networkInterfaces",
];

/**
 * Variables that an embedded executable sees, by the beginnings of `NAME=`: ibsr's own, what the systems around it
 * define for any program, and what Deno reads for TLS, proxies and time zones. All others are gone before Deno
 * starts, among them DENO_*, NODE_*, OTEL_*, SSLKEYLOGFILE and COMPLETE, with which Deno's own behaviour changes.
 */
export const KEPT: readonly string[] = [
  ...["IBSR_", "AWS_", "S3_"],
  ...["SSH_CONNECTION=", "SSH_CLIENT="],
  ...["JOURNAL_STREAM=", "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=", "INVOCATION_ID=", "LISTEN_"],
  ...[
    "CREDENTIALS_DIRECTORY=",
    "STATE_DIRECTORY=",
    "RUNTIME_DIRECTORY=",
    "CONFIGURATION_DIRECTORY=",
    "LOGS_DIRECTORY=",
  ],
  "SOURCE_DATE_EPOCH=",
  ...["USER=", "PATH=", "TMPDIR=", "TZ=", "LANG=", "LC_", "TERM=", "COLORTERM=", "NO_COLOR=", "COLUMNS="],
  ...["HTTP_PROXY=", "HTTPS_PROXY=", "ALL_PROXY=", "NO_PROXY="],
  ...["http_proxy=", "https_proxy=", "all_proxy=", "no_proxy="],
  ...["SSL_CERT_FILE=", "SSL_CERT_DIR="],
];

/**
 * HOME goes by another name until Deno has started: it would read a .npmrc there, and fail if that is no such file.
 * The bundle's first lines put it back.
 */
export const HIDDEN = ["HOME", "home"] as const;

/**
 * Variables that an embedded executable sets: a home in which there is nothing and nobody can put something; a
 * folder for caches that can't be made, so that they stay in memory, and no word on a terminal about that; no look for
 * a newer Deno; no `node` put on PATH.
 */
export const ADDED: Record<string, string> = {
  HOME: "/proc",
  DENO_DIR: "/proc/none",
  DENO_LOG: "error,deno::cache=off",
  DENO_NO_UPDATE_CHECK: "1",
  DENO_DISABLE_NODE_SHIM: "1",
};

/**
 * V8's settings. Hot functions are compiled on the main thread: the threads that would do it keep 5 MB for ever, a
 * tenth of an idle collector, and save it some milliseconds in its first snapshots. Young objects get 1 MB, not 16: it
 * takes that much and never gives it back, where 1 MB is as fast for what ibsr does. Old objects are collected when they
 * have become twice as many: by itself V8 waits until they are several times as many, the more the more memory
 * the machine has; `ibsr simulate` then takes 0.9 GB where 0.14 GB are in use.
 */
export const V8_FLAGS = "--v8-flags=--no-concurrent-recompilation,--max-semi-space-size=1,--heap-growing-percent=100";

/** What a program made by `deno compile` does by its nature and `deno run` is told to: use nothing around it. */
export const RUN: readonly string[] = [
  ...["deno", "run", "--quiet", "--ext=js", "--no-prompt", "--no-code-cache"],
  ...["--no-config", "--no-lock", "--no-remote", "--no-npm", "--cached-only", "--node-modules-dir=none"],
];
