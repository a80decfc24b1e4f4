//! Sequences in pg_catalog and information_schema, and how they depend on the tables they number.

use super::SystemContext;
use super::cells::{Row, row};
use super::relations::{PG_CLASS_OID, defaults};
use crate::catalog::DATABASE;
use crate::catalog::object::{Object, ObjectKind};
use crate::catalog::sequence::{Counter, Counting, Owner};

/// pg_attrdef, as OIDs of system relations go.
const PG_ATTRDEF_OID: i64 = 2604;

/// A sequence with its parts.
struct Sequence<'a> {
    object: &'a Object,
    counting: &'a Counting,
    counter: &'a Counter,
    owner: Option<Owner>,
}

fn sequences(context: &SystemContext) -> impl Iterator<Item = Sequence<'_>> {
    context.snapshot.objects().filter_map(|object| match &object.kind {
        ObjectKind::Sequence { counting, counter, owner } => {
            Some(Sequence { object, counting, counter, owner: *owner })
        }
        _ => None,
    })
}

pub(super) fn pg_sequence(context: &SystemContext) -> Vec<Row> {
    let row = |Sequence { object, counting, .. }: Sequence<'_>| {
        row! {
            seqrelid: object.oid, seqtypid: counting.number_type.oid(), seqstart: counting.start,
            seqincrement: counting.increment, seqmax: counting.max, seqmin: counting.min, seqcache: counting.cache,
            seqcycle: counting.cycle,
        }
    };
    sequences(context).map(row).collect()
}

pub(super) fn pg_sequences(context: &SystemContext) -> Vec<Row> {
    let row = |Sequence { object, counting, counter, .. }: Sequence<'_>| {
        let counted = counter.counted();
        row! {
            schemaname: &object.schema, sequencename: &object.name, sequenceowner: &object.owner,
            data_type: counting.number_type.words(), start_value: counting.start, min_value: counting.min,
            max_value: counting.max, increment_by: counting.increment, cycle: counting.cycle,
            cache_size: counting.cache, last_value: counted.is_called.then_some(counted.last_value),
        }
    };
    sequences(context).map(row).collect()
}

/// Those of identity columns are left out, as in PostgreSQL.
pub(super) fn information(context: &SystemContext) -> Vec<Row> {
    let row = |Sequence { object, counting, .. }: Sequence<'_>| {
        row! {
            sequence_catalog: DATABASE, sequence_schema: &object.schema, sequence_name: &object.name,
            data_type: counting.number_type.words(), numeric_precision: i64::from(counting.number_type.bits()),
            numeric_precision_radix: 2, numeric_scale: 0, start_value: counting.start.to_string(),
            minimum_value: counting.min.to_string(), maximum_value: counting.max.to_string(),
            increment: counting.increment.to_string(), cycle_option: if counting.cycle { "YES" } else { "NO" },
        }
    };
    let own = |sequence: &Sequence<'_>| !sequence.owner.is_some_and(|owner| owner.is_identity);
    sequences(context).filter(own).map(row).collect()
}

/// A sequence depends on the column that owns it, a default on the sequences that it calls.
pub(super) fn pg_depend(context: &SystemContext) -> Vec<Row> {
    let owned = sequences(context).filter_map(|Sequence { object, owner, .. }| {
        let owner = owner?;
        Some(row! {
            classid: PG_CLASS_OID, objid: object.oid, objsubid: 0, refclassid: PG_CLASS_OID, refobjid: owner.table,
            refobjsubid: owner.column as i64 + 1, deptype: if owner.is_identity { "i" } else { "a" },
        })
    });
    let mut rows: Vec<Row> = owned.collect();
    for default in defaults(context) {
        for sequence in default.object.sequences_of(default.column) {
            rows.push(row! {
                classid: PG_ATTRDEF_OID, objid: default.oid, objsubid: 0, refclassid: PG_CLASS_OID, refobjid: sequence,
                refobjsubid: 0, deptype: "n",
            });
        }
    }
    rows
}
