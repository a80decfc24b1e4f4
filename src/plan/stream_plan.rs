//! The streaming plan: what the dataflow renders, one operator a node.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use crate::catalog::ObjectId;
use crate::operators::aggregate::AggregateCall;
pub use crate::operators::join::JoinKind;
pub use crate::operators::top_n::{SortKey, Ties};
pub use crate::operators::unnest::Unnested;
pub use crate::operators::window::WindowCall;

/// An operator with its inputs.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    pub inputs: Vec<Node>,
    /// Columns of the output.
    pub schema: SchemaRef,
    pub properties: Properties,
}

/// What is known of a collection before any row is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Rows are only ever inserted: operators behind it need no state to take them back.
    pub append_only: bool,
    /// Sets of columns of which each identifies a row. An empty set means at most one row.
    pub keys: Vec<Vec<usize>>,
}

/// The incremental operators.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The changes of a table, source or view, from the rows as of installation on.
    Import {
        object: ObjectId,
        name: String,
        columns: Vec<usize>,
        /// Whether the object's rows are kept, so that they can also be kept by other columns.
        stored: bool,
    },
    /// Constant rows, inserted in the first epoch.
    Values {
        rows: RecordBatch,
    },
    Project {
        exprs: Vec<Arc<dyn PhysicalExpr>>,
    },
    Filter {
        predicate: Arc<dyn PhysicalExpr>,
    },
    /// A row for each element of the row's lists, which run side by side; where `keep_empty`, a row without elements stays.
    Unnest {
        columns: Vec<Unnested>,
        keep_empty: bool,
    },
    /// Bag union of inputs with the same columns.
    Union,
    /// Each row once.
    Distinct,
    /// One row a group: the group columns, then the calls' results.
    Aggregate {
        groups: Vec<usize>,
        calls: Vec<AggregateCall>,
    },
    /// Two inputs matched on key columns and, where given, a further condition over left ++ right columns.
    Join {
        kind: JoinKind,
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        /// NULL keys match each other (IS NOT DISTINCT FROM).
        nulls_match: bool,
        condition: Option<Arc<dyn PhysicalExpr>>,
    },
    /// The first `limit` rows after `offset` of each partition.
    TopN {
        partition: Vec<usize>,
        order: Vec<SortKey>,
        limit: Option<usize>,
        offset: usize,
    },
    /// The rows of each partition whose rank is at most `limit`: their number by `order`, then `tie_keys`, or what `ties` says.
    Ranked {
        partition: Vec<usize>,
        order: Vec<SortKey>,
        tie_keys: Vec<SortKey>,
        limit: usize,
        ties: Ties,
    },
    /// Every row with the results of calls over its partition, in the order of `order`, then `tie_keys`, then the whole row.
    Window {
        partition: Vec<usize>,
        order: Vec<SortKey>,
        tie_keys: Vec<SortKey>,
        calls: Vec<WindowCall>,
    },
}

impl Node {
    /// The objects that the plan reads, each once, in order of first use.
    pub fn imports(&self) -> Vec<ObjectId> {
        let mut out = vec![];
        self.visit(&mut |node| {
            if let Op::Import { object, .. } = &node.op
                && !out.contains(object)
            {
                out.push(*object);
            }
        });
        out
    }

    /// The object whose changes this node brings, if it is one that keeps its rows.
    pub fn imported(&self) -> Option<ObjectId> {
        match self.op {
            Op::Import { object, stored: true, .. } => Some(object),
            _ => None,
        }
    }

    /// What a join by the columns `key` looks up when this is its input: the object and its columns, if its rows as they are
    /// can be shared with others.
    pub fn looked_up(&self, key: &[usize]) -> Option<(ObjectId, Vec<usize>)> {
        let Op::Import { object, columns, stored: true, .. } = &self.op else { return None };
        let repeats = key.iter().enumerate().any(|(i, column)| key[..i].contains(column));
        if key.is_empty() || repeats {
            return None;
        }
        Some((*object, key.iter().map(|&column| columns[column]).collect()))
    }

    /// All that joins look up and can share, each once.
    pub fn arrangements(&self) -> BTreeSet<(ObjectId, Vec<usize>)> {
        let mut out = BTreeSet::new();
        self.visit(&mut |node| {
            if let Op::Join { left_keys, right_keys, .. } = &node.op {
                out.extend(node.inputs[0].looked_up(left_keys));
                out.extend(node.inputs[1].looked_up(right_keys));
            }
        });
        out
    }

    /// Calls `f` with every node, inputs first.
    pub fn visit<'a>(&'a self, f: &mut impl FnMut(&'a Node)) {
        for input in &self.inputs {
            input.visit(f);
        }
        f(self);
    }

    /// Gives the output's columns their names: what a view's columns are called.
    pub fn rename(&mut self, schema: SchemaRef) {
        debug_assert_eq!(self.schema.fields().len(), schema.fields().len());
        self.schema = schema;
    }

    /// The shortest known key, which the live table is looked up by; `None` when rows may repeat.
    pub fn key(&self) -> Option<Vec<usize>> {
        self.properties.keys.iter().min_by_key(|k| k.len()).cloned()
    }
}
