/**
 * The systemd units, as text: the collector, and the export with its timer.
 *
 * A unit states everything that its program needs, and denies the rest. Two usual settings are missing on purpose:
 * `MemoryDenyWriteExecute=` (V8 compiles at run time and ends at once under it) and `PrivateUsers=` of the collector
 * (its capabilities would be those of another user namespace, where bpf() refuses them). Pure: it writes no files
 * and runs no command.
 *
 * @see systemd.exec(5), systemd.service(5), systemd.timer(5)
 */

/** What the units are made for. */
export interface UnitOptions {
  /** The program with what comes before its command, each part as it is: `["/usr/bin/ibsr"]`. */
  program: readonly string[];
  /** The operator's own arguments of `ibsr collect`. */
  collect: readonly string[];
  /** Those of `ibsr export …`, its words included; undefined if no export is wanted. */
  exports: readonly string[] | undefined;
  /** The spool's directory, absolute. */
  directory: string;
  /** Other directories that the collector writes to. */
  writable: readonly string[];
  /** An existing system user; undefined lets systemd make one for the time that a unit runs. */
  user: string | undefined;
}

/** A file's name and text. */
export interface Unit {
  name: string;
  text: string;
}

const STATE = "/var/lib/";
/** The user's name, where systemd makes it: both services' state is theirs together. */
const DYNAMIC_USER = "ibsr";

/** Whether systemd can make the directory itself, as a state directory. */
export function isStateDirectory(directory: string): boolean {
  return directory.startsWith(STATE) && directory.length > STATE.length && !directory.split("/").includes("..");
}

/** The units, in the order in which they are installed. */
export function renderUnits(options: UnitOptions): Unit[] {
  const units = [{ name: "ibsr.service", text: collectService(options) }];
  if (options.exports === undefined) return units;
  return [
    ...units,
    { name: "ibsr-export.service", text: exportService(options, options.exports) },
    { name: "ibsr-export.timer", text: EXPORT_TIMER },
  ];
}

function collectService(options: UnitOptions): string {
  return `[Unit]
Description=IBSR: counts TCP traffic by source in XDP, and blocks nothing
Documentation=man:ibsr(1)
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
WatchdogSec=60
ExecStart=${commandLine([...options.program, "collect", ...options.collect])}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5
# A wrong command line or config file doesn't get better by itself.
RestartPreventExitStatus=64
TimeoutStopSec=60

${identity(options)}${options.writable.map((path) => `ReadWritePaths=-${quote(path)}\n`).join("")}
# What bpf(), the verifier's leave for packet pointers, and attaching to an interface take.
AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_PERFMON
CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_PERFMON

${SANDBOX}
# Sockets: to systemd, and to ask the kernel about interfaces. Packets are counted, none is sent.
RestrictAddressFamilies=AF_UNIX AF_NETLINK
IPAddressDeny=any
SystemCallFilter=@system-service @pkey
SystemCallFilter=~@privileged @resources
SystemCallFilter=bpf @chown prlimit64
# Kernels before 5.11 count the maps against this.
LimitMEMLOCK=infinity

[Install]
WantedBy=multi-user.target
`;
}

function exportService(options: UnitOptions, command: readonly string[]): string {
  return `[Unit]
Description=IBSR: uploads sealed segments
Documentation=man:ibsr(1)
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
ExecStart=${commandLine([...options.program, ...command])}
# AWS_ACCESS_KEY_ID= and AWS_SECRET_ACCESS_KEY=, where they don't come from elsewhere.
EnvironmentFile=-/etc/ibsr/export.env
TimeoutStartSec=50min
Nice=10
IOSchedulingClass=idle

${identity(options)}
CapabilityBoundingSet=
PrivateUsers=yes

${SANDBOX}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallFilter=@system-service @pkey
SystemCallFilter=~@privileged @resources
SystemCallFilter=prlimit64
`;
}

const EXPORT_TIMER =
  `# To be enabled once the config file names a bucket, "export s3": { "bucket": … }: each run fails without.
[Unit]
Description=IBSR: uploads sealed segments, hourly

[Timer]
OnCalendar=hourly
# Not all hosts at once; each at the same minute of every hour.
RandomizedDelaySec=30min
FixedRandomDelay=yes
# What was missed while the host was off is made up for.
Persistent=yes

[Install]
WantedBy=timers.target
`;

/** User and spool. */
function identity({ user, directory }: UnitOptions): string {
  const who = user === undefined ? `DynamicUser=yes\nUser=${DYNAMIC_USER}\n` : `User=${user}\nGroup=${user}\n`;
  if (!isStateDirectory(directory)) return `${who}ReadWritePaths=${quote(directory)}\n`;
  const state = directory.slice(STATE.length).split("/")[0]!;
  return `${who}StateDirectory=${quote(state)}\nStateDirectoryMode=0750\n`;
}

/** What neither service needs. */
const SANDBOX = `UMask=0027
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM`;

/** A command line as systemd reads it: quoted where it must be, nothing expanded. */
export function commandLine(words: readonly string[]): string {
  return words.map((word) => quote(word).replaceAll("$", "$$$$")).join(" ");
}

/** One word of a setting: specifiers (`%`) are not expanded, spaces and quotes are its own. */
function quote(word: string): string {
  const escaped = word.replaceAll("%", "%%");
  if (/^[^\s"'\\;]+$/.test(escaped)) return escaped;
  return `"${escaped.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n").replaceAll("\t", "\\t")}"`;
}
