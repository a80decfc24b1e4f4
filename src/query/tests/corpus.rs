//! Queries with PostgreSQL 15's answers.
//!
//! Each line of corpus.tsv is a query, what psql showed for it (rows by `;`, columns by `|`, NULL as `∅`; or SQLSTATE and
//! message), and where we differ on purpose or for now, what we give instead.

use super::harness::outcome;

#[test]
fn queries_give_what_postgres_gives() {
    let mut wrong = vec![];
    for line in include_str!("corpus.tsv").lines().filter(|l| !l.is_empty() && !l.starts_with('#'))
    {
        let mut columns = line.split('\t');
        let (query, postgres, ours) =
            (columns.next().unwrap(), columns.next().unwrap(), columns.next());
        let expected = ours.unwrap_or(postgres);
        let got = outcome(query);
        if got != expected {
            wrong.push(format!("{query}\n     got {got}\n  expect {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} of the corpus differ:\n{}", wrong.len(), wrong.join("\n"));
}
