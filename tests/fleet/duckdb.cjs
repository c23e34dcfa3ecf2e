// Runs statements in DuckDB, under Node: node duckdb.cjs PACKAGES < STATEMENTS
// Writes the rows of each that has some, an array of JSON a line; integers are texts.
const { DuckDBInstance } = require(`${process.argv[2]}/node_modules/@duckdb/node-api`);
(async () => {
  const connection = await (await DuckDBInstance.create(":memory:")).connect();
  const text = require("node:fs").readFileSync(0, "utf8");
  for (const extracted = await connection.extractStatements(text), i = { at: 0 }; i.at < extracted.count; i.at++) {
    const prepared = await extracted.prepare(i.at);
    const reader = await prepared.runAndReadAll();
    if (reader.columnCount > 0 && prepared.statementType === 1) {
      console.log(JSON.stringify(reader.getRowObjectsJson()));
    }
  }
})().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
