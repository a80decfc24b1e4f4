//! ALTER of tables, sources, views, sinks, indexes, sequences and schemas.

use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::create::Body;
use super::cursor::{Cursor, Parse};
use super::sequence::SequenceOptions;
use super::statement::{
    Alter, AlterAction, DropKind, Generated, IdentityChange, NewConstraint, Statement,
};
use crate::error::Error;

impl Cursor {
    /// `None` for ALTER of what is no relation or schema: SYSTEM, ROLE and the like.
    pub(super) fn alter(&mut self) -> Parse<Option<Statement>> {
        let index = self.parser.index();
        self.expect(&["ALTER"])?;
        let Some(kind) = self.object_kind() else {
            while self.parser.index() > index {
                self.parser.prev_token();
            }
            return Ok(None);
        };
        let if_exists = self.if_exists();
        self.eat(&["ONLY"]);
        let name = self.name()?;
        self.eat_token(&Token::Mul);
        let actions = match kind {
            DropKind::Sequence => self.alter_sequence()?,
            _ => self.comma_separated(Self::alter_action)?,
        };
        Ok(Some(Statement::Alter(Box::new(Alter { kind, name, if_exists, actions }))))
    }

    pub(super) fn alter_action(&mut self) -> Parse<AlterAction> {
        if self.eat(&["RENAME"]) {
            if self.eat(&["TO"]) {
                return Ok(AlterAction::Rename(self.ident()?));
            }
            if self.eat(&["CONSTRAINT"]) {
                let from = self.ident()?;
                self.expect(&["TO"])?;
                return Ok(AlterAction::RenameConstraint { from, to: self.ident()? });
            }
            self.eat(&["COLUMN"]);
            let from = self.ident()?;
            self.expect(&["TO"])?;
            return Ok(AlterAction::RenameColumn { from, to: self.ident()? });
        }
        if self.eat(&["SET", "SCHEMA"]) {
            return Ok(AlterAction::SetSchema(self.ident()?));
        }
        if self.eat(&["OWNER", "TO"]) {
            return Ok(AlterAction::Owner(self.ident()?));
        }
        if self.eat(&["ADD"]) {
            return self.alter_add();
        }
        if self.eat(&["VALIDATE", "CONSTRAINT"]) {
            return Ok(AlterAction::ValidateConstraint(self.ident()?));
        }
        if self.eat(&["DROP"]) {
            return self.alter_drop();
        }
        if self.eat(&["ALTER"]) {
            self.eat(&["COLUMN"]);
            let column = self.ident()?;
            return self.alter_column(column);
        }
        let words: Vec<String> =
            self.rest().iter().take(2).map(|t| t.token.to_string().to_uppercase()).collect();
        Err(Error::unsupported(format!("ALTER ... {} is not supported", words.join(" "))).into())
    }

    fn alter_add(&mut self) -> Parse<AlterAction> {
        let constraint = self.at(&["CONSTRAINT"]) || self.at_table_constraint();
        let if_not_exists = !constraint && {
            self.eat(&["COLUMN"]);
            self.if_not_exists()
        };
        let mut body = Body::default();
        self.body_item(&mut body)?;
        let not_valid = self.eat(&["NOT", "VALID"]);
        let mut constraints: Vec<NewConstraint> = body
            .checks
            .into_iter()
            .map(|check| NewConstraint::Check {
                check: Box::new(check),
                not_valid: constraint && not_valid,
            })
            .collect();
        constraints.extend(body.uniques.into_iter().map(NewConstraint::Unique));
        if !body.primary_key.is_empty() {
            let (name, columns) = (body.primary_key_name, body.primary_key);
            constraints.push(NewConstraint::PrimaryKey { name, columns });
        }
        match (body.columns.pop(), constraint) {
            (Some(column), false) if !not_valid => {
                let column = Box::new(column);
                Ok(AlterAction::AddColumn { column, constraints, if_not_exists })
            }
            (None, true) if constraints.len() == 1 => {
                Ok(AlterAction::AddConstraint(constraints.remove(0)))
            }
            _ => self.expected("a column or a constraint"),
        }
    }

    fn alter_drop(&mut self) -> Parse<AlterAction> {
        let constraint = self.eat(&["CONSTRAINT"]);
        if !constraint {
            self.eat(&["COLUMN"]);
        }
        let if_exists = self.if_exists();
        let name = self.ident()?;
        let cascade = self.eat_one(&["CASCADE", "RESTRICT"]) == Some("CASCADE");
        Ok(match constraint {
            true => AlterAction::DropConstraint { name, if_exists, cascade },
            false => AlterAction::DropColumn { name, if_exists, cascade },
        })
    }

