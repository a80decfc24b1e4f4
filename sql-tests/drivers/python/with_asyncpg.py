"""asyncpg: everything is prepared and binary, and types are looked up in pg_type when they are first met."""

import asyncio
import json

import asyncpg
from checks import *


async def connect():
    connection = await asyncpg.connect(URL)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    return connection


loop = asyncio.new_event_loop()
connection = loop.run_until_complete(connect())


def async_check(test):
    def run():
        loop.run_until_complete(asyncio.wait_for(test(), 60))
    run.__name__ = test.__name__
    return check(run)


async def code(sql, *parameters):
    try:
        await connection.fetch(sql, *parameters)
    except asyncpg.PostgresError as error:
        return error.sqlstate
    return None


@async_check
async def values_of_every_type_go_both_ways():
    for number, (type_, values) in enumerate(VALUES + ARRAYS + [("jsonb", [DOCUMENT])]):
        table = f"v{number}"
        await connection.execute(f"create table {table} (id integer primary key, c {type_})")
        for id, value in enumerate(values + [None]):
            await connection.execute(f"insert into {table} values ($1, $2)", id, value)
            expect(type_, await connection.fetchval(f"select c from {table} where id = $1", id), value)
            expect(type_, await connection.fetchval(f"select $1::{type_}", value), value)


@async_check
async def batches_are_written():
    await connection.execute("create table batch (id integer primary key, name text, n numeric(10,2))")
    await connection.execute("create materialized view total as select count(*) as n, sum(id) as ids from batch")
    await connection.executemany("insert into batch values ($1, $2, $3)",
                                 [(i, f"n{i}", Decimal(i)) for i in range(1000)])
    await connection.execute("insert into batch select * from unnest($1::int[], $2::text[], $3::numeric[])",
                             list(range(1000, 2000)), ["u"] * 1000, [None] * 1000)
    copied = await connection.copy_records_to_table("batch", records=[(i, None, Decimal("0.5")) for i in range(2000, 3000)])
    expect("copied", copied, "COPY 1000")
    expect("total", tuple(await connection.fetchrow("select * from total")), (3000, sum(range(3000))))
    # A batch that fails leaves nothing: asyncpg sends it as one.
    try:
        await connection.executemany("insert into batch (id) values ($1)", [(7000,), (7001,), (1,)])
        raise AssertionError("a key was taken twice")
    except asyncpg.UniqueViolationError:
        pass
    expect("after a failed batch", await connection.fetchval("select count(*) from batch where id >= 7000"), 0)
    expect("status", await connection.execute("delete from batch where id >= 2500"), "DELETE 500")


@async_check
async def prepared_statements_are_described():
    statement = await connection.prepare("select id, name, n + $1 as m from batch where id < $2 order by id")
    expect("parameters", [p.name for p in statement.get_parameters()], ["numeric", "int4"])
    expect("columns", [(a.name, a.type.name) for a in statement.get_attributes()],
           [("id", "int4"), ("name", "text"), ("m", "numeric")])
    expect("rows", [tuple(r) for r in await statement.fetch(Decimal("0.25"), 2)],
           [(0, "n0", Decimal("0.25")), (1, "n1", Decimal("1.25"))])
    many = await statement.fetchmany([(Decimal(1), 1), (Decimal(2), 1)])
    expect("many", [float(r["m"]) for r in many], [1.0, 2.0])
    await connection.execute("alter table batch rename column name to label")
    try:
        await connection.execute("create table other as select 1 as a")
        expect("made anew", await connection.fetchval("select label from batch where id = $1", 1), "n1")
    finally:
        await connection.execute("alter table batch rename column label to name")


@async_check
async def parameters_take_the_types_that_functions_want():
    await connection.execute("create table typed (a integer, b text, c timestamp, j jsonb)")
    for sql, wanted in [
        ("select left(b, $1), repeat(b, $2) from typed", ["int4", "int4"]), ("select abs($1)", ["float8"]),
        ("select round($1, 2)", ["numeric"]), ("select substr($1, $2, $3)", ["text", "int4", "int4"]),
        ("select lpad(b, $1, $2) from typed", ["int4", "text"]), ("select generate_series(1, $1)", ["int4"]),
        ("select make_date($1, $2, 1)", ["int4", "int4"]), ("select to_timestamp($1)", ["float8"]),
        ("select array_length(array[1], $1)", ["int4"]), ("select lag(a, $1) over () from typed", ["int4"]),
        ("select coalesce($1, a), greatest(a, $2), nullif(a, $3) from typed", ["int4", "int4", "int4"]),
        ("select case when $1 then a else $2 end from typed", ["bool", "int4"]), ("select not $1", ["bool"]),
        ("select date_bin($1, c, $2) from typed", ["interval", "timestamp"]), ("select pg_cancel_backend($1)", ["int4"]),
        ("select encode($1, 'hex')", ["bytea"]), ("select j -> $1 from typed", ["text"]),
        ("select a from typed limit $1 offset $2", ["int8", "int8"]), ("update typed set a = a + $1 where b like $2", ["int4", "text"]),
    ]:
        statement = await connection.prepare(sql)
        expect(sql, [p.name for p in statement.get_parameters()], wanted)


