//! What the server sends besides rows, put into the output buffer.

use arrow_schema::FieldRef;
use bytes::BytesMut;
use pgwire::error::PgWireError;
use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use pgwire::messages::data::{FieldDescription, NoData, ParameterDescription, RowDescription};
use pgwire::messages::extendedquery::{
    BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery,
    TransactionStatus as Status,
};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};
use pgwire::messages::{Message, PgWireBackendMessage as Backend};

use super::portal::Format;
use crate::error::Error;
use crate::session::TransactionStatus;
use crate::types::{pg_type_of, type_modifier};

/// The newest protocol we speak, 3.0, as PostgreSQL 15.
pub const PROTOCOL_VERSION: i32 = 3 << 16;

/// Text of a message is cut here, well below what pgwire refuses to encode.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    /// The connection ends with it.
    Fatal,
}

fn put(message: Backend, out: &mut BytesMut) {
    put_result(message.encode(out));
}

fn put_result(encoded: Result<(), PgWireError>) {
    // Encoding fails only past a length limit, and every text of ours is cut far below it.
    encoded.expect("messages are within pgwire's limits");
}

/// Protocol strings end at a NUL, so there is none inside.
fn clean(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    text.replace('\0', "\u{fffd}")
}

pub fn put_authentication_ok(out: &mut BytesMut) {
    put(Backend::Authentication(Authentication::Ok), out);
}

pub fn put_negotiation(unsupported_options: Vec<String>, out: &mut BytesMut) {
    let message = NegotiateProtocolVersion::new(PROTOCOL_VERSION, unsupported_options);
    put(Backend::NegotiateProtocolVersion(message), out);
}

pub fn put_key_data(pid: i32, secret: i32, out: &mut BytesMut) {
    put(Backend::BackendKeyData(BackendKeyData::new(pid, SecretKey::I32(secret))), out);
}

pub fn put_parameter_status(name: &str, value: &str, out: &mut BytesMut) {
    // pgwire refuses a parameter's status beyond 30,000 bytes; only a long application_name or the like comes near.
    let value = &value[..value.floor_char_boundary(16 * 1024)];
    put(Backend::ParameterStatus(ParameterStatus::new(clean(name), clean(value))), out);
}

pub fn put_ready(status: TransactionStatus, out: &mut BytesMut) {
    let status = match status {
        TransactionStatus::Idle => Status::Idle,
        TransactionStatus::InBlock => Status::Transaction,
        TransactionStatus::Failed => Status::Error,
    };
    put(Backend::ReadyForQuery(ReadyForQuery::new(status)), out);
}

pub fn put_command_complete(tag: &str, out: &mut BytesMut) {
    put(Backend::CommandComplete(CommandComplete::new(clean(tag))), out);
}

/// The tag of a statement that returned rows: its word and their count, where PostgreSQL counts.
pub fn put_rows_complete(word: &str, rows: u64, out: &mut BytesMut) {
    let tag = match word {
        "INSERT" => format!("INSERT 0 {rows}"),
        "SHOW" | "EXPLAIN" | "CALL" => word.to_owned(),
        _ => format!("{word} {rows}"),
    };
    put_command_complete(&tag, out);
}

pub fn put_empty_query(out: &mut BytesMut) {
    put(Backend::EmptyQueryResponse(EmptyQueryResponse::new()), out);
}

pub fn put_copy_in(binary: bool, columns: usize, out: &mut BytesMut) {
    let (format, formats) = copy_formats(binary, columns);
    let response = CopyInResponse::new(format, columns as i16, formats);
    put(Backend::CopyInResponse(response), out);
}

pub fn put_copy_out(binary: bool, columns: usize, out: &mut BytesMut) {
    let (format, formats) = copy_formats(binary, columns);
    let response = CopyOutResponse::new(format, columns as i16, formats);
    put(Backend::CopyOutResponse(response), out);
}

/// The format as a whole and of each column.
fn copy_formats(binary: bool, columns: usize) -> (i8, Vec<i16>) {
    (i8::from(binary), vec![i16::from(binary); columns])
}

pub fn put_copy_done(out: &mut BytesMut) {
    put(Backend::CopyDone(CopyDone::new()), out);
}

pub fn put_parse_complete(out: &mut BytesMut) {
    put(Backend::ParseComplete(ParseComplete::new()), out);
}

pub fn put_bind_complete(out: &mut BytesMut) {
    put(Backend::BindComplete(BindComplete::new()), out);
}

pub fn put_close_complete(out: &mut BytesMut) {
    put(Backend::CloseComplete(CloseComplete::new()), out);
}

pub fn put_portal_suspended(out: &mut BytesMut) {
    put(Backend::PortalSuspended(PortalSuspended::new()), out);
}

pub fn put_no_data(out: &mut BytesMut) {
    put(Backend::NoData(NoData::new()), out);
}

pub fn put_parameter_description(params: &[FieldRef], out: &mut BytesMut) {
    let oids = params.iter().map(|p| pg_type_of(p).oid).collect();
    put(Backend::ParameterDescription(ParameterDescription::new(oids)), out);
}

pub fn put_row_description(columns: &[FieldRef], formats: &[Format], out: &mut BytesMut) {
    let fields = columns.iter().enumerate().map(|(i, column)| {
        let pg_type = pg_type_of(column);
        let format = Format::of_column(formats, i);
        let mut name = clean(column.name());
        name.truncate(name.floor_char_boundary(64 * 1024));
        FieldDescription::new(
            name,
            0,
            0,
            pg_type.oid,
            pg_type.size,
            type_modifier(column),
            format.code(),
        )
    });
    put(Backend::RowDescription(RowDescription::new(fields.collect())), out);
}

pub fn put_error(error: &Error, severity: Severity, out: &mut BytesMut) {
    let word = match severity {
        Severity::Error => "ERROR",
        Severity::Fatal => "FATAL",
    };
    put_result(ErrorResponse::new(fields_of(error, word)).encode(out));
}

pub fn put_notice(notice: &Error, out: &mut BytesMut) {
    let severity = if notice.code.is_warning() { "WARNING" } else { "NOTICE" };
    put_result(NoticeResponse::new(fields_of(notice, severity)).encode(out));
}

fn fields_of(error: &Error, severity: &str) -> Vec<(u8, String)> {
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', error.code.0.to_owned()),
        (b'M', clean(&error.message)),
    ];
    let position = error.position.map(|p| p.to_string());
    let subject = error.subject.as_deref();
    let optional = [
        (b'D', error.detail.as_deref()),
        (b'H', error.hint.as_deref()),
        (b'P', position.as_deref()),
        (b'W', error.context.as_deref()),
        (b't', subject.map(|subject| subject.table.as_str())),
        (b'c', subject.and_then(|subject| subject.column.as_deref())),
        (b'n', subject.and_then(|subject| subject.constraint.as_deref())),
    ];
    for (code, text) in optional {
        if let Some(text) = text {
            fields.push((code, clean(text)));
        }
    }
    fields
}
