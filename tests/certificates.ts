/** Certificates for servers of tests. */
import assert from "node:assert/strict";

/** Makes a certificate authority in a folder, and a certificate of 127.0.0.1 and localhost by it. */
export async function makeCertificates(
  folder: string,
): Promise<{ authority: string; certificate: string; key: string }> {
  const script = `set -e; cd "$1"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf
    printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\nbasicConstraints=CA:FALSE' > ext
    openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out leaf.pem`;
  const { success, stderr } = await new Deno.Command("sh", { args: ["-c", script, "sh", folder] }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return { authority: `${folder}/ca.pem`, certificate: `${folder}/leaf.pem`, key: `${folder}/leaf.key` };
}
