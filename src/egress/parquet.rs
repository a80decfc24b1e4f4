//! Rows as Parquet files.
//!
//! Every type of ours becomes the type of Parquet that says the same: numeric is DECIMAL, timestamptz a TIMESTAMP adjusted to
//! UTC, timestamp one that is not, uuid and jsonb are annotated as such, arrays are LIST, structs groups. An interval is text in
//! ISO 8601, since Parquet's own has milliseconds and no sign; other types that Arrow has for several of ours are text as well.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, ListArray, MapArray, RecordBatch, StringArray, StructArray, UInt32Array,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};

pub use parquet::basic::Compression;
use parquet::basic::{GzipLevel, LogicalType, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use tidewater_connectors::sink::Outgoing;

use super::files::came;
use crate::change::ChangeBatch;
use crate::error::{Error, Result};
use crate::types::{IntervalStyle, TextStyle, cast_to_text, map_parts, type_marker};

/// How many rows are encoded between two looks at how large the file has become.
const ROWS_BETWEEN_LOOKS: usize = 4_096;

/// The compressions by their names in SQL; the first is what there is without one.
pub const COMPRESSIONS: &[&str] = &["zstd", "snappy", "gzip", "lz4", "none"];

/// The compression at this place among [`COMPRESSIONS`].
pub fn compression(index: usize) -> Compression {
    match index {
        1 => Compression::SNAPPY,
        2 => Compression::GZIP(GzipLevel::default()),
        3 => Compression::LZ4_RAW,
        4 => Compression::UNCOMPRESSED,
        _ => Compression::ZSTD(ZstdLevel::default()),
    }
}

/// Whether files can have rows of this schema; 0A000 otherwise.
pub fn check(schema: &SchemaRef) -> Result<()> {
    parquet_schema(schema).map(drop)
}

/// Files of the rows that came. A file ends with the rows with which it has `bytes`.
pub(super) fn files(
    schema: &SchemaRef,
    change: &ChangeBatch,
    bytes: usize,
    compression: Compression,
) -> Result<Outgoing> {
    let (written, description) = parquet_schema(schema)?;
    let mut out = Outgoing::default();
    let rows: Vec<u32> = came(change).collect();
    let mut file: Option<ArrowWriter<Vec<u8>>> = None;
    let mut count = 0;
    for rows in rows.chunks(ROWS_BETWEEN_LOOKS) {
        let some =
            arrow_select::take::take_record_batch(change.rows(), &UInt32Array::from(rows.to_vec()));
        let columns = some.map_err(unwritten)?;
        let columns = schema.fields().iter().zip(columns.columns());
        let columns = columns.map(|(field, column)| written_values(column, field));
        let batch = RecordBatch::try_new(written.clone(), columns.collect::<Result<_>>()?);
        let mut writer = match file.take() {
            Some(writer) => writer,
            None => begin(&written, &description, compression)?,
        };
        writer.write(&batch.map_err(unwritten)?).map_err(failed)?;
        count += rows.len() as u64;
        if writer.bytes_written() + writer.in_progress_size() >= bytes {
            out.push_file(&writer.into_inner().map_err(failed)?, count);
            count = 0;
        } else {
            file = Some(writer);
        }
    }
    if let Some(writer) = file {
        out.push_file(&writer.into_inner().map_err(failed)?, count);
    }
    Ok(out)
}

fn begin(
    schema: &SchemaRef,
    description: &SchemaDescriptor,
    compression: Compression,
) -> Result<ArrowWriter<Vec<u8>>> {
    let created_by = concat!("tidewater version ", env!("CARGO_PKG_VERSION")).to_owned();
    let properties =
        WriterProperties::builder().set_compression(compression).set_created_by(created_by);
    let options = ArrowWriterOptions::new()
        .with_properties(properties.build())
        // The types of Parquet say it all; Arrow's would say what only we understand.
        .with_skip_arrow_metadata(true)
        .with_parquet_schema(description.clone());
    ArrowWriter::try_new_with_options(vec![], schema.clone(), options).map_err(failed)
}

/// The schema of what is handed to the writer, and of the file.
fn parquet_schema(schema: &SchemaRef) -> Result<(SchemaRef, SchemaDescriptor)> {
    let fields: Vec<FieldRef> = schema.fields().iter().map(written_field).collect();
    let written = Arc::new(Schema::new(fields));
    let converter = ArrowSchemaConverter::new().schema_root("schema");
    let plain = converter.convert(&written).map_err(|e| Error::unsupported(e.to_string()))?;
    let Type::GroupType { fields, .. } = plain.root_schema() else {
        return Err(Error::internal("the root of a schema is a group"));
    };
    let members = fields.iter().zip(schema.fields());
    let members = members.map(|(parquet, field)| annotated(parquet, field));
    let root = Type::group_type_builder("schema").with_fields(members.collect::<Result<_>>()?);
    Ok((written, SchemaDescriptor::new(Arc::new(root.build().map_err(failed)?))))
}

/// The field of what is handed to the writer.
fn written_field(field: &FieldRef) -> FieldRef {
    if let Some((key, value)) = map_parts(field) {
        let map = DataType::Map(written_entries(key, value), true);
        return Arc::new(Field::new(field.name(), map, field.is_nullable()));
    }
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(written_field(item)),
        DataType::Struct(fields) if fields.is_empty() => DataType::Utf8,
        DataType::Struct(fields) => DataType::Struct(written_fields(fields)),
        DataType::Interval(_) | DataType::Null => DataType::Utf8,
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

/// The entries of a map, whose keys Parquet has as never NULL.
fn written_entries(key: &FieldRef, value: &FieldRef) -> FieldRef {
    let key = written_field(key).as_ref().clone().with_nullable(false);
    let parts = Fields::from(vec![Arc::new(key), written_field(value)]);
    Arc::new(Field::new("key_value", DataType::Struct(parts), false))
}

fn written_fields(fields: &Fields) -> Fields {
    fields.iter().map(written_field).collect()
}

/// The values of a column as [`written_field`] has them.
fn written_values(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let nulls = array.nulls().cloned();
    if let Some((key, value)) = map_parts(field) {
        let list = array.as_list::<i32>();
        let parts = list.values().as_struct();
        let columns =
            vec![written_values(parts.column(0), key)?, written_values(parts.column(1), value)?];
        let entries = written_entries(key, value);
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(Error::internal("an entry is a pair"));
        };
        let values = StructArray::try_new(fields.clone(), columns, None).map_err(unwritten)?;
        let map = MapArray::try_new(entries, list.offsets().clone(), values, nulls, true);
        return Ok(Arc::new(map.map_err(unwritten)?));
    }
    Ok(match field.data_type() {
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = written_values(list.values(), item)?;
            let list =
                ListArray::try_new(written_field(item), list.offsets().clone(), values, nulls);
            Arc::new(list.map_err(unwritten)?)
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let columns = array.as_struct().columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| written_values(column, field));
            let columns = columns.collect::<Result<_>>()?;
            let record = StructArray::try_new(written_fields(fields), columns, nulls);
            Arc::new(record.map_err(unwritten)?)
        }
        DataType::Interval(_) | DataType::Null | DataType::Struct(_) => {
            let style =
                TextStyle { interval_style: IntervalStyle::Iso8601, ..TextStyle::default() };
            let text: StringArray = cast_to_text(array, field, &style)?;
            Arc::new(text)
        }
        _ => array.clone(),
    })
}