@async_check
async def cursors_give_rows_in_pieces():
    async with connection.transaction():
        ids = [row["id"] async for row in connection.cursor("select id from batch where id >= $1 order by id", 10, prefetch=300)]
        expect("ids", ids, list(range(10, 2500)))
        cursor = await connection.cursor("select id from batch order by id")
        await cursor.forward(5)
        expect("fetched", [row["id"] for row in await cursor.fetch(3)], [5, 6, 7])
        expect("one", (await cursor.fetchrow())["id"], 8)


@async_check
async def a_query_is_cancelled():
    task = asyncio.ensure_future(connection.fetch(ENDLESS))
    other = await asyncpg.connect(URL)
    while not task.done():
        await asyncio.sleep(0.5)
        stopped = await other.fetchval("select pg_cancel_backend($1)", connection.get_server_pid())
        expect("stopped", stopped, True)
    try:
        await task
        raise AssertionError("the query ended by itself")
    except asyncpg.QueryCanceledError:
        pass
    # A timeout on the client's side sends a cancel request.
    try:
        await connection.fetch(ENDLESS, timeout=0.3)
        raise AssertionError("the query ended by itself")
    except asyncio.TimeoutError:
        pass
    expect("next", await connection.fetchval("select 1"), 1)
    await other.close()


@async_check
async def transactions_commit_and_roll_back():
    await connection.execute("create table tx (id integer primary key, n bigint)")
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("insert into tx values (1, 1)")
    await transaction.rollback()
    expect("rolled back", await connection.fetch("select * from tx"), [])
    async with connection.transaction(isolation="serializable"):
        await connection.execute("insert into tx values (1, 1)")
        expect("own write", await connection.fetchval("select n from tx"), 1)
    async with connection.transaction():
        await connection.execute("update tx set n = 2")
        try:
            async with connection.transaction():
                await connection.execute("update tx set n = 3")
                await connection.execute("select 1/0")
        except asyncpg.DivisionByZeroError:
            pass
        expect("savepoint", await connection.fetchval("select n from tx"), 2)
    other = await asyncpg.connect(URL)
    mine, theirs = connection.transaction(isolation="repeatable_read"), other.transaction(isolation="repeatable_read")
    for transaction, one in ((mine, connection), (theirs, other)):
        await transaction.start()
        expect("n", await one.fetchval("select n from tx"), 2)
    await connection.execute("update tx set n = n + 1")
    await mine.commit()
    try:
        await other.execute("update tx set n = n + 10")
        await theirs.commit()
        raise AssertionError("the second writer was not refused")
    except asyncpg.SerializationError:
        pass
    await other.close()
    expect("the first one's", await connection.fetchval("select n from tx"), 3)


@async_check
async def copy_goes_both_ways():
    import io
    out = io.BytesIO()
    await connection.copy_from_query("select id, name from batch where id < $1 order by id", 2, output=out, format="csv")
    expect("csv", out.getvalue(), b"0,n0\n1,n1\n")
    await connection.execute("create table copied (id integer, name text)")
    expect("in", await connection.copy_to_table("copied", source=io.BytesIO(b"1,a\n2,\n"), format="csv"), "COPY 2")
    await connection.copy_records_to_table("copied", records=[(3, "c")], columns=["id", "name"])
    out = io.BytesIO()
    await connection.copy_from_table("copied", output=out, columns=["id"])
    expect("out", sorted(out.getvalue().split()), [b"1", b"2", b"3"])


@async_check
async def errors_have_postgresqls_codes():
    for sql, parameters, wanted in [
        ("select * from nowhere", (), "42P01"), ("select nothing from batch", (), "42703"), ("selec 1", (), "42601"),
        ("select $1::text::integer", ("x",), "22P02"), ("select 1/$1::integer", (0,), "22012"),
        ("insert into batch (id) values ($1)", (10,), "23505"), ("insert into batch (id) values ($1)", (None,), "23502"),
        ("select $1::integer::smallint", (70000,), "22003"), ("select nofunction()", (), "42883"),
    ]:
        expect(sql, await code(sql, *parameters), wanted)


@async_check
async def a_pool_resets_its_connections():
    pool = await asyncpg.create_pool(URL, min_size=1, max_size=2)
    async with pool.acquire() as one:
        await one.execute("set statement_timeout = '123ms'")
        await one.execute("create temporary table mine (id integer)")
    async with pool.acquire() as one:
        expect("reset", await one.fetchval("show statement_timeout"), "0")
    await pool.close()


@async_check
async def rows_and_composites_are_introspected():
    expect("version", connection.get_server_version().major, 15)
    # A type that the driver does not know makes it ask pg_type, with its attributes and its elements.
    expect("oids", await connection.fetchval("select array_agg(oid order by oid) from pg_type where typname in ('int4', 'text')"), [23, 25])
    expect("names", await connection.fetchval("select $1::name", "a"), "a")
    expect("regclass", await connection.fetchval("select 'batch'::regclass::text"), "batch")


loop.run_until_complete(connection.close())
finish()
