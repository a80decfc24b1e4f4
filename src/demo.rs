//! `tidewater demo`: a server on a temporary data directory, an online auction that goes on by itself, and views to try.
//!
//! Owns the demo's schema and what it says. Rows come from the built-in generator; freshness is measured by rows of its
//! own that are inserted beside them: the time from the INSERT until every view shows its epoch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::arrangement::live::LiveTable;
use crate::catalog::{DATABASE, OWNER, ObjectKind};
use crate::config::DemoArgs;
use crate::error::Result;
use crate::ingest::SourceStatus;
use crate::serve::{self, Running, say};
use crate::server::Server;
use crate::session::Session;

/// How often a line is printed.
const LINE: Duration = Duration::from_secs(1);
/// Freshness is measured this many times a line; the slowest is shown.
const HEARTBEATS: u32 = 5;

/// (name, what it shows, query)
const VIEWS: [(&str, &str, &str); 5] = [
    (
        "auction_bids",
        "bids, highest and average price of every auction: an aggregate by key",
        "select auction, count(*) as bids, max(price) as highest, round(avg(price), 2) as average
           from bid group by auction",
    ),
    (
        "top_auctions",
        "the ten auctions with the most bids: a top list, and a view on a view",
        "select auction, bids, highest from auction_bids order by bids desc, auction limit 10",
    ),
    (
        "offers",
        "every auction with its seller: a join of two streams",
        "select a.id as auction, a.item_name, a.category, p.name as seller, p.city, p.state
           from auction a join person p on a.seller = p.id",
    ),
    (
        "categories",
        "bids and highest price of every category: a join of two views, aggregated",
        "select o.category, count(*) as auctions, sum(b.bids) as bids, max(b.highest) as highest
           from offers o join auction_bids b on o.auction = b.auction group by o.category",
    ),
    (
        "states",
        "auctions offered from every state",
        "select state, count(*) as auctions, count(distinct seller) as sellers
           from offers group by state",
    ),
];

/// Worth trying, with what they show.
const QUERIES: [(&str, &str); 3] = [
    ("what everybody bids on right now", "select * from top_auctions order by bids desc, auction;"),
    (
        "one auction and who sells it",
        "select * from offers natural join auction_bids order by highest desc limit 3;",
    ),
    (
        "a live table joined at query time",
        "select c.*, s.auctions as from_oregon from categories c, states s where s.state = 'OR' order by category;",
    ),
];

/// Runs until Ctrl-C. The temporary directory goes with it.
pub fn run(args: DemoArgs) -> std::result::Result<(), String> {
    let rate = args.rate;
    let dir = tempfile::Builder::new()
        .prefix("tidewater-demo-")
        .tempdir()
        .map_err(|e| format!("could not create a temporary directory: {e}"))?;
    let config = args.resolve(dir.path().to_owned()).map_err(|e| e.to_string())?;
    serve::start_logs(config.log_format);
    serve::abort_on_worker_panic();
    let runtime = serve::runtime()?;
    let outcome = runtime.block_on(async {
        let running = Running::start(&config).await.map_err(|e| {
            format!("{e}\nTo use any free ports: --listen 127.0.0.1:0 --http-listen 127.0.0.1:0")
        })?;
        let outcome = tokio::select! {
            () = serve::asked_to_stop() => Ok(()),
            outcome = show(&running, rate) => outcome.map_err(|e| e.to_string()),
        };
        say("\nStopping.");
        running.stop().await;
        outcome
    });
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}

/// Creates everything, says what to try, and then how it goes.
async fn show(running: &Running, rate: u64) -> Result<()> {
    let server = running.server.clone();
    let mut session = Session::new(server.clone(), OWNER, DATABASE, &BTreeMap::new())?;
    create(&mut session, rate).await?;
    introduce(running, rate);
    let mut pulse = Pulse::of(running, session);
    let (mut before, mut began) = (pulse.rows(), Instant::now());
    loop {
        let mut slowest = Duration::ZERO;
        for _ in 0..HEARTBEATS {
            tokio::time::sleep(LINE / HEARTBEATS).await;
            slowest = slowest.max(pulse.beat().await?);
        }
        let rows = pulse.rows();
        let rows_per_second = (rows - before) as f64 / began.elapsed().as_secs_f64();
        (before, began) = (rows, Instant::now());
        say(&status_line(rows_per_second, rows, slowest));
    }
}

