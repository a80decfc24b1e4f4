//! Data read and written in all formats, cut into pieces anywhere.

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field};
use bytes::BytesMut;

use super::{CopyReader, CopyWriter};
use crate::error::Error;
use crate::sql::{CopyOptions, Statement, parse_one};
use crate::types::{TextStyle, row_values};

fn options(sql: &str) -> CopyOptions {
    match parse_one(sql).unwrap() {
        Statement::Copy(copy) => copy.options,
        other => panic!("{other:?}"),
    }
}

fn columns() -> Vec<Field> {
    vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)]
}

/// Reads data in pieces of `piece` bytes.
fn read(with: &str, data: &[u8], piece: usize) -> Result<Vec<String>, Error> {
    let options = options(&format!("copy t from stdin {with}"));
    let mut reader = CopyReader::try_new("t", columns(), options, TextStyle::default())?;
    let mut batches: Vec<RecordBatch> = vec![];
    for piece in data.chunks(piece) {
        reader.feed(piece, &mut batches)?;
    }
    reader.finish(&mut batches)?;
    let rows =
        batches.iter().flat_map(|b| (0..b.num_rows()).map(|row| row_values(b, row).join("|")));
    Ok(rows.collect())
}

#[track_caller]
fn check(with: &str, data: &str, expected: &[&str]) {
    for piece in [1, 2, 3, 7, 1 << 20] {
        assert_eq!(read(with, data.as_bytes(), piece).unwrap(), expected, "pieces of {piece}");
    }
}

#[track_caller]
fn check_error(with: &str, data: &[u8], code: &str, message: &str, context: &str) {
    for piece in [1, 5, 1 << 20] {
        let error = read(with, data, piece).unwrap_err();
        assert_eq!((error.code.0, error.message.as_str()), (code, message));
        assert_eq!(error.context.as_deref(), Some(context));
    }
}

#[test]
fn text_is_cut_at_tabs_and_unescaped() {
    check(
        "",
        "1\tone\n2\t\\N\n\\N\ta\\tb\\\\c\\x41\\101\\q\n",
        &["1|one", "2|null", "null|a\tb\\cAAq"],
    );
    check("", "1\ta\\\nb\n2\tlast", &["1|a\nb", "2|last"]);
    check("", "1\tä\\ö\r\n2\t\r\n", &["1|äö", "2|"]);
    check("", "1\tx\n\\.\nnot read", &["1|x"]);
    check("(delimiter '|', null '-')", "1|x\n-|y\n2|-\n", &["1|x", "null|y", "2|null"]);
    check("(header)", "a\tb\n1\tx\n", &["1|x"]);
    check("", "", &[]);
}

#[test]
fn csv_knows_quotes_and_null_without_them() {
    check("csv", "1,one\n2,\n3,\"\"\n", &["1|one", "2|null", "3|"]);
    check("csv", "1,\"a,b\"\"c\n d\"\r\n", &["1|a,b\"c\n d"]);
    check("csv", "1,x\"y,z\"w\n", &["1|xy,zw"]);
    check("(format csv, escape '\\', quote '''')", "1,'it\\'s \\\\ x'\n", &["1|it's \\ x"]);
    check(
        "(format csv, null 'NULL', force_null (b))",
        "1,\"NULL\"\n2,NULL\n",
        &["1|null", "2|null"],
    );
    check("(format csv, force_not_null (b))", "1,\n", &["1|"]);
    check("(format csv, header match)", "a,b\n1,x\n", &["1|x"]);
}

#[test]
fn errors_tell_line_and_column() {
    let integer = "invalid input syntax for type integer: \"x\"";
    check_error("", b"1\ta\nx\tb\n", "22P02", integer, "COPY t, line 2, column a: \"x\"");
    check_error("csv", b"1,\"a\nb\"\nx,b\n", "22P02", integer, "COPY t, line 3, column a: \"x\"");
    let missing = "missing data for column \"b\"";
    check_error("", b"1\ta\n2\n", "22P04", missing, "COPY t, line 2: \"2\"");
    let extra = "extra data after last expected column";
    check_error("", b"1\ta\tb\n", "22P04", extra, "COPY t, line 1: \"1\ta\tb\"");
    // The first line that is wrong is told, whatever is wrong with it.
    check_error("", b"x\ta\n2\n", "22P02", integer, "COPY t, line 1, column a: \"x\"");
    let quote = "unterminated CSV quoted field";
    check_error("csv", b"1,\"a\n", "22P04", quote, "COPY t, line 2: \"1,\"a\n\"");
    let encoding = "invalid byte sequence for encoding \"UTF8\": 0xff";
    check_error("", b"1\t\xff\n", "22021", encoding, "COPY t, line 1");
    let newline = "literal carriage return found in data";
    check_error("", b"1\ta\n2\tb\r\n", "22P04", newline, "COPY t, line 2");
    let header = "column name mismatch in header line field 2: got \"c\", expected \"b\"";
    check_error("(format csv, header match)", b"a,c\n", "22P04", header, "COPY t, line 1: \"a,c\"");
}

#[test]
fn what_is_written_reads_back_in_every_format() {
    let rows = "1\tplain\n\\N\tx,y\\t\"q\" \\\\ \\n\n2\t\\N\n3\t\n";
    let options_in = options("copy t from stdin");
    for with in
        ["", "(format csv)", "(format csv, force_quote *, null 'N', header)", "(format binary)"]
    {
        let mut batches = vec![];
        let style = TextStyle::default();
        let mut reader = CopyReader::try_new("t", columns(), options_in.clone(), style).unwrap();
        reader.feed(rows.as_bytes(), &mut batches).unwrap();
        reader.finish(&mut batches).unwrap();
        let fields = columns().into_iter().map(std::sync::Arc::new).collect();
        let to = options(&format!("copy t to stdout {with}"));
        let mut writer = CopyWriter::try_new(fields, to).unwrap();
        let mut out = BytesMut::new();
        writer.begin(&mut out);
        for batch in &batches {
            let writers = writer.writers(batch).unwrap();
            for row in 0..batch.num_rows() {
                writer.row(&writers, row, &style, &mut out).unwrap();
            }
        }
        writer.end(&mut out);
        let expected: Vec<String> = batches
            .iter()
            .flat_map(|b| (0..b.num_rows()).map(|row| row_values(b, row).join("|")))
            .collect();
        let with = with.replace("force_quote *, ", "");
        for piece in [1, 1 << 20] {
            assert_eq!(read(&with, &out, piece).unwrap(), expected, "{with}");
        }
    }
}

#[test]
fn binary_data_that_does_not_add_up_is_refused() {
    let error = read("(format binary)", b"PGCOPX\n\xff\r\n\0\0\0\0\0\0\0\0\0", 4).unwrap_err();
    assert_eq!(error.message, "COPY file signature not recognized");
    let head = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let short = [head.as_slice(), b"\0\x02\0\0\0\x04\0\0"].concat();
    assert_eq!(read("binary", &short, 3).unwrap_err().message, "unexpected EOF in COPY data");
    let wide = [head.as_slice(), b"\0\x03"].concat();
    assert_eq!(read("binary", &wide, 9).unwrap_err().message, "row field count is 3, expected 2");
    let odd = [head.as_slice(), b"\0\x02\0\0\0\x02\0\0\xff\xff\xff\xff\xff\xff"].concat();
    let error = read("binary", &odd, 9).unwrap_err();
    assert_eq!(error.message, "incorrect binary data format");
    assert_eq!(error.context.as_deref(), Some("COPY t, line 1, column a"));
}
