//! SUBSCRIBE: the changes of a relation or query as they happen.

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parse};
use super::statement::{Subscribe, SubscribeTo};
use super::utility::on;
use crate::error::{Error, SqlState};

impl Cursor {
    /// What follows SUBSCRIBE.
    pub(super) fn subscribe(&mut self) -> Parse<Subscribe> {
        self.eat(&["TO"]);
        let to = match self.eat_token(&Token::LParen) {
            true => {
                let query = self.query()?;
                self.expect_token(&Token::RParen)?;
                SubscribeTo::Query(query)
            }
            false => SubscribeTo::Relation(self.name()?),
        };
        let (mut snapshot, mut progress, mut as_of) = (true, false, None);
        if self.eat(&["WITH"]) {
            for (name, value) in self.parenthesized(Self::subscribe_option)? {
                match name.as_str() {
                    "snapshot" => snapshot = on(&name, value.as_deref())?,
                    "progress" => progress = on(&name, value.as_deref())?,
                    _ => {
                        let message = format!("unrecognized SUBSCRIBE option \"{name}\"");
                        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                            .with_hint("Options are snapshot and progress.")
                            .into());
                    }
                }
            }
        }
        if self.eat(&["AS", "OF"]) {
            let epoch = self.set_value()?;
            let number = epoch.parse().map_err(|_| {
                let message = format!("invalid epoch: \"{epoch}\"");
                Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
            });
            as_of = Some(number?);
        }
        Ok(Subscribe { to, snapshot, progress, as_of })
    }

    /// `name`, `name value` or `name = value`
    fn subscribe_option(&mut self) -> Parse<(String, Option<String>)> {
        let name = self.ident()?;
        if self.at_token(&Token::Comma) || self.at_token(&Token::RParen) {
            return Ok((name, None));
        }
        self.eat_token(&Token::Eq);
        Ok((name, Some(self.set_value()?.to_lowercase())))
    }
}
