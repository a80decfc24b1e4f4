// node-pg: values come as text in objects of JavaScript's, parameters go apart from the statement and are typed by the server.

const assert = require('node:assert').strict
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const pg = require('pg')
const Cursor = require('pg-cursor')
const { from: copyFrom, to: copyTo } = require('pg-copy-streams')

// What node-pg leaves as text because JavaScript has no such number, and days that have no zone.
const URL = process.env.TIDEWATER_URL
const ENDLESS = 'select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b where (a * 7 + b) % 11 = 3'
pg.types.setTypeParser(1082, (text) => text)
pg.types.setTypeParser(1114, (text) => text)

const failures = []

async function check(name, test) {
  const began = Date.now()
  try {
    await test()
    console.log(`ok     ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`)
  } catch (error) {
    failures.push(name)
    console.log(`FAILED ${name}: ${error.stack}`)
  }
}

async function connect() {
  const client = new pg.Client({ connectionString: URL })
  await client.connect()
  return client
}

async function code(client, sql, values) {
  try {
    await client.query(sql, values)
  } catch (error) {
    return error.code
  }
}

const VALUES = [
  ['boolean', [true, false]],
  ['smallint', [0, -32768, 32767]],
  ['integer', [0, -2147483648, 2147483647]],
  ['bigint', ['-9223372036854775808', '9223372036854775807']],
  ['real', [1.5, -Infinity, NaN]],
  ['double precision', [0.1, 5e-324, -1.7976931348623157e308, Infinity, NaN]],
  ['numeric(30,10)', ['-12345678901234567890.0123456789', '0.0000000000']],
  ['text', ['', "a'b\\c\"\n\t", 'äöü € 😀', 'x'.repeat(100000)]],
  ['bytea', [Buffer.alloc(0), Buffer.from(Array.from({ length: 256 }, (_, i) => i))]],
  ['date', ['0001-01-01', '2024-02-29', '9999-12-31']],
  ['time', ['00:00:00', '23:59:59.999999']],
  ['timestamp', ['2024-02-29 12:30:15.123456']],
  ['timestamptz', [new Date(0), new Date('2024-07-01T23:59:59.001Z')]],
  ['uuid', ['123e4567-e89b-12d3-a456-426614174000']],
  ['jsonb', [{ a: [1, 2.5, null, 'ä'] }, 'text', 5, true]],
  ['integer[]', [[], [1, null, -2147483648]]],
  ['text[]', [[], ['', 'a b', 'NULL', null, '"q",{}\\', '€']]],
  ['boolean[]', [[true, null]]],
  ['double precision[]', [[1.5, null]]],
]

