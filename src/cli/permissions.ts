/**
 * Giving up what Deno lets this process do, once it is known what it needs.
 *
 * A right is given up as a whole: Deno takes no path or host out of one that was given for all. It can't be had back.
 */

const PERMISSIONS: readonly Deno.PermissionName[] = ["read", "write", "net", "env", "sys", "run", "ffi"];

/** From here on the process may do what is named, of what it may now, and nothing else. */
export function keepOnly(needed: readonly Deno.PermissionName[]): void {
  giveUp(...PERMISSIONS.filter((name) => !needed.includes(name)));
}

/** From here on the process may do nothing of what is named. */
export function giveUp(...names: Deno.PermissionName[]): void {
  for (const name of names) Deno.permissions.revokeSync({ name });
}