async fn create(session: &mut Session, rate: u64) -> Result<()> {
    for stream in ["person", "auction", "bid"] {
        let sql = format!(
            "create source {stream} with (connector = 'nexmark', \
             nexmark.table.type = '{stream}', nexmark.events.per.second = '{rate}')"
        );
        session.run_script(&sql).await?;
    }
    session.run_script("create table heartbeat (beat bigint)").await?;
    for (name, _, query) in VIEWS {
        session.run_script(&format!("create materialized view {name} as {query}")).await?;
    }
    Ok(())
}

fn introduce(running: &Running, rate: u64) {
    let address = running.address;
    say(&format!(
        "An online auction is going on: {} events a second, made by the built-in generator.\n",
        grouped(rate)
    ));
    say("Connect:\n");
    say(&format!("  psql -h {} -p {} -U {} {}\n", address.ip(), address.port(), OWNER, DATABASE));
    say("Sources: person, auction, bid. Views, exact at every moment:\n");
    for (name, what, _) in VIEWS {
        say(&format!("  {name:<13} {what}"));
    }
    say("\nTry (end a query with \\watch 1 in place of the semicolon to see it move):\n");
    for (what, query) in QUERIES {
        say(&format!("  -- {what}\n  {query}\n"));
    }
    say(&format!(
        "Metrics: http://{}/metrics. Ctrl-C ends it all and leaves nothing behind.\n",
        running.http_address
    ));
}

/// `   10,012 rows/s       120,144 rows so far     new rows in every view after 1.4 ms`
fn status_line(rows_per_second: f64, rows: u64, slowest: Duration) -> String {
    format!(
        "{:>9} rows/s {:>15} rows so far    a new row is in every view after {:.1} ms",
        grouped(rows_per_second.round() as u64),
        grouped(rows),
        slowest.as_secs_f64() * 1e3
    )
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Looks at the running demo.
struct Pulse {
    session: Session,
    server: Arc<Server>,
    sources: Vec<Arc<SourceStatus>>,
    views: Vec<Arc<LiveTable>>,
    beats: u64,
}

impl Pulse {
    fn of(running: &Running, session: Session) -> Pulse {
        let server = running.server.clone();
        let catalog = server.catalog.snapshot();
        let live = server.coordinator.shared.live.load_full();
        let is_view = |id| {
            let kind = catalog.get(id).map(|object| &object.kind);
            matches!(kind, Some(ObjectKind::MaterializedView { .. }))
        };
        let views = live.iter().filter(|(id, _)| is_view(**id)).map(|(_, view)| view.clone());
        let sources = live.keys().filter_map(|id| server.coordinator.source_status(*id));
        let (views, sources) = (views.collect(), sources.collect());
        Pulse { session, server, sources, views, beats: 0 }
    }

    /// Rows taken in from all sources.
    fn rows(&self) -> u64 {
        self.sources.iter().map(|source| source.rows.load(Ordering::Relaxed)).sum()
    }

    /// Inserts a row and waits until every view shows the epoch that the row is part of.
    async fn beat(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.beats += 1;
        let insert = format!("insert into heartbeat values ({})", self.beats);
        self.session.run_script(&insert).await?;
        // A read never goes back behind what was acknowledged: this pin's epoch includes the row.
        self.server.coordinator.pin(&self.views).await?;
        Ok(began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_views_and_queries_run_on_a_server() {
        let runtime = serve::runtime().unwrap();
        runtime.block_on(async {
            let server = Server::start(2, 1 << 30).unwrap();
            let mut session =
                Session::new(server.clone(), OWNER, DATABASE, &BTreeMap::new()).unwrap();
            create(&mut session, 20_000).await.unwrap();
            for (_, query) in QUERIES {
                session.run_script(query).await.unwrap_or_else(|e| panic!("{query}: {e}"));
            }
            tokio::task::spawn_blocking(move || server.shutdown()).await.unwrap();
        });
    }

    #[test]
    fn a_status_line_reads_well() {
        assert_eq!(
            status_line(10_011.7, 1_234_567, Duration::from_micros(1_440)),
            "   10,012 rows/s       1,234,567 rows so far    a new row is in every view after 1.4 ms"
        );
    }
}
