/**
 * Makes a report's tables in the engine, runs statements on them, and removes them.
 */
import { type Parameter, type QueryEngine, type QueryOptions, streamRows } from "./engine.ts";
import { describeTables, type Workspace } from "./tables.ts";

/** What statements have in common. */
export interface WorkspaceOptions {
  signal?: AbortSignal | undefined;
  progress?: QueryOptions["progress"] | undefined;
}

/** Makes the tables. Disposing of the workspace removes them. */
export async function openWorkspace(engine: QueryEngine, options: WorkspaceOptions = {}): Promise<Workspace> {
  const { tables, ddl } = describeTables(`ibsr_${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}_`);
  const common: QueryOptions = {
    ...options.signal ? { signal: options.signal } : {},
    ...options.progress ? { progress: options.progress } : {},
  };
  const run = async (sql: string, parameters: Record<string, Parameter> = {}, more: QueryOptions = {}) => {
    const all = { ...more.parameters, ...parameters };
    for await (const _ of engine.query(withSettings(sql), { ...common, ...more, parameters: all }));
  };
  const workspace: Workspace = {
    tables,
    engine,
    run,
    rows: (sql, parameters = {}) => engine.rows(withSettings(sql), { ...common, parameters }),
    stream: (sql, parameters = {}) => streamRows(engine, withSettings(sql), { ...common, parameters }),
    async [Symbol.asyncDispose]() {
      for (const table of Object.values(tables)) {
        for await (const _ of engine.query(`DROP TABLE IF EXISTS ${table}`));
      }
    },
  };
  try {
    for (const statement of ddl) await run(statement);
  } catch (error) {
    await workspace[Symbol.asyncDispose]();
    throw error;
  }
  return workspace;
}

/**
 * A name is that of a column where there is one, as in SQL elsewhere, and not that of another result. What is added up by
 * what its table is sorted by is added up while it is read, in no memory.
 */
const SETTINGS = "prefer_column_name_to_alias = 1, optimize_aggregation_in_order = 1";

function withSettings(sql: string): string {
  if (!/^\s*(INSERT|SELECT|WITH)\b/.test(sql)) return sql;
  return /\bSETTINGS [^)]*$/.test(sql) ? `${sql}, ${SETTINGS}` : `${sql} SETTINGS ${SETTINGS}`;
}
