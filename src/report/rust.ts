/**
 * Numbers as Rust writes them, where JavaScript writes others: rounding to decimals, and floats in JSON. Pure.
 */

/**
 * `value` with `digits` decimals, rounded from its exact binary value, ties to even, as `{:.N}` of Rust does.
 * `toFixed()` rounds ties away from zero (6.25 to 6.3, not 6.2) and gives up at 1e21.
 */
export function formatFixed(value: number, digits: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const bits = new BigUint64Array(new Float64Array([Math.abs(value)]).buffer)[0]!;
  const exponent = Number(bits >> 52n), fraction = bits & (1n << 52n) - 1n;
  const mantissa = exponent === 0 ? fraction : fraction | 1n << 52n;
  const shift = BigInt(Math.max(exponent, 1) - 1075);
  // value = mantissa × 2^shift; in units of the last decimal that is a whole number over a power of two.
  const scaled = mantissa * 10n ** BigInt(digits);
  let units = shift >= 0n ? scaled << shift : scaled >> -shift;
  if (shift < 0n) {
    const rest = scaled - (units << -shift), half = 1n << -shift - 1n;
    if (rest > half || (rest === half && (units & 1n) === 1n)) units++;
  }
  const text = units.toString().padStart(digits + 1, "0");
  return digits === 0 ? sign + text : `${sign}${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** A float as serde_json writes it: the shortest that reads back, with `.0`, exponents below 1e-5 and from 1e16. */
export function formatJsonFloat(value: number): string {
  if (!Number.isFinite(value)) return "null";
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [, sign, first, rest = "", power] = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(value.toExponential())!;
  const exponent = Number(power);
  if (exponent >= 16 || exponent < -5) return `${sign}${first}${rest && `.${rest}`}e${exponent}`;
  const digits = first! + rest;
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}
