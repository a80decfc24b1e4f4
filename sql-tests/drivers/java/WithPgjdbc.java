// pgjdbc: statements become prepared by the server and binary after a few runs, batches go in one pipeline, and
// DatabaseMetaData asks the catalog.

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.net.URI;
import java.sql.*;
import java.time.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.postgresql.PGConnection;
import org.postgresql.util.PGInterval;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;

public class WithPgjdbc {
    static final String ENDLESS =
        "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b where (a * 7 + b) % 11 = 3";
    static final List<String> failures = new ArrayList<>();

    interface Check {
        void run() throws Exception;
    }

    static void check(String name, Check check) {
        long began = System.nanoTime();
        try {
            check.run();
            System.out.printf("ok     %s (%.1f s)%n", name, (System.nanoTime() - began) / 1e9);
        } catch (Throwable error) {
            failures.add(name);
            System.out.println("FAILED " + name + ": " + error);
            Arrays.stream(error.getStackTrace()).filter(at -> at.getClassName().startsWith("WithPgjdbc"))
                .forEach(at -> System.out.println("    at line " + at.getLineNumber()));
        }
    }

    static void expect(String what, Object got, Object wanted) {
        boolean same = wanted instanceof Object[] a ? got instanceof Object[] b && Arrays.deepEquals(a, b)
            : wanted instanceof byte[] a ? got instanceof byte[] b && Arrays.equals(a, b) : Objects.equals(got, wanted);
        if (!same) throw new AssertionError(what + ": got " + shown(got) + ", wanted " + shown(wanted));
    }

    static String shown(Object value) {
        String text = value instanceof Object[] a ? Arrays.deepToString(a) : value + "";
        return text.length() > 300 ? text.substring(0, 300) : text;
    }

    static String url(String options) {
        URI uri = URI.create(System.getenv("TIDEWATER_URL"));
        return "jdbc:postgresql://" + uri.getHost() + ":" + uri.getPort() + uri.getPath() + "?user=" + uri.getUserInfo() + options;
    }

    static Connection connect(String options) throws SQLException {
        return DriverManager.getConnection(url(options));
    }

