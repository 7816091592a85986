// Runs SQL queries by DuckDB: node query.js MODULES QUERY...
// MODULES is a folder above node_modules. Prints, as JSON, a list of results,
// each a list of rows, each a list of values as text.
const { createRequire } = require("node:module");
const path = require("node:path");

const [modules, ...queries] = process.argv.slice(2);
const { DuckDBInstance } = createRequire(path.join(modules, "x.js"))("@duckdb/node-api");

async function main() {
  const db = await DuckDBInstance.create(":memory:");
  const connection = await db.connect();
  const results = [];
  for (const query of queries) {
    const reader = await connection.runAndReadAll(query);
    results.push(reader.getRows().map((row) => row.map(String)));
  }
  console.log(JSON.stringify(results));
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
