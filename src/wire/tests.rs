//! The codec, the buffers and the opening, without a session.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, FieldRef};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::backend::{self, Severity};
use super::frontend::{Bind, Message, Target, decode};
use super::portal::Format;
use super::rows::BatchRows;
use super::socket::{Frame, Socket};
use super::startup::{Opening, open};
use crate::backends::Backends;
use crate::error::{Error, SqlState};
use crate::types::TextStyle;

fn frame(kind: u8, body: &[u8]) -> Frame {
    Frame { kind, body: Bytes::copy_from_slice(body) }
}

async fn pair() -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, Socket::new(listener.accept().await.unwrap().0))
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let mut packet = ((body.len() + 4) as i32).to_be_bytes().to_vec();
    packet.extend_from_slice(body);
    packet
}

#[test]
fn messages_are_decoded_field_by_field() {
    let parse = decode(frame(b'P', b"s1\0select $1\0\0\x01\0\0\0\x17")).unwrap();
    let expected =
        Message::Parse { name: "s1".into(), sql: "select $1".into(), param_oids: vec![23] };
    assert_eq!(parse, expected);
    let mut body = BytesMut::from(&b"p\0s\0\0\x01\0\x01"[..]);
    body.put_slice(b"\0\x02\0\0\0\x02hi\xff\xff\xff\xff\0\0");
    let bind = Bind {
        portal: "p".into(),
        statement: "s".into(),
        param_formats: vec![1],
        params: vec![Some(Bytes::from_static(b"hi")), None],
        result_formats: vec![],
    };
    assert_eq!(decode(frame(b'B', &body)).unwrap(), Message::Bind(bind));
    let describe = Message::Describe { target: Target::Portal, name: "p".into() };
    assert_eq!(decode(frame(b'D', b"Pp\0")).unwrap(), describe);
    let execute = Message::Execute { portal: "".into(), rows_max: 5 };
    assert_eq!(decode(frame(b'E', b"\0\0\0\0\x05")).unwrap(), execute);
    assert_eq!(decode(frame(b'S', b"")).unwrap(), Message::Sync);
}

#[test]
fn every_cut_of_a_message_is_a_protocol_violation() {
    let whole: &[(u8, &[u8])] = &[
        (b'Q', b"select 1\0"),
        (b'P', b"s1\0select $1\0\0\x01\0\0\0\x17"),
        (b'B', b"p\0s\0\0\x01\0\x01\0\x01\0\0\0\x02hi\0\x01\0\x01"),
        (b'D', b"Sx\0"),
        (b'E', b"x\0\0\0\0\0"),
        (b'C', b"Px\0"),
    ];
    for (kind, body) in whole {
        assert!(decode(frame(*kind, body)).is_ok());
        for cut in 0..body.len() {
            let error = decode(frame(*kind, &body[..cut])).unwrap_err();
            assert_eq!(error.code, SqlState::PROTOCOL_VIOLATION, "{} cut at {cut}", *kind as char);
        }
        let longer = [body, &b"x"[..]].concat();
        assert!(decode(frame(*kind, &longer)).is_err(), "{} with a byte too many", *kind as char);
    }
    let not_utf8 = decode(frame(b'Q', b"\xff\0")).unwrap_err();
    assert_eq!(not_utf8.code, SqlState::CHARACTER_NOT_IN_REPERTOIRE);
}

#[tokio::test]
async fn frames_come_whole_and_impossible_lengths_are_refused() {
    let (mut client, mut socket) = pair().await;
    client.write_all(b"Q\0\0\0\x06").await.unwrap();
    assert!(socket.read().await.unwrap());
    assert!(socket.take_frame().unwrap().is_none());
    client.write_all(b"a\0S\0\0\0\x04").await.unwrap();
    while socket.input.len() < 12 {
        assert!(socket.read().await.unwrap());
    }
    let query = socket.take_frame().unwrap().unwrap();
    assert_eq!((query.kind, &query.body[..]), (b'Q', &b"a\0"[..]));
    assert_eq!(socket.take_frame().unwrap().unwrap().kind, b'S');
    for bad in [
        &b"Q\x7f\xff\xff\xff"[..],
        b"Q\0\0\0\x03",
        b"Q\xff\xff\xff\xff",
        b"S\0\x01\0\0",
        b"?\0\0\0\x04",
    ] {
        socket.input = BytesMut::from(bad);
        assert_eq!(socket.take_frame().err().unwrap().code, SqlState::PROTOCOL_VIOLATION);
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_and_what_it_sent_is_kept() {
    let (mut client, mut socket) = pair().await;
    client.write_all(b"S\0\0\0\x04").await.unwrap();
    drop(client);
    socket.disconnected().await;
    assert_eq!(socket.take_frame().unwrap().unwrap().kind, b'S');
}

#[tokio::test]
async fn encryption_is_declined_and_the_startup_packet_read() {
    let (mut client, mut socket) = pair().await;
    let asking = tokio::spawn(async move {
        let mut answer = [0];
        for code in [80_877_103_i32, 80_877_104] {
            client.write_all(&with_length(&code.to_be_bytes())).await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"N");
        }
        client.write_all(&with_length(b"\0\x03\0\0user\0joe\0\0")).await.unwrap();
        client
    });
    let Ok(Opening::Startup(startup)) = open(&mut socket).await else { panic!("a startup packet") };
    assert_eq!(startup.parameters.get("user").map(String::as_str), Some("joe"));
    drop(asking.await.unwrap());
}

#[tokio::test]
async fn openings_that_make_no_sense_are_refused() {
    for (packet, code) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "08P01"),
        (with_length(b"\0\x02\0\0x"), "0A000"),
        (with_length(b"\0\x03\0\0user\0joe"), "08P01"),
        (with_length(b"\0\x03\0\0"), "08P01"),
    ] {
        let (mut client, mut socket) = pair().await;
        client.write_all(&packet).await.unwrap();
        assert_eq!(open(&mut socket).await.err().unwrap().code.0, code);
    }
    let (client, mut socket) = pair().await;
    drop(client);
    assert!(matches!(open(&mut socket).await, Ok(Opening::Closed)));
}