    static void execute(Connection connection, String... statements) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            for (String sql : statements) statement.execute(sql);
        }
    }

    static List<String> rows(ResultSet rows, String... columns) throws SQLException {
        List<String> all = new ArrayList<>();
        while (rows.next()) {
            List<String> row = new ArrayList<>();
            for (String column : columns) row.add(rows.getString(column));
            all.add(String.join("|", row.stream().map(String::valueOf).toList()));
        }
        return all;
    }

    static long number(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getLong(1);
        }
    }

    static String code(Check check) throws Exception {
        try {
            check.run();
            return "none";
        } catch (SQLException error) {
            return error.getSQLState();
        }
    }

    static PGobject object(String type, String value) throws SQLException {
        PGobject object = new PGobject();
        object.setType(type);
        object.setValue(value);
        return object;
    }

    static byte[] allBytes() {
        byte[] bytes = new byte[256];
        for (int i = 0; i < 256; i++) bytes[i] = (byte) i;
        return bytes;
    }

    /** Type, class to read as, values. */
    static Object[][] values() throws SQLException {
        return new Object[][] {
            {"boolean", Boolean.class, true, false},
            {"smallint", Integer.class, -32768, 32767},
            {"integer", Integer.class, 0, Integer.MIN_VALUE, Integer.MAX_VALUE},
            {"bigint", Long.class, Long.MIN_VALUE, Long.MAX_VALUE},
            {"real", Float.class, 1.5f, Float.MAX_VALUE, Float.MIN_VALUE, Float.NaN, Float.NEGATIVE_INFINITY},
            {"double precision", Double.class, 0.1, Double.MAX_VALUE, Double.MIN_VALUE, Double.NaN, Double.POSITIVE_INFINITY},
            {"numeric(30,10)", BigDecimal.class, new BigDecimal("-12345678901234567890.0123456789"), new BigDecimal("0E-10")},
            {"text", String.class, "", "a'b\\c\"\n\t", "äöü € 😀", "x".repeat(100_000)},
            {"varchar(5)", String.class, "12345"},
            {"bytea", byte[].class, new byte[0], allBytes()},
            {"date", LocalDate.class, LocalDate.of(1, 1, 1), LocalDate.of(2024, 2, 29), LocalDate.of(9999, 12, 31)},
            {"time", LocalTime.class, LocalTime.MIDNIGHT, LocalTime.of(23, 59, 59, 999_999_000)},
            {"timestamp", LocalDateTime.class, LocalDateTime.of(2024, 2, 29, 12, 30, 15, 123_456_000), LocalDateTime.of(1900, 1, 1, 0, 0)},
            {"timestamptz", OffsetDateTime.class, OffsetDateTime.of(2024, 7, 1, 23, 59, 59, 1_000, ZoneOffset.UTC)},
            {"interval", PGInterval.class, new PGInterval(1, 2, 3, 4, 5, 6.5), new PGInterval(0, 0, -3, 0, 0, 0)},
            {"uuid", UUID.class, UUID.fromString("123e4567-e89b-12d3-a456-426614174000"), new UUID(0, 0)},
            {"jsonb", String.class, "{\"a\": [1, null, \"ä\"]}"},
        };
    }

    static void everyType(String options) throws Exception {
        try (Connection connection = connect(options)) {
            int number = 0;
            for (Object[] row : values()) {
                String type = (String) row[0], table = "v" + number++;
                Class<?> as = (Class<?>) row[1];
                execute(connection, "drop table if exists " + table, "create table " + table + " (id integer primary key, c " + type + ")");
                try (PreparedStatement insert = connection.prepareStatement("insert into " + table + " values (?, ?)");
                     PreparedStatement select = connection.prepareStatement("select c from " + table + " where id = ?")) {
                    for (int id = 0; id < row.length - 1; id++) {
                        Object value = id < row.length - 2 ? row[id + 2] : null;
                        insert.setInt(1, id);
                        if (value == null) insert.setNull(2, Types.NULL);
                        else if (type.equals("jsonb")) insert.setObject(2, object("jsonb", (String) value));
                        else insert.setObject(2, value);
                        expect(type, insert.executeUpdate(), 1);
                        // More often than it takes to be prepared by the server and to come back in binary.
                        for (int run = 0; run < 7; run++) {
                            select.setInt(1, id);
                            try (ResultSet rows = select.executeQuery()) {
                                expect(type, rows.next(), true);
                                Object back = as == byte[].class ? rows.getBytes(1) : as == String.class ? rows.getString(1) : rows.getObject(1, as);
                                if (value == null) expect(type + " NULL", rows.wasNull(), true);
                                else expect(type + ", run " + run, back, value);
                            }
                        }
                    }
                }
            }
            arrays(connection);
        }
    }

    static void arrays(Connection connection) throws Exception {
        Object[][] arrays = {
            {"int4", new Integer[] {1, null, Integer.MIN_VALUE}}, {"int8", new Long[] {Long.MAX_VALUE}},
            {"text", new String[] {"", "a b", "NULL", null, "\"q\",{}\\", "€"}}, {"bool", new Boolean[] {true, null}},
            {"float8", new Double[] {1.5, null}}, {"numeric", new BigDecimal[] {new BigDecimal("1.25"), null}},
            {"uuid", new UUID[] {new UUID(1, 2), null}}, {"int4", new Integer[] {}},
        };
        for (Object[] row : arrays) {
            String type = (String) row[0];
            try (PreparedStatement select = connection.prepareStatement("select ?::" + type + "[]")) {
                for (int run = 0; run < 7; run++) {
                    select.setArray(1, connection.createArrayOf(type, (Object[]) row[1]));
                    try (ResultSet rows = select.executeQuery()) {
                        rows.next();
                        expect(type + "[]", rows.getArray(1).getArray(), row[1]);
                    }
                }
            }
        }
    }

    static void batches() throws Exception {
        try (Connection connection = connect("")) {
            execute(connection, "create table batch (id integer primary key, name text, at timestamp)",
                "create materialized view total as select count(*) as n, sum(id) as ids from batch");
            for (String options : List.of("", "&reWriteBatchedInserts=true")) {
                try (Connection writer = connect(options);
                     PreparedStatement insert = writer.prepareStatement("insert into batch (id, name, at) values (?, ?, ?)")) {
                    int first = options.isEmpty() ? 0 : 1000;
                    for (int id = first; id < first + 1000; id++) {
                        insert.setInt(1, id);
                        insert.setString(2, "n" + id);
                        insert.setTimestamp(3, Timestamp.valueOf("2024-01-01 00:00:00"));
                        insert.addBatch();
                    }
                    expect("counts", insert.executeBatch().length, 1000);
                }
            }
            expect("rows", number(connection, "select n from total"), 2000L);
            expect("sum", number(connection, "select ids from total"), 1999000L);
            try (PreparedStatement insert = connection.prepareStatement("insert into batch (id) values (?)")) {
                for (int id : new int[] {5000, 5001, 7, 5002}) {
                    insert.setInt(1, id);
                    insert.addBatch();
                }
                insert.executeBatch();
                throw new AssertionError("a key was taken twice");
            } catch (BatchUpdateException error) {
                expect("code", error.getSQLState(), "23505");
            }
            expect("a batch that fails leaves nothing", number(connection, "select count(*) from batch where id >= 5000"), 0L);
            try (PreparedStatement insert = connection.prepareStatement("insert into batch (name, id) values (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                insert.setString(1, "g");
                insert.setInt(2, 9000);
                insert.executeUpdate();
                ResultSet keys = insert.getGeneratedKeys();
                keys.next();
                expect("keys", keys.getInt("id"), 9000);
            }
            try (Statement statement = connection.createStatement()) {
                statement.addBatch("update batch set name = 'x' where id < 10");
                statement.addBatch("delete from batch where id = 9000");
                expect("counts", Arrays.stream(statement.executeBatch()).boxed().toArray(), new Object[] {10, 1});
                statement.setMaxRows(3);
                ResultSet rows = statement.executeQuery("select id from batch");
                int count = 0;
                while (rows.next()) count++;
                expect("at most", count, 3);
            }
        }
    }

    static void cursors() throws Exception {
        try (Connection connection = connect("")) {
            connection.setAutoCommit(false);
            try (PreparedStatement select = connection.prepareStatement("select id, name from batch where id >= ? order by id")) {
                select.setFetchSize(64);
                select.setInt(1, 10);
                ResultSet rows = select.executeQuery();
                int next = 10;
                while (rows.next()) expect("id", rows.getInt(1), next++);
                expect("rows", next, 2000);
            }
            try (Statement statement = connection.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY)) {
                ResultSet rows = statement.executeQuery("select id from batch order by id");
                rows.last();
                expect("last", rows.getInt(1), 1999);
                rows.absolute(5);
                expect("fifth", rows.getInt(1), 4);
            }
            connection.commit();
        }
    }

    static void cancel() throws Exception {
        try (Connection connection = connect(""); Statement statement = connection.createStatement()) {
            ScheduledExecutorService timer = Executors.newScheduledThreadPool(1);
            timer.schedule(() -> {
                statement.cancel();
                return null;
            }, 1000, TimeUnit.MILLISECONDS);
            expect("cancel", code(() -> statement.executeQuery(ENDLESS)), "57014");
            timer.shutdown();
            statement.setQueryTimeout(1);
            expect("timeout", code(() -> statement.executeQuery(ENDLESS)), "57014");
            statement.setQueryTimeout(0);
            expect("next", number(connection, "select 1"), 1L);
        }
    }

    static void transactions() throws Exception {
        try (Connection connection = connect(""); Connection other = connect("")) {
            execute(connection, "create table tx (id integer primary key, n integer)");
            connection.setAutoCommit(false);
            execute(connection, "insert into tx values (1, 1)");
            expect("own write", number(connection, "select n from tx"), 1L);
            connection.rollback();
            expect("rolled back", number(connection, "select count(*) from tx"), 0L);
            execute(connection, "insert into tx values (1, 1)");
            connection.commit();
            expect("duplicate", code(() -> execute(connection, "insert into tx values (1, 1)")), "23505");
            expect("failed", code(() -> execute(connection, "select 1")), "25P02");
            connection.rollback();
            execute(connection, "update tx set n = 2");
            Savepoint savepoint = connection.setSavepoint("here");
            execute(connection, "update tx set n = 3");
            expect("error", code(() -> execute(connection, "select 1/0")), "22012");
            connection.rollback(savepoint);
            expect("savepoint", number(connection, "select n from tx"), 2L);
            connection.commit();
            other.setAutoCommit(false);
            for (Connection one : List.of(connection, other)) {
                one.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
                expect("n", number(one, "select n from tx"), 2L);
            }
            execute(connection, "update tx set n = 10");
            connection.commit();
            expect("conflict", code(() -> {
                execute(other, "update tx set n = 20");
                other.commit();
            }), "40001");
            other.rollback();
            expect("the first one's", number(other, "select n from tx"), 10L);
            other.commit();
            other.setReadOnly(true);
            expect("read only", code(() -> execute(other, "delete from tx")), "25006");
        }
    }

    /** Transfers between accounts by several threads; the sum is the same at every moment and in the end. */
    static void bank() throws Exception {
        int accounts = 10, threads = 4, transfers = 15;
        try (Connection connection = connect("")) {
            execute(connection, "create table account (id integer primary key, balance bigint not null)",
                "insert into account select i, 100 from generate_series(0, " + (accounts - 1) + ") i",
                "create materialized view bank as select sum(balance) as total, count(*) as n from account");
            ExecutorService pool = Executors.newFixedThreadPool(threads + 1);
            List<Future<Integer>> done = new ArrayList<>();
            AtomicInteger working = new AtomicInteger(threads);
            for (int thread = 0; thread < threads; thread++) {
                Random random = new Random(thread);
                done.add(pool.submit(() -> {
                    try {
                        return transfer(random, accounts, transfers);
                    } finally {
                        working.decrementAndGet();
                    }
                }));
            }
            int looks = 0;
            while (working.get() > 0) {
                expect("total in the table", number(connection, "select sum(balance) from account"), 100L * accounts);
                expect("total in the view", number(connection, "select total from bank"), 100L * accounts);
                looks++;
            }
            int refused = 0;
            for (Future<Integer> one : done) refused += one.get();
            pool.shutdown();
            expect("total", number(connection, "select total from bank"), 100L * accounts);
            expect("accounts", number(connection, "select n from bank"), (long) accounts);
            System.out.printf("       %d transfers, %d refused and done again, %d looks%n", threads * transfers, refused, looks);
        }
    }

    static int transfer(Random random, int accounts, int transfers) throws SQLException {
        int refused = 0;
        try (Connection connection = connect("");
             PreparedStatement read = connection.prepareStatement("select balance from account where id = ?");
             PreparedStatement write = connection.prepareStatement("update account set balance = ? where id = ?")) {
            connection.setAutoCommit(false);
            connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            for (int n = 0; n < transfers; n++) {
                int from = random.nextInt(accounts), to = (from + 1 + random.nextInt(accounts - 1)) % accounts;
                long amount = random.nextInt(20);
                while (true) {
                    try {
                        for (int[] change : new int[][] {{from, -1}, {to, 1}}) {
                            read.setInt(1, change[0]);
                            ResultSet rows = read.executeQuery();
                            rows.next();
                            write.setLong(1, rows.getLong(1) + change[1] * amount);
                            write.setInt(2, change[0]);
                            if (write.executeUpdate() != 1) throw new AssertionError("no account " + change[0]);
                        }
                        connection.commit();
                        break;
                    } catch (SQLException error) {
                        connection.rollback();
                        if (!Set.of("40001", "40P01").contains(error.getSQLState())) throw error;
                        refused++;
                    }
                }
            }
        }
        return refused;
    }

    static void copy() throws Exception {
        try (Connection connection = connect("")) {
            execute(connection, "create table copied (id integer primary key, name text)");
            var copy = connection.unwrap(PGConnection.class).getCopyAPI();
            expect("in", copy.copyIn("copy copied from stdin (format csv)", new StringReader("1,one\n2,\n")), 2L);
            StringWriter out = new StringWriter();
            expect("out", copy.copyOut("copy (select * from copied order by id) to stdout", out), 2L);
            expect("text", out.toString(), "1\tone\n2\t\\N\n");
            expect("bad row", code(() -> copy.copyIn("copy copied from stdin", new StringReader("x\ty\n"))), "22P02");
        }
    }

    static void errors() throws Exception {
        try (Connection connection = connect("")) {
            String[][] cases = {
                {"select * from nowhere", "42P01"}, {"select nothing from batch", "42703"}, {"selec 1", "42601"},
                {"select 'x'::integer", "22P02"}, {"select 1/0", "22012"}, {"select 40000::smallint", "22003"},
                {"insert into batch (id) values (1)", "23505"}, {"insert into batch (id) values (null)", "23502"},
                {"select nofunction(1)", "42883"}, {"create table batch (id integer)", "42P07"},
            };
            for (String[] one : cases) expect(one[0], code(() -> execute(connection, one[0])), one[1]);
            try {
                execute(connection, "insert into batch (id) values (1)");
            } catch (PSQLException error) {
                expect("constraint", error.getServerErrorMessage().getConstraint(), "batch_pkey");
                expect("table", error.getServerErrorMessage().getTable(), "batch");
            }
            // The types of parameters, before any value is there.
            try (PreparedStatement select = connection.prepareStatement("select name, id + ? as n from batch where at > ? and id = any(?)")) {
                ParameterMetaData parameters = select.getParameterMetaData();
                expect("parameters", List.of(parameters.getParameterTypeName(1), parameters.getParameterTypeName(2), parameters.getParameterTypeName(3)),
                    List.of("int4", "timestamp", "_int4"));
                ResultSetMetaData columns = select.getMetaData();
                expect("columns", List.of(columns.getColumnName(1), columns.getColumnTypeName(1), columns.getColumnName(2), columns.getColumnTypeName(2)),
                    List.of("name", "text", "n", "int4"));
            }
        }
    }

    static void metadata() throws Exception {
        try (Connection connection = connect("")) {
            execute(connection, "create schema shop",
                "create table shop.item (id integer generated always as identity primary key, kind varchar(20) not null default 'tea', price numeric(10,2), tags text[])",
                "create table shop.line (a integer, b bigint, c text, primary key (b, a))", "create index line_c on shop.line (c)",
                "create view shop.cheap as select id from shop.item where price < 1",
                "create materialized view shop.kinds as select kind, count(*) as n from shop.item group by kind",
                "comment on table shop.item is 'What is sold'");
            DatabaseMetaData data = connection.getMetaData();
            expect("product", data.getDatabaseProductName(), "PostgreSQL");
            expect("version", data.getDatabaseMajorVersion(), 15);
            expect("schemas", rows(data.getSchemas(), "TABLE_SCHEM").contains("shop"), true);
            expect("catalogs", rows(data.getCatalogs(), "TABLE_CAT").contains(connection.getCatalog()), true);
            expect("tables", rows(data.getTables(null, "shop", "%", new String[] {"TABLE", "VIEW", "MATERIALIZED VIEW", "INDEX"}), "TABLE_NAME", "TABLE_TYPE"),
                List.of("line_c|INDEX", "item_pkey|INDEX", "line_pkey|INDEX", "kinds|MATERIALIZED VIEW", "item|TABLE", "line|TABLE", "cheap|VIEW")
                    .stream().sorted(Comparator.comparing((String row) -> row.split("\\|")[1]).thenComparing(row -> row.split("\\|")[0])).toList());
            expect("tables only", rows(data.getTables(null, "shop", "i%", new String[] {"TABLE"}), "TABLE_NAME", "REMARKS"), List.of("item|What is sold"));
            expect("columns", rows(data.getColumns(null, "shop", "item", "%"), "COLUMN_NAME", "TYPE_NAME", "COLUMN_SIZE", "NULLABLE", "COLUMN_DEF", "IS_AUTOINCREMENT")
                    .stream().map(row -> row.replace("::character varying", "")).toList(),
                List.of("id|int4|10|0|null|YES", "kind|varchar|20|0|'tea'|NO", "price|numeric|10|1|null|NO", "tags|_text|2147483647|1|null|NO"));
            expect("key", rows(data.getPrimaryKeys(null, "shop", "line"), "COLUMN_NAME", "KEY_SEQ", "PK_NAME"), List.of("b|1|line_pkey", "a|2|line_pkey"));
            expect("indexes", rows(data.getIndexInfo(null, "shop", "line", false, true), "INDEX_NAME", "COLUMN_NAME", "NON_UNIQUE"),
                List.of("line_pkey|b|f", "line_pkey|a|f", "line_c|c|t"));
            expect("foreign keys", rows(data.getImportedKeys(null, "shop", "line"), "FK_NAME"), List.of());
            expect("foreign keys", rows(data.getExportedKeys(null, "shop", "line"), "FK_NAME"), List.of());
            expect("row identifier", rows(data.getBestRowIdentifier(null, "shop", "line", DatabaseMetaData.bestRowSession, true), "COLUMN_NAME").size(), 2);
            expect("types", rows(data.getTypeInfo(), "TYPE_NAME").containsAll(List.of("int4", "text", "timestamptz", "jsonb")), true);
            expect("table types", rows(data.getTableTypes(), "TABLE_TYPE").contains("MATERIALIZED VIEW"), true);
            rows(data.getFunctions(null, null, "%"), "FUNCTION_NAME");
            rows(data.getProcedures(null, null, "%"), "PROCEDURE_NAME");
            rows(data.getUDTs(null, null, "%", null), "TYPE_NAME");
            rows(data.getTablePrivileges(null, "shop", "item"), "PRIVILEGE");
            rows(data.getColumnPrivileges(null, "shop", "item", "%"), "PRIVILEGE");
            rows(data.getVersionColumns(null, "shop", "item"), "COLUMN_NAME");
            rows(data.getClientInfoProperties(), "NAME");
            expect("words", data.getSQLKeywords().length() > 0, true);
            expect("name length", data.getMaxColumnNameLength(), 63);
        }
    }

    public static void main(String[] arguments) {
        TimeZone.setDefault(TimeZone.getTimeZone("UTC"));
        check("values of every type go both ways", () -> everyType(""));
        check("values of every type go both ways in binary", () -> everyType("&prepareThreshold=-1&binaryTransfer=true"));
        check("values of every type go both ways as text", () -> everyType("&binaryTransfer=false&preferQueryMode=extended"));
        check("the simple protocol does for queries", () -> {
            try (Connection connection = connect("&preferQueryMode=simple")) {
                PreparedStatement select = connection.prepareStatement("select ? || 'b', ?::integer + 1");
                select.setString(1, "a'");
                select.setInt(2, 1);
                expect("rows", rows(select.executeQuery(), "?column?"), List.of("a'b"));
            }
        });
        check("batches are written", WithPgjdbc::batches);
        check("cursors give rows in pieces", WithPgjdbc::cursors);
        check("a query is cancelled from another thread", WithPgjdbc::cancel);
        check("transactions commit and roll back", WithPgjdbc::transactions);
        check("money neither comes nor goes", WithPgjdbc::bank);
        check("copy goes both ways", WithPgjdbc::copy);
        check("errors have PostgreSQL's codes", WithPgjdbc::errors);
        check("the database describes itself", WithPgjdbc::metadata);
        if (!failures.isEmpty()) System.out.println("failed: " + String.join(", ", failures));
        System.exit(failures.isEmpty() ? 0 : 1);
    }
}
