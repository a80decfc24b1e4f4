//! Forms of expressions that sqlparser lacks or reads otherwise than PostgreSQL: signs before numbers, `TRIM(FROM x)`,
//! `SUBSTRING(x SIMILAR pattern ESCAPE e)`, `BETWEEN SYMMETRIC` and `IS DISTINCT FROM`.
//!
//! What has no node of its own in the tree becomes a call or a combination of comparisons that means the same.

use sqlparser::ast::{
    BinaryOperator, CastKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, TrimWhereField, UnaryOperator,
};
use sqlparser::dialect::{Dialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::dialect::PgDialect;
use super::types;

/// How tight COLLATE binds in sqlparser's PostgreSQL, next below `::` and subscripts; its enum of precedences lacks it.
const COLLATE_PRECEDENCE: u8 = 120;

type Parsed = Result<Expr, ParserError>;

/// An expression that begins here, where it is one of ours.
pub(super) fn prefix(parser: &mut Parser) -> Option<Parsed> {
    match parser.peek_token().token {
        Token::Minus => Some(signed(parser, UnaryOperator::Minus)),
        Token::Plus => Some(signed(parser, UnaryOperator::Plus)),
        Token::Word(word) if parser.peek_nth_token(1).token == Token::LParen => {
            match word.keyword {
                Keyword::CAST => Some(cast(parser)),
                Keyword::TRIM => trim(parser),
                Keyword::SUBSTRING if has_similar(parser) => Some(substring(parser)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A sign binds tighter than any operator between two operands: `-2 ^ 2` is 4.
fn signed(parser: &mut Parser, op: UnaryOperator) -> Parsed {
    parser.next_token();
    let is_signed = matches!(parser.peek_token().token, Token::Minus | Token::Plus);
    let operand = Box::new(parser.parse_subexpr(COLLATE_PRECEDENCE)?);
    // Two signs are written back without a space between them, which begins a comment.
    let expr = if is_signed { Box::new(Expr::Nested(operand)) } else { operand };
    Ok(Expr::UnaryOp { op, expr })
}

/// `CAST(x AS type)`, of our types as well.
fn cast(parser: &mut Parser) -> Parsed {
    parser.advance_token();
    parser.expect_token(&Token::LParen)?;
    let expr = Box::new(parser.parse_expr()?);
    parser.expect_keyword(Keyword::AS)?;
    let data_type = types::data_type(parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, format: None })
}

/// `x::type` of one of our types.
fn double_colon(parser: &mut Parser, operand: &Expr) -> Parsed {
    parser.advance_token();
    let data_type = types::data_type(parser)?;
    let (kind, expr) = (CastKind::DoubleColon, Box::new(operand.clone()));
    Ok(Expr::Cast { kind, expr, data_type, array: false, format: None })
}

/// `TRIM([BOTH | LEADING | TRAILING] FROM x)`.
fn trim(parser: &mut Parser) -> Option<Parsed> {
    let keyword = |nth: usize| match parser.peek_nth_token(nth).token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let (trim_where, tokens) = match (keyword(2), keyword(3)) {
        (Keyword::FROM, _) => (None, 3),
        (Keyword::BOTH, Keyword::FROM) => (Some(TrimWhereField::Both), 4),
        (Keyword::LEADING, Keyword::FROM) => (Some(TrimWhereField::Leading), 4),
        (Keyword::TRAILING, Keyword::FROM) => (Some(TrimWhereField::Trailing), 4),
        _ => return None,
    };
    for _ in 0..tokens {
        parser.next_token();
    }
    Some(parser.parse_expr().and_then(|expr| {
        parser.expect_token(&Token::RParen)?;
        let expr = Box::new(expr);
        Ok(Expr::Trim { trim_where, trim_what: None, expr, trim_characters: None })
    }))
}

/// Whether the parentheses that open after the next word hold a SIMILAR that is not followed by TO.
fn has_similar(parser: &Parser) -> bool {
    let mut depth = 0;
    for nth in 1.. {
        match parser.peek_nth_token(nth).token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 1 => return false,
            Token::RParen => depth -= 1,
            Token::EOF => return false,
            Token::Word(word) if depth == 1 && word.keyword == Keyword::SIMILAR => {
                let to = parser.peek_nth_token(nth + 1).token;
                return !matches!(to, Token::Word(to) if to.keyword == Keyword::TO);
            }
            _ => {}
        }
    }
    false
}

/// `SUBSTRING(x SIMILAR pattern ESCAPE e)` as `substring(x, pattern, e)`.
fn substring(parser: &mut Parser) -> Parsed {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    let below = PgDialect.prec_value(Precedence::Like);
    let value = parser.parse_subexpr(below)?;
    parser.expect_keyword(Keyword::SIMILAR)?;
    let pattern = parser.parse_subexpr(below)?;
    parser.expect_keyword(Keyword::ESCAPE)?;
    let escape = parser.parse_expr()?;
    parser.expect_token(&Token::RParen)?;
    Ok(call(name, vec![value, pattern, escape]))
}

fn call(name: Ident, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// An operator that follows `left`, where it is one of ours.
pub(super) fn infix(parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Parsed> {
    if parser.peek_token_ref().token == Token::DoubleColon && types::begins(parser, 1) {
        return Some(double_colon(parser, left));
    }
    if parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
        return Some(distinct(parser, left, precedence, Expr::IsDistinctFrom));
    }
    if parser.parse_keywords(&[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]) {
        return Some(distinct(parser, left, precedence, Expr::IsNotDistinctFrom));
    }
    between(parser, left)
}

/// sqlparser takes all of the expression that follows as the right side, so that `a IS DISTINCT FROM b OR c` became
/// `a IS DISTINCT FROM (b OR c)`.
fn distinct(
    parser: &mut Parser,
    left: &Expr,
    precedence: u8,
    of: fn(Box<Expr>, Box<Expr>) -> Expr,
) -> Parsed {
    let right = parser.parse_subexpr(precedence)?;
    Ok(of(Box::new(left.clone()), Box::new(right)))
}

/// `x [NOT] BETWEEN SYMMETRIC a AND b` is between the two whichever is larger; ASYMMETRIC is what BETWEEN is anyhow.
fn between(parser: &mut Parser, value: &Expr) -> Option<Parsed> {
    let word = |parser: &Parser, nth: usize| match parser.peek_nth_token(nth).token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let negated = word(parser, 0) == "NOT";
    let first = usize::from(negated);
    if word(parser, first) != "BETWEEN" {
        return None;
    }
    let symmetric = match word(parser, first + 1).as_str() {
        "SYMMETRIC" => true,
        "ASYMMETRIC" => false,
        _ => return None,
    };
    for _ in 0..first + 2 {
        parser.next_token();
    }
    Some(bounds(parser).map(|(low, high)| {
        let between = |low: &Expr, high: &Expr, negated| Expr::Between {
            expr: Box::new(value.clone()),
            negated,
            low: Box::new(low.clone()),
            high: Box::new(high.clone()),
        };
        if !symmetric {
            return between(&low, &high, negated);
        }
        let op = if negated { BinaryOperator::And } else { BinaryOperator::Or };
        Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(between(&low, &high, negated)),
            op,
            right: Box::new(between(&high, &low, negated)),
        }))
    }))
}

fn bounds(parser: &mut Parser) -> Result<(Expr, Expr), ParserError> {
    let precedence = PgDialect.prec_value(Precedence::Between);
    let low = parser.parse_subexpr(precedence)?;
    parser.expect_keyword(Keyword::AND)?;
    Ok((low, parser.parse_subexpr(precedence)?))
}
