//! Types that sqlparser's PostgreSQL lacks: `STRUCT<a INT, b VARCHAR>` and `MAP(VARCHAR, INT)`, nested at will, and arrays of
//! them. All other types are sqlparser's.

use sqlparser::ast::{ArrayElemTypeDef, DataType, StructBracketKind, StructField};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// Deeper types are refused before the parser's own stack is at risk.
const DEPTH_MAX: usize = 40;

/// A type that begins here.
pub(super) fn data_type(parser: &mut Parser) -> Result<DataType, ParserError> {
    let (data_type, surplus) = data_type_in(parser, 0)?;
    // The outermost type has no bracket of its own to close, so a surplus one is a mistake of the user.
    match surplus {
        0 => Ok(data_type),
        _ => parser.expected_ref("a data type", parser.peek_token_ref()),
    }
}

/// Whether one of our own types begins at the token `nth` from here.
pub(super) fn begins(parser: &Parser, nth: usize) -> bool {
    let opens = parser.peek_nth_token(nth + 1).token;
    (at(parser, nth, "STRUCT") && opens == Token::Lt)
        || (at(parser, nth, "MAP") && matches!(opens, Token::LParen | Token::Lt))
}

fn at(parser: &Parser, nth: usize, word: &str) -> bool {
    match parser.peek_nth_token(nth).token {
        Token::Word(token) => token.quote_style.is_none() && token.value.eq_ignore_ascii_case(word),
        _ => false,
    }
}

/// The type, and how many closing brackets of enclosing types were taken with its own (`>>` is one token).
fn data_type_in(parser: &mut Parser, depth: usize) -> Result<(DataType, usize), ParserError> {
    if depth > DEPTH_MAX {
        return Err(ParserError::RecursionLimitExceeded);
    }
    if !begins(parser, 0) {
        return Ok((parser.parse_data_type()?, 0));
    }
    let is_map = at(parser, 0, "MAP");
    parser.advance_token();
    let (mut data_type, surplus) = match is_map {
        true => map(parser, depth)?,
        false => members(parser, depth)?,
    };
    while surplus == 0 && parser.consume_token(&Token::LBracket) {
        parser.expect_token(&Token::RBracket)?;
        data_type = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(data_type), None));
    }
    Ok((data_type, surplus))
}

/// `<a INT, b VARCHAR>`.
fn members(parser: &mut Parser, depth: usize) -> Result<(DataType, usize), ParserError> {
    parser.expect_token(&Token::Lt)?;
    let mut fields = vec![];
    let surplus = loop {
        let field_name = Some(parser.parse_identifier()?);
        let (field_type, surplus) = data_type_in(parser, depth + 1)?;
        fields.push(StructField { field_name, field_type, options: None });
        if let Some(surplus) = closed(parser, depth, surplus) {
            break surplus;
        }
        parser.expect_token(&Token::Comma)?;
    };
    Ok((DataType::Struct(fields, StructBracketKind::AngleBrackets), surplus))
}

/// `(VARCHAR, INT)`, or as Flink writes it `<VARCHAR, INT>`.
fn map(parser: &mut Parser, depth: usize) -> Result<(DataType, usize), ParserError> {
    let parenthesis = parser.consume_token(&Token::LParen);
    if !parenthesis {
        parser.expect_token(&Token::Lt)?;
    }
    let (key, surplus) = data_type_in(parser, depth + 1)?;
    if surplus > 0 {
        return parser.expected_ref(",", parser.peek_token_ref());
    }
    parser.expect_token(&Token::Comma)?;
    let (value, surplus) = data_type_in(parser, depth + 1)?;
    let surplus = match (parenthesis, surplus) {
        (true, 0) => {
            parser.expect_token(&Token::RParen)?;
            0
        }
        (true, _) => return parser.expected_ref(")", parser.peek_token_ref()),
        (false, _) => match closed(parser, depth, surplus) {
            Some(surplus) => surplus,
            None => return parser.expected_ref(">", parser.peek_token_ref()),
        },
    };
    Ok((DataType::Map(Box::new(key), Box::new(value)), surplus))
}

/// Takes the bracket that closes a type, where it comes: the surplus ones that were taken with it.
fn closed(parser: &mut Parser, depth: usize, surplus: usize) -> Option<usize> {
    if surplus > 0 {
        return Some(surplus - 1);
    }
    // Several brackets in a row are an operator to the lexer.
    let brackets = match &parser.peek_token_ref().token {
        Token::Gt => 1,
        Token::ShiftRight => 2,
        Token::CustomBinaryOperator(name) if name.bytes().all(|b| b == b'>') => name.len(),
        _ => return None,
    };
    (brackets <= depth + 1).then(|| {
        parser.advance_token();
        brackets - 1
    })
}
