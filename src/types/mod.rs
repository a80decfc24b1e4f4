//! PostgreSQL's types over Arrow's: which Arrow type carries which PostgreSQL type, how values are written as text and
//! binary and read back. Used by the wire, by casts, by literals and by the catalog; knows no protocol and no plan.