/// Says of uuid and jsonb what they are, which the conversion from Arrow does not know.
fn annotated(parquet: &TypePtr, field: &Field) -> Result<TypePtr> {
    let said = match (field.data_type(), type_marker(field)) {
        (DataType::FixedSizeBinary(16), _) => Some(LogicalType::Uuid),
        (DataType::Utf8, Some("json" | "jsonb")) => Some(LogicalType::Json),
        _ => None,
    };
    match (parquet.as_ref(), said) {
        (Type::PrimitiveType { basic_info, physical_type, type_length, .. }, Some(said)) => {
            let builder = Type::primitive_type_builder(parquet.name(), *physical_type)
                .with_repetition(basic_info.repetition())
                .with_length(*type_length)
                .with_logical_type(Some(said));
            Ok(Arc::new(builder.build().map_err(failed)?))
        }
        (Type::PrimitiveType { .. }, None) => Ok(parquet.clone()),
        (Type::GroupType { basic_info, fields }, _) => {
            let below: Vec<&Field> = match field.data_type() {
                DataType::List(item) => vec![item],
                DataType::Struct(members) => members.iter().map(AsRef::as_ref).collect(),
                _ => return Ok(parquet.clone()),
            };
            // A list is a group of a repeated group of its items; a map's repeated group is what its entries are.
            let is_list =
                matches!(field.data_type(), DataType::List(_)) && map_parts(field).is_none();
            let members = fields.iter().zip(&below).map(|(parquet, field)| match is_list {
                true => annotated_items(parquet, field),
                false => annotated(parquet, field),
            });
            let members = members.collect::<Result<_>>()?;
            regrouped(parquet, basic_info, members)
        }
    }
}

