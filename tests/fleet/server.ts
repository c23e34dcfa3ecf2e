/**
 * A real ClickHouse server for tests: Debian's 18.16, on loopback, in a folder of its own.
 *
 * It is of 2018: it speaks today's protocol (users, errors, ids, KILL QUERY) and not today's SQL; bound values and s3() came
 * later. Those are tested on chdb.
 */
import { makeCertificates } from "../certificates.ts";
import { UNPACKED } from "../needs.ts";

/** Who may ask. */
export const USER = { name: "ibsr", password: "s3cr3t/wörd+1" };

/** A running server; disposing of it ends it and deletes what it stored. */
export class ClickHouse implements AsyncDisposable {
  private constructor(
    readonly folder: string,
    readonly port: number,
    /** With TLS. */
    readonly securePort: number,
    readonly process: Deno.ChildProcess,
  ) {}

  static async start(): Promise<ClickHouse> {
    for (let tries = 1;; tries++) {
      const folder = await Deno.makeTempDir({ prefix: "ibsr-clickhouse-" });
      const port = 24_000 + 4 * Math.floor(Math.random() * 1000);
      await writeConfig(folder, port);
      const process = new Deno.Command(`${UNPACKED}/usr/sbin/clickhouse-server`, {
        args: [`--config-file=${folder}/config.xml`],
        ...{ stdin: "null", stdout: "null", stderr: "null" },
      }).spawn();
      const server = new ClickHouse(folder, port, port + 1, process);
      if (await server.#answers()) return server;
      await server[Symbol.asyncDispose]();
      if (tries === 3) throw new Error("clickhouse-server doesn't start");
    }
  }

  async #answers(): Promise<boolean> {
    for (let i = 0; i < 100; i++) {
      const text = await fetch(`http://127.0.0.1:${this.port}/ping`).then((r) => r.text(), () => "");
      if (text === "Ok.\n") return true;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return false;
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${this.port}`);
  }

  get secureUrl(): URL {
    return new URL(`https://localhost:${this.securePort}`);
  }

  /** Who vouches for its certificate. */
  get authority(): string {
    return `${this.folder}/ca.pem`;
  }

  /** Asks as the user who may do everything. */
  async ask(sql: string): Promise<string> {
    return await (await fetch(this.url, { method: "POST", body: sql })).text();
  }

  /** Everything that it has logged. */
  async log(): Promise<string> {
    return await Deno.readTextFile(`${this.folder}/log.txt`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.process.status;
    await Deno.remove(this.folder, { recursive: true });
  }
}

async function writeConfig(folder: string, port: number): Promise<void> {
  const { certificate, key } = await makeCertificates(folder);
  await Deno.writeTextFile(
    `${folder}/config.xml`,
    `<yandex>
  <logger><level>trace</level><log>${folder}/log.txt</log><errorlog>${folder}/errors.txt</errorlog></logger>
  <http_port>${port}</http_port><https_port>${port + 1}</https_port><tcp_port>${port + 2}</tcp_port>
  <listen_host>127.0.0.1</listen_host>
  <openSSL><server><certificateFile>${certificate}</certificateFile><privateKeyFile>${key}</privateKeyFile>
    <verificationMode>none</verificationMode></server></openSSL>
  <path>${folder}/store/</path><tmp_path>${folder}/tmp/</tmp_path>
  <users_config>users.xml</users_config><default_profile>default</default_profile>
  <default_database>default</default_database><mark_cache_size>5242880</mark_cache_size>
  <query_log><database>system</database><table>query_log</table></query_log>
</yandex>`,
  );
  await Deno.writeTextFile(
    `${folder}/users.xml`,
    `<yandex>
  <profiles><default><max_memory_usage>200000000</max_memory_usage></default></profiles>
  <quotas><default></default></quotas>
  <users>${
      [["default", ""], [USER.name, USER.password]].map(([name, password]) =>
        `<${name}><password>${password}</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile>
    <quota>default</quota></${name}>`
      ).join("")
    }</users>
</yandex>`,
  );
}
