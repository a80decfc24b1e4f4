"""psycopg 3: parameters travel apart from the statement, text and binary, prepared by the server after a few runs."""

import psycopg
from checks import *
from psycopg import sql as names
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

connection = psycopg.connect(URL, autocommit=True)


def query(sql, parameters=None, **options):
    return connection.execute(sql, parameters, **options).fetchall()


def code(sql, parameters=None, on=None):
    try:
        (on or connection).execute(sql, parameters)
    except psycopg.Error as error:
        return error.sqlstate
    return None


def both_ways(form, binary):
    for number, (type_, values) in enumerate(VALUES + ARRAYS + [("jsonb", [DOCUMENT])]):
        table = f"v{number}_{int(binary)}"
        connection.execute(f"create table {table} (id integer primary key, c {type_})")
        for id, value in enumerate(values + [None]):
            sent = Jsonb(value) if type_ == "jsonb" and value is not None else value
            connection.execute(f"insert into {table} values (%s, {form})", (id, sent))
            back = connection.execute(f"select c from {table} where id = %s", (id,), binary=binary).fetchone()[0]
            expect(type_, back, value)
            back = connection.execute(f"select {form}::{type_}", (sent,), binary=binary).fetchone()[0]
            expect(type_, back, value)
            if value is not None and value == value:
                expect(type_, query(f"select id from {table} where c = {form}::{type_}", (sent,), binary=binary), [(id,)])


@check
def values_of_every_type_go_both_ways_as_text():
    both_ways("%t", binary=False)


@check
def values_of_every_type_go_both_ways_in_binary():
    both_ways("%b", binary=True)


@check
def a_statement_is_prepared_and_follows_changes():
    connection.execute("create table p (id integer primary key, name text)")
    for id in range(20):
        connection.execute("insert into p values (%s, %s)", (id, f"n{id}"), prepare=True)
    # Prepared after five runs by itself.
    for id in range(20):
        expect("name", query("select name from p where id = %s", (id,)), [(f"n{id}",)])
    expect("prepared", query("select count(*) >= 2 from pg_prepared_statements"), [(True,)])
    connection.execute("drop table p")
    connection.execute("create table p (id integer primary key, name text)")
    expect("none", query("select name from p where id = %s", (1,)), [])
    # A parameter's type may differ from run to run.
    for value in (1, 1.5, "x", None, 10**12):
        expect("any", query("select %s::text", (value,)), [(None if value is None else str(value),)])


@check
def batches_and_pipelines_are_written():
    connection.execute("create table batch (id integer primary key, name text, at timestamptz default now())")
    connection.execute("create materialized view total as select count(*) as n, sum(id) as ids from batch")
    with connection.cursor() as cursor:
        cursor.executemany("insert into batch (id, name) values (%s, %s)", [(i, f"n{i}") for i in range(500)])
        expect("rows", cursor.rowcount, 500)
        cursor.executemany("insert into batch (id, name) values (%s, %s) returning id",
                           [(i, "r") for i in range(500, 510)], returning=True)
        ids = [cursor.fetchone()[0]]
        while cursor.nextset():
            ids.append(cursor.fetchone()[0])
        expect("returned", ids, list(range(500, 510)))
    with connection.pipeline():
        for id in range(510, 600):
            connection.execute("insert into batch (id, name) values (%s, %s)", (id, None))
        counted = connection.execute("select n from total")
    expect("seen in the pipeline", counted.fetchone(), (600,))
    connection.execute("insert into batch (id, name) select * from unnest(%s::integer[], %s::text[])",
                       (list(range(600, 3000)), ["u"] * 2400))
    expect("total", query("select * from total"), [(3000, sum(range(3000)))])
    expect("by array", query("select count(*) from batch where id = any(%s)", ([1, 2, 5000],)), [(2,)])
    # A failure in a pipeline fails what is behind it, and the connection goes on.
    try:
        with connection.pipeline():
            connection.execute("insert into batch (id) values (%s)", (1,))
            connection.execute("insert into batch (id) values (%s)", (9999,))
        raise AssertionError("a key was taken twice")
    except psycopg.errors.UniqueViolation:
        pass
    expect("behind the failure", query("select count(*) from batch where id = 9999"), [(0,)])


@check
def cursors_of_the_server_give_rows_in_pieces():
    for binary in (False, True):
        with connection.transaction(), connection.cursor("piecewise", binary=binary) as cursor:
            cursor.itersize = 700
            cursor.execute("select id, name from batch where id >= %s order by id", (10,))
            expect("one", cursor.fetchone()[0], 10)
            expect("many", len(cursor.fetchmany(1000)), 1000)
            expect("rest", len(list(cursor)), 1989)
    with connection.transaction(), connection.cursor("scrolling", scrollable=True) as cursor:
        cursor.execute("select id from batch order by id")
        cursor.scroll(100, mode="absolute")
        expect("absolute", cursor.fetchone(), (100,))
        cursor.scroll(-11)
        expect("back", cursor.fetchone(), (90,))
    with connection.cursor() as cursor:
        expect("streamed", sum(1 for _ in cursor.stream("select * from batch", size=100)), 3000)


@check
def a_query_is_cancelled_from_another_thread():
    timer = later(connection.cancel_safe)
    expect("code", code(ENDLESS), "57014")
    timer.join()
    connection.execute("set statement_timeout = '200ms'")
    expect("timeout", code(ENDLESS), "57014")
    connection.execute("reset statement_timeout")
    expect("next", query("select 1"), [(1,)])