#[tokio::test]
async fn a_cancel_request_reaches_the_statement_with_its_key_only() {
    let backends = Arc::new(Backends::default());
    let registered = backends.register("joe", None, CancellationToken::new());
    let backend = registered.backend.clone();
    let token = CancellationToken::new();
    let guard = backend.begin(token.clone());
    backends.cancel(backend.pid, backend.secret.wrapping_add(1));
    backends.cancel(backend.pid.wrapping_add(1), backend.secret);
    assert!(!token.is_cancelled());
    let mut body = 80_877_102_i32.to_be_bytes().to_vec();
    body.extend(backend.pid.to_be_bytes());
    body.extend(backend.secret.to_be_bytes());
    let (mut client, mut socket) = pair().await;
    client.write_all(&with_length(&body)).await.unwrap();
    let Ok(Opening::Cancel { pid, secret }) = open(&mut socket).await else {
        panic!("a cancel request")
    };
    backends.cancel(pid, secret);
    assert!(token.is_cancelled());
    drop(guard);
    let next = CancellationToken::new();
    drop(backend.begin(next.clone()));
    backends.cancel(pid, secret);
    assert!(!next.is_cancelled(), "nothing runs, so nothing is cancelled");
    drop(registered);
    assert!(backends.get(pid).is_none());
}

fn two_columns() -> (RecordBatch, Vec<FieldRef>) {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x", "yz"]));
    let columns = vec![
        Arc::new(Field::new("n", DataType::Int32, true)),
        Arc::new(Field::new("t", DataType::Utf8, true)),
    ];
    (RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap(), columns)
}

#[test]
fn rows_are_sent_in_the_format_of_each_column() {
    let (batch, columns) = two_columns();
    let formats = [Format::Binary, Format::Text];
    let mut rows = BatchRows::try_new(&batch, &columns, &formats).unwrap();
    let mut out = BytesMut::new();
    assert_eq!(rows.put(u64::MAX, usize::MAX, &TextStyle::default(), &mut out).unwrap(), 2);
    assert!(rows.is_done());
    let first = b"D\0\0\0\x13\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x01x";
    let second = b"D\0\0\0\x10\0\x02\xff\xff\xff\xff\0\0\0\x02yz";
    assert_eq!(&out[..], [&first[..], &second[..]].concat());
}

#[test]
fn rows_stop_at_the_limit_and_at_a_full_buffer() {
    let (batch, columns) = two_columns();
    let style = TextStyle::default();
    let mut rows = BatchRows::try_new(&batch, &columns, &[]).unwrap();
    let mut out = BytesMut::new();
    assert_eq!(rows.put(1, usize::MAX, &style, &mut out).unwrap(), 1);
    assert_eq!(rows.put(5, 1, &style, &mut out).unwrap(), 0);
    out.clear();
    assert_eq!(rows.put(5, 1, &style, &mut out).unwrap(), 1);
    assert!(BatchRows::try_new(&batch, &columns[..1], &[]).is_err());
}

#[test]
fn errors_carry_detail_hint_and_position() {
    let error = Error::syntax("bad \0 text").with_detail("d").with_hint("h").at(7);
    let mut out = BytesMut::new();
    backend::put_error(&error, Severity::Error, &mut out);
    let text = String::from_utf8_lossy(&out[5..]).replace('\0', "|");
    assert_eq!(text, "SERROR|VERROR|C42601|Mbad \u{fffd} text|Dd|Hh|P7||");
    let mut out = BytesMut::new();
    backend::put_notice(&Error::new(SqlState::ACTIVE_SQL_TRANSACTION, "again"), &mut out);
    assert!(out.starts_with(b"N") && out.windows(8).any(|w| w == b"SWARNING"));
}

#[test]
fn command_tags_count_rows_where_postgresql_does() {
    let tag = |word: &str| {
        let mut out = BytesMut::new();
        backend::put_rows_complete(word, 3, &mut out);
        String::from_utf8_lossy(&out[5..out.len() - 1]).into_owned()
    };
    assert_eq!([tag("SELECT"), tag("INSERT"), tag("SHOW")], ["SELECT 3", "INSERT 0 3", "SHOW"]);
}
