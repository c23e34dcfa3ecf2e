/**
 * What a region's name is: options ask it, too. Pure.
 */

/** Whether it can be a region's name: it becomes part of a host name. */
export function isRegion(text: string): boolean {
  return /^[a-z0-9][a-z0-9-]{0,62}$/.test(text);
}