    fn alter_column(&mut self, column: String) -> Parse<AlterAction> {
        if self.eat(&["SET", "DEFAULT"]) {
            let default = Some(self.expr()?);
            return Ok(AlterAction::SetDefault { column, default });
        }
        if self.eat(&["DROP", "DEFAULT"]) {
            return Ok(AlterAction::SetDefault { column, default: None::<ast::Expr> });
        }
        if self.eat(&["SET", "NOT", "NULL"]) {
            return Ok(AlterAction::SetNotNull { column, not_null: true });
        }
        if self.eat(&["DROP", "NOT", "NULL"]) {
            return Ok(AlterAction::SetNotNull { column, not_null: false });
        }
        if self.eat(&["SET", "DATA", "TYPE"]) || self.eat(&["TYPE"]) {
            let data_type = self.data_type()?;
            let using = if self.eat(&["USING"]) { Some(self.expr()?) } else { None };
            return Ok(AlterAction::SetType { column, data_type, using });
        }
        if let Some(change) = self.identity_change()? {
            return Ok(AlterAction::Identity { column, change: Box::new(change) });
        }
        let words: Vec<String> =
            self.rest().iter().take(3).map(|t| t.token.to_string().to_uppercase()).collect();
        let message = format!("ALTER COLUMN ... {} is not supported", words.join(" "));
        Err(Error::unsupported(message)
            .with_hint("Create a table with the column as it is to be, and fill it from this one.")
            .into())
    }
}

impl Cursor {
    fn identity_change(&mut self) -> Parse<Option<IdentityChange>> {
        if self.eat(&["ADD"]) {
            return match self.identity()? {
                Some(Generated::Identity { always, options }) => {
                    Ok(Some(IdentityChange::Add { always, options: *options }))
                }
                _ => self.expected("GENERATED ... AS IDENTITY"),
            };
        }
        if self.eat(&["DROP", "IDENTITY"]) {
            return Ok(Some(IdentityChange::Drop { if_exists: self.if_exists() }));
        }
        let (mut always, mut options) = (None, SequenceOptions::default());
        loop {
            if self.eat(&["SET", "GENERATED", "ALWAYS"]) {
                always = Some(true);
            } else if self.eat(&["SET", "GENERATED", "BY", "DEFAULT"]) {
                always = Some(false);
            } else if self.at(&["RESTART"]) || self.at(&["SET"]) {
                self.eat(&["SET"]);
                if !self.sequence_option(&mut options)? {
                    return self.expected("an option of a sequence");
                }
            } else if always.is_none() && options.is_empty() {
                return Ok(None);
            } else {
                return Ok(Some(IdentityChange::Set { always, options }));
            }
        }
    }
}

impl AlterAction {
    /// As messages name it.
    pub fn words(&self) -> &'static str {
        match self {
            AlterAction::Rename(_) => "RENAME",
            AlterAction::RenameColumn { .. } => "RENAME COLUMN",
            AlterAction::RenameConstraint { .. } => "RENAME CONSTRAINT",
            AlterAction::SetSchema(_) => "SET SCHEMA",
            AlterAction::Owner(_) => "OWNER TO",
            AlterAction::Sequence(_) => "ALTER SEQUENCE",
            AlterAction::Identity { .. } => "ALTER COLUMN ... IDENTITY",
            AlterAction::AddColumn { .. } => "ADD COLUMN",
            AlterAction::DropColumn { .. } => "DROP COLUMN",
            AlterAction::SetDefault { .. } => "ALTER COLUMN ... SET DEFAULT",
            AlterAction::SetNotNull { not_null: true, .. } => "ALTER COLUMN ... SET NOT NULL",
            AlterAction::SetNotNull { not_null: false, .. } => "ALTER COLUMN ... DROP NOT NULL",
            AlterAction::SetType { .. } => "ALTER COLUMN ... SET DATA TYPE",
            AlterAction::AddConstraint(_) => "ADD CONSTRAINT",
            AlterAction::ValidateConstraint(_) => "VALIDATE CONSTRAINT",
            AlterAction::DropConstraint { .. } => "DROP CONSTRAINT",
        }
    }
}
