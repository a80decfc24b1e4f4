//! `--update`: a file is run as it stands, and what it expects becomes what was answered.
//!
//! What already fits stays as it is written, comments and order included. Included files are run and compared, not
//! rewritten: they may mean something else to others.

use std::path::Path;

use sqllogictest::{
    AsyncDB, ExpectedError, Injected, MakeConnection, QueryExpect, Record, RecordOutput, Runner,
    StatementExpect,
};

use super::Verdict;
use super::connection::{Connection, SqlError};
use super::difference;
use super::run_file::{Deadline, Line, place};

type Output = RecordOutput<sqllogictest::DefaultColumnType>;

pub async fn rewrite<M: MakeConnection<Conn = Connection>>(
    file: &Path,
    records: Vec<Line>,
    runner: &mut Runner<Connection, M>,
    deadline: &Deadline,
) -> Result<Verdict, String> {
    let (mut text, mut changed, mut reasons) = (String::new(), 0, vec![]);
    let (mut included, mut halted) = (0, false);
    for record in records {
        match &record {
            Record::Injected(Injected::BeginInclude(_)) => included += 1,
            Record::Injected(Injected::EndInclude(_)) => included -= 1,
            _ if included > 0 => {
                let place = place(&record);
                match deadline.hold(runner.run_async(record)).await {
                    Err(late) => return Err(place + &late),
                    Ok(outcome) => {
                        reasons.extend(outcome.err().map(|error| difference::told(&error)))
                    }
                }
            }
            _ => {
                halted |= matches!(record, Record::Halt { .. });
                let answered = match halted {
                    true => None,
                    false => deadline
                        .hold(answered(&record, runner))
                        .await
                        .map_err(|late| place(&record) + &late)?,
                };
                changed += usize::from(answered.is_some());
                text += &format!("{}\n", answered.unwrap_or(record));
            }
        }
    }
    if !reasons.is_empty() {
        return Ok(Verdict::Failed(reasons));
    }
    if changed == 0 {
        return Ok(Verdict::Passed);
    }
    let text = format!("{}\n", text.trim_end());
    std::fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(Verdict::Updated(changed))
}

/// The record with what was answered; `None` where it expects that already.
async fn answered<M: MakeConnection<Conn = Connection>>(
    record: &Line,
    runner: &mut Runner<Connection, M>,
) -> Option<Line> {
    let retry = match record {
        Record::Statement { retry, .. } | Record::Query { retry, .. } => retry.as_ref(),
        _ => None,
    };
    let mut attempts = retry.map_or(1, |retry| retry.attempts);
    loop {
        let output = runner.apply_record(record.clone()).await;
        attempts -= 1;
        let answered = with_output(record, &output);
        match retry {
            Some(retry) if answered.is_some() && attempts > 0 => {
                Connection::sleep(retry.backoff).await;
            }
            _ => return answered,
        }
    }
}

fn with_output(record: &Line, output: &Output) -> Option<Line> {
    if has_expected_sqlstate(record, output) {
        return None;
    }
    let updated = sqllogictest::update_record_with_output(
        record,
        output,
        " ",
        sqllogictest::default_validator,
        sqllogictest::default_normalizer,
        |actual, expected| actual.len() == expected.len(),
    )?;
    (updated.to_string() != record.to_string()).then_some(updated)
}

/// `error (22012)`: the code alone is expected.
fn has_expected_sqlstate(record: &Line, output: &Output) -> bool {
    let (Record::Statement { expected: StatementExpect::Error(expected), .. }
    | Record::Query { expected: QueryExpect::Error(expected), .. }) = record
    else {
        return false;
    };
    let (RecordOutput::Statement { error: Some(error), .. }
    | RecordOutput::Query { error: Some(error), .. }) = output
    else {
        return false;
    };
    let actual = error.downcast_ref::<SqlError>().and_then(SqlError::sqlstate);
    matches!(expected, ExpectedError::SqlState(code) if actual == Some(code.as_str()))
}
