"""psycopg2: parameters are written into the statement, values come back as text."""

import io

import psycopg2
import psycopg2.extras
from checks import *

psycopg2.extras.register_uuid()
psycopg2.extras.register_default_jsonb()


def connect():
    connection = psycopg2.connect(URL)
    connection.autocommit = True
    return connection


connection = connect()
cursor = connection.cursor()


def query(sql, parameters=None):
    cursor.execute(sql, parameters)
    return cursor.fetchall()


def code(sql, parameters=None, on=None):
    try:
        (on or cursor).execute(sql, parameters)
    except psycopg2.Error as error:
        return error.pgcode
    return None


@check
def values_of_every_type_go_both_ways():
    for number, (type_, values) in enumerate(VALUES + ARRAYS + [("jsonb", [DOCUMENT])]):
        table = f"v{number}"
        cursor.execute(f"create table {table} (id integer primary key, c {type_})")
        for id, value in enumerate(values + [None]):
            sent = psycopg2.extras.Json(value) if type_ == "jsonb" and value is not None else value
            cursor.execute(f"insert into {table} values (%s, cast(%s as {type_}))", (id, sent))
            expect(type_, query(f"select c from {table} where id = %s", (id,))[0][0], value)
            expect(type_, query(f"select cast(%s as {type_})", (sent,))[0][0], value)


@check
def batches_are_written():
    cursor.execute("create table batch (id integer primary key, name text)")
    cursor.execute("create materialized view total as select count(*) as n, sum(id) as ids from batch")
    cursor.executemany("insert into batch values (%s, %s)", [(i, f"n{i}") for i in range(50)])
    rows = [(i, f"n{i}") for i in range(50, 2050)]
    psycopg2.extras.execute_values(cursor, "insert into batch values %s", rows, page_size=500)
    psycopg2.extras.execute_batch(
        cursor, "update batch set name = %s where id = %s", [(f"u{i}", i) for i in range(100)])
    returned = psycopg2.extras.execute_values(
        cursor, "insert into batch values %s on conflict (id) do update set name = excluded.name returning id, name",
        [(0, "zero"), (5000, "new")], fetch=True)
    expect("returned", sorted(returned), [(0, "zero"), (5000, "new")])
    expect("total", query("select * from total"), [(2051, sum(range(2050)) + 5000)])
    expect("rowcount", (cursor.execute("delete from batch where id < 10"), cursor.rowcount)[1], 10)
    expect("total", query("select n from total"), [(2041,)])


@check
def cursors_of_the_server_give_rows_in_pieces():
    connection.autocommit = False
    with connection.cursor(name="piecewise") as named:
        named.itersize = 300
        named.execute("select id from batch order by id")
        expect("first", named.fetchone(), (10,))
        expect("many", len(named.fetchmany(100)), 100)
        expect("rest", len(list(named)), 1940)
    connection.rollback()
    with connection.cursor(name="scrolling", scrollable=True) as named:
        named.execute("select id from batch order by id")
        named.scroll(20, mode="absolute")
        expect("absolute", named.fetchone(), (30,))
        named.scroll(-2)
        expect("back", named.fetchone(), (29,))
    connection.rollback()
    connection.autocommit = True


@check
def a_query_is_cancelled_from_another_thread():
    timer = later(connection.cancel)
    expect("code", code(ENDLESS), "57014")
    timer.join()
    expect("next", query("select 1"), [(1,)])


@check
def transactions_commit_and_roll_back():
    connection.autocommit = False
    cursor.execute("create table tx (id integer primary key, n integer)")
    connection.commit()
    cursor.execute("insert into tx values (1, 1)")
    connection.rollback()
    expect("rolled back", query("select count(*) from tx"), [(0,)])
    cursor.execute("insert into tx values (1, 1)")
    expect("own write", query("select n from tx"), [(1,)])
    connection.commit()
    expect("failure", code("insert into tx values (1, 2)"), "23505")
    expect("in a failed transaction", code("select 1"), "25P02")
    connection.rollback()
    with connection, connection.cursor() as inner:
        inner.execute("update tx set n = n + 1 where id = 1")
    other = psycopg2.connect(URL)
    mine, theirs = connection.cursor(), other.cursor()
    for one in (mine, theirs):
        one.execute("set transaction isolation level repeatable read")
        one.execute("select n from tx where id = 1")
        expect("n", one.fetchone(), (2,))
    mine.execute("update tx set n = 10 where id = 1")
    connection.commit()
    try:
        theirs.execute("update tx set n = 20 where id = 1")
        other.commit()
        raise AssertionError("the second writer was not refused")
    except psycopg2.errors.SerializationFailure:
        other.rollback()
    theirs.execute("select n from tx")
    expect("the first one's", theirs.fetchall(), [(10,)])
    other.close()
    connection.commit()
    connection.autocommit = True


@check
def copy_goes_both_ways():
    cursor.execute("create table copied (id integer primary key, name text)")
    cursor.copy_from(io.StringIO("1\tone\n2\t\\N\n"), "copied")
    cursor.copy_expert("copied".join(["copy ", " from stdin with (format csv, header)"]),
                       io.StringIO('id,name\n3,"a,b"\n'))
    out = io.StringIO()
    cursor.copy_expert("copy (select * from copied order by id) to stdout with csv", out)
    expect("copied", out.getvalue(), '1,one\n2,\n3,"a,b"\n')
    out = io.StringIO()
    cursor.copy_to(out, "copied", columns=("id",))
    expect("ids", sorted(out.getvalue().split()), ["1", "2", "3"])


@check
def errors_have_postgresqls_codes():
    for sql, wanted in [
        ("select * from nowhere", "42P01"), ("select nothing from batch", "42703"), ("selec 1", "42601"),
        ("select 'x'::integer", "22P02"), ("select 1/0", "22012"), ("select 32768::smallint", "22003"),
        ("insert into batch values (10, 'a'), (10, 'b')", "23505"), ("insert into batch values (null, 'a')", "23502"),
        ("select nofunction(1)", "42883"), ("create table batch (id integer)", "42P07"),
        ("select '2024-02-30'::date", "22008"), ("select 'x'::timestamp", "22007"),
    ]:
        expect(sql, code(sql), wanted)
    cursor.execute("create table checked (id integer primary key, n integer check (n > 0))")
    expect("check", code("insert into checked values (1, 0)"), "23514")
    try:
        cursor.execute("insert into batch values (10, 'again')")
    except psycopg2.errors.UniqueViolation as error:
        expect("table", error.diag.table_name, "batch")
        expect("constraint", error.diag.constraint_name, "batch_pkey")
        expect("detail", error.diag.message_detail, "Key (id)=(10) already exists.")


@check
def a_connection_knows_where_it_is():
    # What psycopg2 itself asks at the start.
    expect("status", connection.get_transaction_status(), psycopg2.extensions.TRANSACTION_STATUS_IDLE)
    expect("version", connection.server_version // 10000, 15)
    expect("encoding", connection.encoding, "UTF8")
    expect("columns", (cursor.execute("select 1::bigint as a, 'x'::text as b, 1.5::numeric(10,2) as c"),
                       [(c.name, c.type_code) for c in cursor.description])[1], [("a", 20), ("b", 25), ("c", 1700)])
    expect("rows as dictionaries",
           dict(next(iter((lambda c: (c.execute("select 1 as a, 'x' as b"), c)[1])(
               connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor))))), {"a": 1, "b": "x"})


finish()
