//! The system relations about the server as a whole: databases, schemas, roles, settings, sessions.
//!
//! There is one database and one superuser; a session that came under another name is shown as a role of its own.

use super::cells::{Row, row};
use super::relations::{DATABASE_OID, OWNER_OID, TABLESPACE_OID};
use super::{CursorRow, JobRow, PreparedRow, Setting, SystemContext};
use crate::catalog::{DATABASE, OWNER};

/// The role of a session whose user is not the owner.
pub(super) const SESSION_ROLE_OID: i64 = 16_002;

/// PostgreSQL's number for UTF8.
pub(super) const UTF8: i64 = 6;

/// `None` for relations that are not made here.
pub(super) fn rows(context: &SystemContext, name: &str) -> Option<Vec<Row>> {
    Some(match name {
        "pg_namespace" => {
            let schemas = context.snapshot.schemas();
            schemas.map(|(name, s)| row! {oid: s.oid, nspname: name, nspowner: OWNER_OID}).collect()
        }
        "pg_database" => vec![pg_database()],
        "pg_tablespace" => {
            vec![row! {oid: TABLESPACE_OID, spcname: "pg_default", spcowner: OWNER_OID}]
        }
        "pg_authid" | "pg_roles" => {
            roles(context).into_iter().map(|(oid, name)| role(oid, name)).collect()
        }
        "pg_user" | "pg_shadow" => {
            roles(context).into_iter().map(|(oid, name)| user(oid, name)).collect()
        }
        "pg_settings" => context.settings.iter().map(setting).collect(),
        "pg_prepared_statements" => context.prepared.iter().map(prepared).collect(),
        "pg_cursors" => context.cursors.iter().map(cursor).collect(),
        "pg_stat_activity" => pg_stat_activity(context),
        "jobs" => context.jobs.iter().map(job).collect(),
        "pg_stat_database" => vec![row! {datid: DATABASE_OID, datname: DATABASE}],
        _ => return None,
    })
}

/// (oid, name) of each role.
pub(super) fn roles(context: &SystemContext) -> Vec<(i64, &str)> {
    let mut roles = vec![(OWNER_OID, OWNER)];
    if context.user != OWNER {
        roles.push((SESSION_ROLE_OID, context.user.as_str()));
    }
    roles
}

fn pg_database() -> Row {
    row! {
        oid: DATABASE_OID, datname: DATABASE, datdba: OWNER_OID, encoding: UTF8, datlocprovider: "c", datallowconn: true,
        datconnlimit: -1, dattablespace: TABLESPACE_OID, datcollate: "C.UTF-8", datctype: "C.UTF-8",
    }
}

fn role(oid: i64, name: &str) -> Row {
    row! {
        oid: oid, rolname: name, rolsuper: true, rolinherit: true, rolcreaterole: true, rolcreatedb: true,
        rolcanlogin: true, rolreplication: false, rolbypassrls: true, rolconnlimit: -1,
    }
}

fn user(oid: i64, name: &str) -> Row {
    row! {usesysid: oid, usename: name, usecreatedb: true, usesuper: true, userepl: false, usebypassrls: true}
}

fn setting(setting: &Setting) -> Row {
    row! {
        name: &setting.name, setting: &setting.value, category: "Tidewater", short_desc: &setting.description,
        context: "user", vartype: "string", source: if setting.value == setting.default { "default" } else { "session" },
        boot_val: &setting.default, reset_val: &setting.default, pending_restart: false,
    }
}

fn prepared(prepared: &PreparedRow) -> Row {
    row! {
        name: &prepared.name, statement: &prepared.statement, prepare_time: prepared.made,
        parameter_types: prepared.parameter_types.clone(), from_sql: prepared.from_sql, generic_plans: 0, custom_plans: 0,
    }
}

fn cursor(cursor: &CursorRow) -> Row {
    row! {
        name: &cursor.name, statement: &cursor.statement, is_holdable: cursor.is_holdable,
        is_binary: cursor.is_binary, is_scrollable: cursor.is_scrollable, creation_time: cursor.made,
    }
}

fn job(job: &JobRow) -> Row {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    row! {
        id: number(job.object.id.0), schema: &job.object.schema, object: &job.object.name,
        kind: job.object.kind.words(), state: job.state, done: number(job.done), total: job.total.map(number),
        percent: job.percent(), started: job.since, statement: &job.object.create_sql,
    }
}

fn pg_stat_activity(context: &SystemContext) -> Vec<Row> {
    let roles = roles(context);
    let sessions = context.sessions.iter().map(|session| {
        let role = roles.iter().find(|(_, name)| *name == session.user).map(|(oid, _)| *oid);
        row! {
            datid: DATABASE_OID, datname: DATABASE, pid: session.pid, usesysid: role, usename: &session.user,
            application_name: &session.application_name, client_addr: session.client_addr.clone(),
            backend_start: session.backend_start, query_start: session.query_start, state: &session.state,
            query: &session.query, backend_type: "client backend",
        }
    });
    sessions.collect()
}