@check
def transactions_commit_and_roll_back():
    connection.execute("create table tx (id integer primary key, n integer)")
    try:
        with connection.transaction():
            connection.execute("insert into tx values (1, 1)")
            raise KeyError
    except KeyError:
        pass
    expect("rolled back", query("select * from tx"), [])
    with connection.transaction():
        connection.execute("insert into tx values (1, 1)")
        expect("own write", query("select n from tx"), [(1,)])
        expect("failure", code("select 1/0"), "22012")
        expect("failed", code("select 1"), "25P02")
        connection.execute("rollback")
        connection.execute("begin")
        connection.execute("insert into tx values (1, 2)")
    expect("committed", query("select n from tx"), [(2,)])
    with psycopg.connect(URL) as other:
        mine, theirs = connection, other
        mine.execute("begin isolation level repeatable read")
        theirs.execute("set transaction isolation level repeatable read")
        for one in (mine, theirs):
            expect("n", one.execute("select n from tx").fetchone(), (2,))
        mine.execute("update tx set n = 3")
        mine.execute("commit")
        try:
            theirs.execute("update tx set n = n + 10")
            theirs.commit()
            raise AssertionError("the second writer was not refused")
        except psycopg.errors.SerializationFailure as error:
            expect("code", error.sqlstate, "40001")
            theirs.rollback()
    connection.execute("begin read only")
    expect("read only", code("insert into tx values (5, 5)"), "25006")
    connection.execute("rollback")


@check
def savepoints_nest():
    with connection.transaction():
        connection.execute("insert into tx values (10, 1)")
        try:
            with connection.transaction():
                connection.execute("insert into tx values (11, 1)")
                connection.execute("select 1/0")
        except psycopg.errors.DivisionByZero:
            pass
        connection.execute("insert into tx values (12, 1)")
    expect("kept", query("select id from tx where id >= 10 order by id"), [(10,), (12,)])


@check
def copy_goes_both_ways():
    connection.execute("create table copied (id integer primary key, name text, at timestamp, n numeric(10,2))")
    rows = [(i, None if i % 7 == 0 else f"n\t{i}\\", datetime(2024, 1, 1, 0, 0, i % 60), Decimal(i) / 4 + Decimal("0.00"))
            for i in range(1000)]
    with connection.cursor() as cursor:
        with cursor.copy("copy copied from stdin") as copy:
            for row in rows[:500]:
                copy.write_row(row)
        with cursor.copy("copy copied from stdin (format binary)") as copy:
            copy.set_types(["int4", "text", "timestamp", "numeric"])
            for row in rows[500:]:
                copy.write_row(row)
        for form in ("text", "binary"):
            with cursor.copy(f"copy (select * from copied order by id) to stdout (format {form})") as copy:
                copy.set_types(["int4", "text", "timestamp", "numeric"])
                expect(form, list(copy.rows()), rows)


@check
def errors_have_postgresqls_codes():
    for sql, parameters, wanted in [
        ("select * from nowhere", (), "42P01"), ("select nothing from batch", (), "42703"), ("selec 1", (), "42601"),
        ("select %s::integer", ("x",), "22P02"), ("select 1/%s::integer", (0,), "22012"),
        ("insert into batch (id) values (%s)", (10,), "23505"), ("insert into batch (id) values (%s)", (None,), "23502"),
        ("select %s::smallint", (70000,), "22003"), ("select nofunction(%s)", (1,), "42883"),
        ("select 1; select %s", (1,), "42601"), ("set time zone 'Nowhere'", (), "22023"),
    ]:
        expect(sql, code(sql, parameters), wanted)
    try:
        connection.execute("select * from batch where nothing = 1")
    except psycopg.errors.UndefinedColumn as error:
        expect("position", error.diag.statement_position, "27")
        expect("severity", error.diag.severity, "ERROR")


@check
def descriptions_and_dictionaries():
    cursor = connection.execute("select 1::smallint as a, 'x'::varchar(7) as b, 1.5::numeric(10,2) as c, now() as d")
    expect("columns", [(c.name, c.type_code, c.precision, c.scale) for c in cursor.description],
           [("a", 21, None, None), ("b", 1043, None, None), ("c", 1700, 10, 2), ("d", 1184, None, None)])
    expect("size", cursor.description[1].display_size, 7)
    rows = connection.cursor(row_factory=dict_row).execute("select 1 as a, null as b").fetchall()
    expect("dictionary", rows, [{"a": 1, "b": None}])
    table = names.Identifier("Odd \"name\"")
    connection.execute(names.SQL("create table {} ({} integer)").format(table, names.Identifier("a b")))
    connection.execute(names.SQL("insert into {} values ({})").format(table, names.Literal(5)))
    expect("odd name", query(names.SQL("select {} from {}").format(names.Identifier("a b"), table)), [(5,)])
    expect("parameters", [connection.info.parameter_status(name) for name in
                          ("server_encoding", "client_encoding", "DateStyle", "integer_datetimes", "standard_conforming_strings")],
           ["UTF8", "UTF8", "ISO, MDY", "on", "on"])


@check
def notices_arrive():
    seen = []
    connection.add_notice_handler(lambda notice: seen.append(notice.sqlstate))
    connection.execute("drop table if exists nowhere")
    expect("notice", seen, ["00000"])


finish()