fn annotated_items(repeated: &TypePtr, item: &Field) -> Result<TypePtr> {
    let Type::GroupType { basic_info, fields } = repeated.as_ref() else {
        return Ok(repeated.clone());
    };
    let items = fields.iter().map(|parquet| annotated(parquet, item)).collect::<Result<_>>()?;
    regrouped(repeated, basic_info, items)
}

fn regrouped(
    group: &TypePtr,
    info: &parquet::schema::types::BasicTypeInfo,
    members: Vec<TypePtr>,
) -> Result<TypePtr> {
    let builder = Type::group_type_builder(group.name())
        .with_repetition(info.repetition())
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_fields(members);
    Ok(Arc::new(builder.build().map_err(failed)?))
}

fn failed(error: ParquetError) -> Error {
    Error::internal(format!("could not write Parquet: {error}"))
}

fn unwritten(error: ArrowError) -> Error {
    Error::internal(format!("could not write Parquet: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_schema::TimeUnit;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
    use parquet::schema::printer::print_schema;

    use super::*;
    use crate::types::{cast_from_text, field_of_sql_type, map_field};

    /// A column of an SQL type, with values given as text.
    fn column(name: &str, sql: &str, values: &[Option<&str>]) -> (FieldRef, ArrayRef) {
        let dialect = sqlparser::dialect::PostgreSqlDialect {};
        let parser = sqlparser::parser::Parser::new(&dialect).try_with_sql(sql);
        let field = field_of_sql_type(name, &parser.unwrap().parse_data_type().unwrap()).unwrap();
        let text: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        let (array, errors) = cast_from_text(text.as_string(), &field, &TextStyle::default());
        assert!(errors.is_empty(), "{name}: {errors:?}");
        (Arc::new(field), array)
    }

    fn read(out: &Outgoing) -> Vec<RecordBatch> {
        let read = |content: Option<&[u8]>| {
            let content = Bytes::copy_from_slice(content.unwrap());
            ParquetRecordBatchReader::try_new(content, 1 << 20).unwrap().map(Result::unwrap)
        };
        out.iter().flat_map(|(_, content)| read(content)).collect()
    }

    const TYPES: &str = "message schema {
  OPTIONAL BOOLEAN b;
  OPTIONAL INT32 i2 (INTEGER(16,true));
  OPTIONAL INT32 i4;
  OPTIONAL INT64 i8;
  OPTIONAL FLOAT f4;
  OPTIONAL DOUBLE f8;
  OPTIONAL INT64 n (DECIMAL(10,2));
  OPTIONAL FIXED_LEN_BYTE_ARRAY (16) free (DECIMAL(38,10));
  OPTIONAL BYTE_ARRAY t (STRING);
  OPTIONAL BYTE_ARRAY x;
  OPTIONAL INT32 d (DATE);
  OPTIONAL INT64 tm (TIME(MICROS,false));
  OPTIONAL INT64 ts (TIMESTAMP(MICROS,false));
  OPTIONAL INT64 tz (TIMESTAMP(MICROS,true));
  OPTIONAL BYTE_ARRAY iv (STRING);
  OPTIONAL FIXED_LEN_BYTE_ARRAY (16) u (UUID);
  OPTIONAL BYTE_ARRAY j (JSON);
  OPTIONAL group a (LIST) {
    REPEATED group list {
      OPTIONAL FIXED_LEN_BYTE_ARRAY (16) item (UUID);
    }
  }
}
";

    #[test]
    fn every_type_is_parquets_own_and_reads_back() {
        let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        let (list, json) = (format!("{{{id},NULL}}"), "{\"k\": [1, null]}");
        let columns = [
            column("b", "boolean", &[Some("t"), None]),
            column("i2", "smallint", &[Some("-32768"), None]),
            column("i4", "int", &[Some("7"), None]),
            column("i8", "bigint", &[Some("9223372036854775807"), None]),
            column("f4", "real", &[Some("1.5"), None]),
            column("f8", "double precision", &[Some("NaN"), None]),
            column("n", "numeric(10,2)", &[Some("-12345678.90"), None]),
            column("free", "numeric", &[Some("0.0000000001"), None]),
            column("t", "text", &[Some("é"), None]),
            column("x", "bytea", &[Some("\\x00ff"), None]),
            column("d", "date", &[Some("1969-12-31"), None]),
            column("tm", "time", &[Some("23:59:59.999999"), None]),
            column("ts", "timestamp", &[Some("2024-02-29 12:00:00.000001"), None]),
            column("tz", "timestamptz", &[Some("2024-02-29 12:00:00+02"), None]),
            column("iv", "interval", &[Some("1 mon -2 days 03:00:00.5"), None]),
            column("u", "uuid", &[Some(id), None]),
            column("j", "jsonb", &[Some(json), None]),
            column("a", "uuid[]", &[Some(&list), None]),
        ];
        let schema = Arc::new(Schema::new(columns.iter().map(|c| c.0.clone()).collect::<Vec<_>>()));
        let arrays: Vec<ArrayRef> = columns.into_iter().map(|c| c.1).collect();
        let batch = RecordBatch::try_new(schema.clone(), arrays.clone()).unwrap();
        let change = ChangeBatch::inserts(batch);
        for index in 0..COMPRESSIONS.len() {
            let out = files(&schema, &change, 1 << 20, compression(index)).unwrap();
            assert_eq!((out.len(), out.units), (1, 2));
            let read = read(&out).remove(0);
            for (number, expected) in arrays.iter().enumerate() {
                let read = read.column(number);
                match expected.data_type() {
                    DataType::Interval(_) => {
                        assert_eq!(read.as_string::<i32>().value(0), "P1M-2DT3H0.5S");
                    }
                    DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                        assert!(matches!(read.data_type(), DataType::Timestamp(_, Some(_))));
                    }
                    DataType::List(_) => {
                        let (read, list) = (read.as_list::<i32>(), expected.as_list::<i32>());
                        assert_eq!(
                            (read.values(), read.offsets()),
                            (list.values(), list.offsets())
                        );
                    }
                    _ => assert_eq!(read, expected, "{}", schema.field(number).name()),
                }
            }
            let content = Bytes::copy_from_slice(out.iter().next().unwrap().1.unwrap());
            let metadata = ParquetRecordBatchReaderBuilder::try_new(content).unwrap();
            let mut types = vec![];
            print_schema(&mut types, metadata.parquet_schema().root_schema());
            assert_eq!(String::from_utf8(types).unwrap(), TYPES);
        }
    }

    const NESTED: &str = "message schema {
  OPTIONAL group s {
    OPTIONAL INT32 n;
    OPTIONAL group j (LIST) {
      REPEATED group list {
        OPTIONAL BYTE_ARRAY item (JSON);
      }
    }
    OPTIONAL BYTE_ARRAY i (STRING);
  }
  OPTIONAL group m (MAP) {
    REPEATED group key_value {
      REQUIRED BYTE_ARRAY key (STRING);
      OPTIONAL FIXED_LEN_BYTE_ARRAY (16) value (UUID);
    }
  }
}
";

    #[test]
    fn structs_are_groups_and_maps_are_maps() {
        let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        let map = format!("{{b:{id},a:NULL}}");
        let s = DataType::Struct(Fields::from(vec![
            column("n", "int", &[]).0,
            column("j", "jsonb[]", &[]).0,
            column("i", "interval", &[]).0,
        ]));
        let s = Field::new("s", s, true);
        let text = StringArray::from(vec![Some("(1,\"{2,NULL}\",1 day)"), None]);
        let (records, errors) = cast_from_text(&text, &s, &TextStyle::default());
        assert!(errors.is_empty(), "{errors:?}");
        let m = map_field("m", &column("", "text", &[]).0, &column("", "uuid", &[]).0).unwrap();
        let text = StringArray::from(vec![Some(map.as_str()), None]);
        let (maps, errors) = cast_from_text(&text, &m, &TextStyle::default());
        assert!(errors.is_empty(), "{errors:?}");
        let schema = Arc::new(Schema::new(vec![s, m]));
        let batch = RecordBatch::try_new(schema.clone(), vec![records, maps]).unwrap();
        let out = files(&schema, &ChangeBatch::inserts(batch), 1 << 20, compression(0)).unwrap();
        let content = Bytes::copy_from_slice(out.iter().next().unwrap().1.unwrap());
        let metadata = ParquetRecordBatchReaderBuilder::try_new(content).unwrap();
        let mut types = vec![];
        print_schema(&mut types, metadata.parquet_schema().root_schema());
        assert_eq!(String::from_utf8(types).unwrap(), NESTED);
        let read = read(&out).remove(0);
        let shown = |at: usize, row| {
            arrow_cast::display::array_value_to_string(read.column(at), row).unwrap()
        };
        assert_eq!(shown(0, 0), "{n: 1, j: [2, ], i: P1D}");
        assert_eq!(shown(1, 0), "{a: , b: a0eebc999c0b4ef8bb6d6bb9bd380a11}");
        assert!(read.column(0).is_null(1) && read.column(1).is_null(1));
    }

    #[test]
    fn a_file_ends_where_it_is_large_enough_and_none_has_what_went() {
        let texts: Vec<String> = (0..20_000).map(|n| format!("{:x}", n * 7_919 % 10_007)).collect();
        let texts: Vec<Option<&str>> = texts.iter().map(|text| Some(text.as_str())).collect();
        let (field, array) = column("t", "text", &texts);
        let schema = Arc::new(Schema::new(vec![field]));
        let batch = RecordBatch::try_new(schema.clone(), vec![array]).unwrap();
        let weights: Vec<i64> = (0..20_000).map(|row| [2, -1, 0, 1][row % 4]).collect();
        let out = files(&schema, &ChangeBatch::new(batch, weights), 1 << 10, compression(0));
        let out = out.unwrap();
        assert!(out.len() > 1);
        assert_eq!(out.units, 15_000);
        assert_eq!(read(&out).iter().map(RecordBatch::num_rows).sum::<usize>(), 15_000);
    }
}