async function main() {
  const client = await connect()
  const query = async (sql, values) => (await client.query(sql, values)).rows

  await check('values of every type go both ways', async () => {
    for (const [number, [type, values]] of VALUES.entries()) {
      await client.query(`create table v${number} (id integer primary key, c ${type})`)
      for (const [id, value] of [...values, null].entries()) {
        const sent = type === 'jsonb' && value !== null ? JSON.stringify(value) : value
        await client.query(`insert into v${number} values ($1, $2)`, [id, sent])
        assert.deepEqual(await query(`select c from v${number} where id = $1`, [id]), [{ c: value }], type)
        assert.deepEqual(await query(`select $1::${type} as c`, [sent]), [{ c: value }], type)
      }
    }
    const [{ i }] = await query("select $1::interval as i", ['1 year 2 mons -3 days 04:05:06.007'])
    assert.deepEqual({ ...i }, { years: 1, months: 2, days: -3, hours: 4, minutes: 5, seconds: 6, milliseconds: 7 })
  })

  await check('named statements are prepared once', async () => {
    await client.query('create table named (id integer primary key, name text)')
    const insert = { name: 'insert', text: 'insert into named values ($1, $2) returning id, name' }
    for (let id = 0; id < 20; id++) {
      const { rows, rowCount, command } = await client.query({ ...insert, values: [id, `n${id}`] })
      assert.deepEqual([rows, rowCount, command], [[{ id, name: `n${id}` }], 1, 'INSERT'])
    }
    const { rows, fields } = await client.query({ text: 'select id, name from named where id < $1 order by id', values: [2], rowMode: 'array' })
    assert.deepEqual(rows, [[0, 'n0'], [1, 'n1']])
    assert.deepEqual(fields.map((field) => [field.name, field.dataTypeID]), [['id', 23], ['name', 25]])
  })

  await check('batches are written', async () => {
    await client.query('create materialized view total as select count(*) as n, sum(id) as ids from named')
    const ids = Array.from({ length: 2000 }, (_, i) => i + 20)
    await client.query('insert into named select * from unnest($1::integer[], $2::text[])', [ids, ids.map((id) => `u${id}`)])
    for (let id = 3000; id < 3050; id++) await client.query('insert into named values ($1, $2)', [id, null])
    assert.deepEqual(await query('select n from total'), [{ n: '2070' }])
    const [inserted, selected] = await client.query('insert into named values (4000, null); select count(*)::integer as n from named')
    assert.deepEqual([inserted.rowCount, selected.rows], [1, [{ n: 2071 }]])
  })

  await check('cursors give rows in pieces', async () => {
    const cursor = client.query(new Cursor('select id from named where id >= $1 order by id', [10]))
    assert.equal((await cursor.read(100)).length, 100)
    assert.deepEqual((await cursor.read(1))[0], { id: 110 })
    await cursor.close()
    assert.deepEqual(await query('select 1 as a'), [{ a: 1 }])
  })

  await check('a query is cancelled from another connection', async () => {
    const other = await connect()
    setTimeout(() => other.query('select pg_cancel_backend($1)', [client.processID]), 1000)
    assert.equal(await code(client, ENDLESS), '57014')
    await client.query("set statement_timeout = '200ms'")
    assert.equal(await code(client, ENDLESS), '57014')
    await client.query('reset statement_timeout')
    await other.end()
  })

  await check('transactions commit and roll back', async () => {
    const other = await connect()
    await client.query('create table tx (id integer primary key, n integer)')
    await client.query('begin')
    await client.query('insert into tx values ($1, $2)', [1, 1])
    assert.deepEqual((await other.query('select * from tx')).rows, [])
    await client.query('commit')
    await client.query('begin')
    assert.equal(await code(client, 'insert into tx values (1, 1)'), '23505')
    assert.equal(await code(client, 'select 1'), '25P02')
    await client.query('rollback')
    for (const one of [client, other]) {
      await one.query('begin isolation level repeatable read')
      assert.deepEqual((await one.query('select n from tx')).rows, [{ n: 1 }])
    }
    await client.query('update tx set n = 2')
    await client.query('commit')
    const refused = (await code(other, 'update tx set n = 3')) ?? (await code(other, 'commit'))
    assert.equal(refused, '40001')
    await other.query('rollback')
    assert.deepEqual(await query('select n from tx'), [{ n: 2 }])
    await other.end()
  })

  await check('copy goes both ways', async () => {
    await client.query('create table copied (id integer primary key, name text)')
    const lines = Array.from({ length: 1000 }, (_, i) => `${i}\tn${i}\n`)
    await pipeline(Readable.from(lines), client.query(copyFrom('copy copied from stdin')))
    let out = ''
    for await (const chunk of client.query(copyTo('copy (select * from copied order by id) to stdout'))) out += chunk
    assert.equal(out, lines.join(''))
  })

  await check('errors have PostgreSQL\'s codes', async () => {
    for (const [sql, values, wanted] of [
      ['select * from nowhere', [], '42P01'], ['select nothing from named', [], '42703'], ['selec 1', [], '42601'],
      ['select $1::integer', ['x'], '22P02'], ['select 1 / $1::integer', [0], '22012'],
      ['insert into named values ($1, $2)', [1, 'a'], '23505'], ['insert into named values ($1, $2)', [null, 'a'], '23502'],
      ['select $1::integer::smallint', [70000], '22003'], ['select nofunction($1)', [1], '42883'],
      ['select $1', [], '42P02'],
    ]) {
      assert.equal(await code(client, sql, values), wanted, sql)
    }
    const error = await client.query('insert into named values (1)').catch((error) => error)
    assert.deepEqual([error.severity, error.table, error.constraint, error.detail],
      ['ERROR', 'named', 'named_pkey', 'Key (id)=(1) already exists.'])
  })

  await check('a pool shares its connections', async () => {
    const pool = new pg.Pool({ connectionString: URL, max: 4 })
    const rows = await Promise.all([...Array(100).keys()].map((i) => pool.query('select $1::integer as i', [i])))
    assert.deepEqual(rows.map((result) => result.rows[0].i), [...Array(100).keys()])
    await pool.end()
  })

  await client.end()
  if (failures.length) {
    console.log(`failed: ${failures.join(', ')}`)
    process.exit(1)
  }
}

main()
