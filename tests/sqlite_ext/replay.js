// replay.js - run the pairs that statements.py dumped on the SQLite inside a Node package.
//
// Usage: node replay.js PACKAGE EXTENSION DUMP
'use strict';
const fs = require('fs');
const [, , name, extension, dump] = process.argv;
const Database = require(name);
let db = null, done = 0, wrong = 0;

function key(value) {
    if (Buffer.isBuffer(value)) return 'x' + value.toString('hex');
    return typeof value + ':' + String(value);
}

// Automatic indexes lose rows of `x IS ? COLLATE RTRIM` in a join (SQLite 3.40.1): none for the oracle.
function run(sql, parameters, ordered, isOracle) {
    let rows;
    db.exec('PRAGMA automatic_index = ' + (isOracle ? 0 : 1));
    try {
        rows = db.prepare(sql).raw().all(parameters).map((row) => row.map(key).join('|'));
    } catch (error) {
        return 'error: ' + error.message;
    }
    return (ordered ? rows : rows.sort()).join('\n');
}

for (const line of fs.readFileSync(dump, 'utf8').split('\n')) {
    if (!line) continue;
    const item = JSON.parse(line);
    if (item.setup) {
        if (db) db.close();
        db = new Database(':memory:');
        db.loadExtension(extension);
        for (const sql of item.setup) db.exec(sql);
        continue;
    }
    const got = run(item.a, item.parameters, item.ordered, false);
    const expected = run(item.b, item.parameters, item.ordered, true);
    done++;
    if (got !== expected || got.startsWith('error')) {
        wrong++;
        if (wrong <= 3)
            console.log('A ' + item.a + '\nB ' + item.b + '\n--- got\n' + got.slice(0, 800) +
                        '\n--- expected\n' + expected.slice(0, 800));
    }
}
console.log('SQLite ' + db.prepare('SELECT sqlite_version() AS v').get().v + ' (' + name + '): ' + done +
            ' statements, ' + wrong + ' differ');
process.exit(wrong ? 1 : 0);
