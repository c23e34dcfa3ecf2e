/**
 * The text of an answer, up to a limit: whoever answers may go on for ever.
 */

/**
 * Reads a body as UTF-8, and leaves off when it is longer than `most` bytes.
 *
 * @throws {Error} if it is longer; what the body throws.
 */
export async function readText(body: AsyncIterable<Uint8Array> | null, most: number): Promise<string> {
  const decoder = new TextDecoder();
  let text = "", length = 0;
  for await (const chunk of body ?? []) {
    length += chunk.length;
    if (length > most) throw new Error(`an answer of more than ${most} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
