//! A real Kafka for tests: the one named in TIDEWATER_TEST_KAFKA, else Apache Kafka started from Maven artefacts.
//!
//! Where neither is possible the test is skipped with a loud line, or fails if TIDEWATER_TEST_REQUIRE contains `kafka`.
//! A broker started here is a child of a small shell whose standard input is a pipe held by this process: however the
//! process ends, the pipe closes, and the shell kills the broker and removes its files.

use std::fs::{self, File};
use std::future::Future;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};

const VERSION: &str = "4.3.1";
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>tidewater</groupId><artifactId>test-kafka</artifactId>
<version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.3.1</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
</dependencies></project>"#;

/// Runs the broker until its standard input ends; the line `keep` before that keeps the data for a restart.
const KEEPER: &str = r#"
"$@" </dev/null >>"$BROKER_DIR/log" 2>&1 & broker=$!
word=; read -r word
kill -9 $broker 2>/dev/null; wait $broker 2>/dev/null
[ "$word" = keep ] || rm -rf "$BROKER_DIR"
"#;

/// Starting takes 3 to 5 seconds on an idle machine; a loaded one may need many times that.
const START_PATIENCE: Duration = Duration::from_secs(90);
const CALL_PATIENCE: Duration = Duration::from_secs(30);

/// The user of the SASL listener and its password.
pub const SASL_USER: (&str, &str) = ("alice", "secret-of-alice");

/// A message to produce.
#[derive(Clone, Debug, Default)]
pub struct TestMessage {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub timestamp_ms: Option<i64>,
}

impl TestMessage {
    pub fn value(partition: i32, value: impl Into<Vec<u8>>) -> TestMessage {
        TestMessage { partition, value: Some(value.into()), ..TestMessage::default() }
    }

    pub fn keyed(key: impl Into<Vec<u8>>, value: Option<&str>) -> TestMessage {
        let value = value.map(|value| value.as_bytes().to_vec());
        TestMessage { key: Some(key.into()), value, ..TestMessage::default() }
    }
}

/// A running Kafka.
pub struct Kafka {
    servers: String,
    /// `None` for a broker that somebody else runs.
    broker: Option<Broker>,
}

struct Broker {
    dir: PathBuf,
    libs: PathBuf,
    sasl_servers: String,
    keeper: Option<Child>,
}

impl Kafka {
    /// A Kafka that all tests of this process share, or `None` when the test is to be skipped. Topics have to be named
    /// with [`Kafka::fresh_name`].
    pub fn shared() -> Option<Arc<Kafka>> {
        static SHARED: OnceLock<Option<Arc<Kafka>>> = OnceLock::new();
        SHARED
            .get_or_init(|| match std::env::var("TIDEWATER_TEST_KAFKA") {
                Ok(servers) if !servers.is_empty() => {
                    Some(Arc::new(Kafka { servers, broker: None }))
                }
                _ => Kafka::own().map(Arc::new),
            })
            .clone()
    }

    /// A Kafka of this test's own, which may be killed and restarted; `None` when the test is to be skipped.
    pub fn own() -> Option<Kafka> {
        match Kafka::start() {
            Ok(kafka) => Some(kafka),
            Err(reason) => {
                let required = std::env::var("TIDEWATER_TEST_REQUIRE").unwrap_or_default();
                assert!(!required.contains("kafka"), "no Kafka for this test: {reason}");
                eprintln!("\n==== SKIPPED: no Kafka for this test: {reason} ====\n");
                None
            }
        }
    }

    /// Starts a broker; the error says what is missing.
    pub fn start() -> Result<Kafka, String> {
        let libs = libraries()?;
        let mut last = String::new();
        // Another process may take a free port before the broker does.
        for _ in 0..2 {
            let (broker, servers) = Broker::prepare(libs.clone())?;
            let mut kafka = Kafka { servers, broker: Some(broker) };
            match kafka.restart() {
                Ok(()) => return Ok(kafka),
                Err(reason) => last = reason,
            }
        }
        Err(last)
    }

    /// Bootstrap servers, `host:port`.
    pub fn servers(&self) -> &str {
        &self.servers
    }

    /// Bootstrap servers that want SASL PLAIN as [`SASL_USER`]; only of a broker started here.
    pub fn sasl_servers(&self) -> Option<&str> {
        self.broker.as_ref().map(|broker| broker.sasl_servers.as_str())
    }

    /// Kills the broker with SIGKILL; its data stays.
    pub fn kill(&mut self) {
        if let Some(keeper) = self.broker.as_mut().and_then(|broker| broker.keeper.take()) {
            end(keeper, "keep\n");
        }
    }

    /// Starts the broker on its port and data, and waits until it answers.
    pub fn restart(&mut self) -> Result<(), String> {
        let broker = self.broker.as_mut().ok_or("this Kafka is not ours to restart")?;
        broker.spawn()?;
        let began = Instant::now();
        let admin = self.admin();
        loop {
            let answer = admin.inner().fetch_metadata(None, Duration::from_millis(500));
            if answer.is_ok_and(|metadata| !metadata.brokers().is_empty()) {
                return Ok(());
            }
            if began.elapsed() > START_PATIENCE {
                return Err(format!("Kafka {VERSION} did not start: {}", self.log_tail()));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn log_tail(&self) -> String {
        let log = self.broker.as_ref().map(|broker| broker.dir.join("log"));
        let log = log.and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// A topic's name that no other test has.
    pub fn fresh_name(what: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("{what}-{}-{now}-{count}", std::process::id())
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config.set("reconnect.backoff.max.ms", "500");
        config
    }

    fn admin(&self) -> AdminClient<Quiet> {
        self.config().create_with_context(Quiet).expect("the admin settings are valid")
    }

    fn admin_options() -> AdminOptions {
        AdminOptions::new()
            .operation_timeout(Some(CALL_PATIENCE))
            .request_timeout(Some(CALL_PATIENCE))
    }

    /// Creates a topic under a fresh name and waits until all its partitions have leaders.
    pub fn create_topic(&self, what: &str, partitions: i32) -> String {
        let name = Kafka::fresh_name(what);
        self.create_topic_named(&name, partitions);
        name
    }

    /// Creates a topic under this name, also one that has just been deleted.
    pub fn create_topic_named(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let admin = self.admin();
        // A broker that has just come up may not know itself as alive yet.
        retried("create a topic", || {
            let results = block_on(admin.create_topics([&topic], &Kafka::admin_options()));
            match results.map_err(|e| e.to_string())?.pop() {
                Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
                Some(Err((_, code))) => Err(code.to_string()),
                None => Err("no answer".into()),
            }
        });
        self.wait_for_leaders(name, partitions);
    }

    /// Raises a topic's number of partitions to `total`.
    pub fn add_partitions(&self, topic: &str, total: usize) {
        let admin = self.admin();
        let partitions = NewPartitions::new(topic, total);
        block_on(admin.create_partitions([&partitions], &Kafka::admin_options()))
            .expect("a running broker adds partitions");
        self.wait_for_leaders(topic, total as i32);
    }

    pub fn delete_topic(&self, topic: &str) {
        block_on(self.admin().delete_topics(&[topic], &Kafka::admin_options()))
            .expect("a running broker deletes topics");
    }

    /// Has the broker forget a partition's messages before an offset, as its retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, partition, Offset::Offset(before))
            .expect("the offset is a number");
        block_on(self.admin().delete_records(&list, &Kafka::admin_options()))
            .expect("a running broker deletes records");
    }

    fn wait_for_leaders(&self, topic: &str, partitions: i32) {
        let admin = self.admin();
        retried("find leaders", || {
            let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(1));
            let metadata = metadata.map_err(|e| e.to_string())?;
            let found = metadata.topics().first().map_or(0, |topic| {
                topic.partitions().iter().filter(|partition| partition.leader() >= 0).count()
            });
            if found == partitions as usize { Ok(()) } else { Err(format!("{found} leaders")) }
        });
    }

    /// Produces messages in their order and waits until all are acknowledged.
    pub fn produce(&self, topic: &str, messages: impl IntoIterator<Item = TestMessage>) {
        let producer = self.producer(&[]);
        for message in messages {
            send(&producer, topic, &message);
        }
        producer.flush(CALL_PATIENCE).expect("a running broker acknowledges");
        assert_eq!(producer.context().failed.load(Ordering::Relaxed), 0, "messages were refused");
    }

    /// All messages that are in a topic now, partition by partition, in their order.
    pub fn consume(&self, topic: &str) -> Vec<TestMessage> {
        let mut config = self.config();
        config.set("group.id", "tidewater-test").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().expect("the consumer's settings are valid");
        let metadata = consumer.fetch_metadata(Some(topic), CALL_PATIENCE);
        let metadata = metadata.expect("a running broker knows its topics");
        let mut messages = vec![];
        for partition in 0..metadata.topics()[0].partitions().len() as i32 {
            let ends = consumer.fetch_watermarks(topic, partition, CALL_PATIENCE);
            let (first, end) = ends.expect("a running broker knows its offsets");
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, Offset::Offset(first))
                .expect("an offset of the partition");
            consumer.assign(&list).expect("the partition is there");
            let mut next = first;
            while next < end {
                let message = consumer.poll(CALL_PATIENCE).expect("a message before the end");
                let message = message.expect("a running broker has its messages");
                next = message.offset() + 1;
                messages.push(TestMessage {
                    partition,
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: vec![],
                    timestamp_ms: message.timestamp().to_millis(),
                });
            }
        }
        messages
    }

    /// Produces messages in one transaction, which is committed or aborted.
    pub fn produce_transaction(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = TestMessage>,
        commit: bool,
    ) {
        let id = Kafka::fresh_name("transaction");
        let producer = self.producer(&[("transactional.id", id.as_str())]);
        producer.init_transactions(CALL_PATIENCE).expect("transactions are enabled");
        producer.begin_transaction().expect("transactions are initialised");
        for message in messages {
            send(&producer, topic, &message);
        }
        producer.flush(CALL_PATIENCE).expect("a running broker acknowledges");
        let ended = match commit {
            true => producer.commit_transaction(CALL_PATIENCE),
            false => producer.abort_transaction(CALL_PATIENCE),
        };
        ended.expect("the transaction is open");
    }

    fn producer(&self, extra: &[(&str, &str)]) -> BaseProducer<Deliveries> {
        let mut config = self.config();
        config.set("acks", "all").set("linger.ms", "5").set("message.timeout.ms", "60000");
        config.set("queue.buffering.max.messages", "500000");
        for (key, value) in extra {
            config.set(*key, *value);
        }
        config
            .create_with_context(Deliveries::default())
            .expect("the producer's settings are valid")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(broker) = &mut self.broker {
            match broker.keeper.take() {
                Some(keeper) => end(keeper, "\n"),
                None => drop(fs::remove_dir_all(&broker.dir)),
            }
        }
    }
}

/// Lets the keeper kill its broker and waits for it.
fn end(mut keeper: Child, word: &str) {
    if let Some(mut stdin) = keeper.stdin.take() {
        // A keeper that is gone already needs no word.
        drop(stdin.write_all(word.as_bytes()));
    }
    drop(keeper.wait());
}

impl Broker {
    /// Writes the configuration and formats the storage; returns the bootstrap servers too.
    fn prepare(libs: PathBuf) -> Result<(Broker, String), String> {
        let dir = std::env::temp_dir().join(Kafka::fresh_name("tidewater-kafka"));
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let [plain, sasl, controller] = free_ports()?;
        let (user, password) = SASL_USER;
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},\
             CONTROLLER://127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,\
             CONTROLLER:PLAINTEXT\n\
             sasl.enabled.mechanisms=PLAIN\n\
             listener.name.sasl_plaintext.plain.sasl.jaas.config=\
             org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\";\n\
             log.dirs={dir}/data\noffsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\noffsets.topic.num.partitions=4\n\
             transaction.state.log.num.partitions=4\nlog.cleaner.dedupe.buffer.size=16777216\n\
             broker.session.timeout.ms=1500\nbroker.heartbeat.interval.ms=250\n\
             log.retention.ms=-1\n",
            dir = dir.display()
        );
        let path = dir.join("server.properties");
        fs::write(&path, properties).map_err(|e| format!("{}: {e}", path.display()))?;
        let id = "AAAAAAAAAAAAAAAAAAAAAA";
        let format = java(&libs, "kafka.tools.StorageTool")
            .args(["format", "-t", id, "--ignore-formatted", "-c"])
            .arg(&path)
            .output()
            .map_err(|e| format!("java: {e}"))?;
        if !format.status.success() {
            return Err(String::from_utf8_lossy(&format.stderr).into_owned());
        }
        let sasl_servers = format!("127.0.0.1:{sasl}");
        Ok((Broker { dir, libs, sasl_servers, keeper: None }, format!("127.0.0.1:{plain}")))
    }

    fn spawn(&mut self) -> Result<(), String> {
        let mut broker = java(&self.libs, "kafka.Kafka");
        broker.arg(self.dir.join("server.properties"));
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(broker.get_program())
            .args(broker.get_args())
            .env("BROKER_DIR", &self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.keeper = Some(keeper.map_err(|e| format!("sh: {e}"))?);
        Ok(())
    }
}

fn java(libs: &Path, main: &str) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    java.arg(libs.join("*")).arg(main);
    java
}

fn free_ports() -> Result<[u16; 3], String> {
    // All are held until all are found, so that they differ.
    let bind = || TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string());
    let held = [bind()?, bind()?, bind()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr().map_err(|e| e.to_string())?.port();
    }
    Ok(ports)
}

/// The folder with Kafka's jars, fetched once by Maven into the user's cache.
fn libraries() -> Result<PathBuf, String> {
    let java = Command::new("java").arg("-version").stderr(Stdio::null()).status();
    if !java.is_ok_and(|status| status.success()) {
        return Err("TIDEWATER_TEST_KAFKA is not set and there is no java".into());
    }
    let home = std::env::var_os("HOME").ok_or("HOME is not set")?;
    let cache = Path::new(&home).join(".cache/tidewater-kafka");
    let libs = cache.join(format!("libs-{VERSION}"));
    if libs.is_dir() {
        return Ok(libs);
    }
    // Several test processes may fetch at once: each into a folder of its own, and the first one to be done wins.
    let work = cache.join(Kafka::fresh_name("fetch"));
    fs::create_dir_all(&work).map_err(|e| format!("{}: {e}", work.display()))?;
    let pom = work.join("pom.xml");
    fs::write(&pom, POM).map_err(|e| format!("{}: {e}", pom.display()))?;
    let log = File::create(work.join("log")).map_err(|e| e.to_string())?;
    let fetched = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", work.join("libs").display()))
        .stdout(log)
        .status();
    let result = match fetched {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(fs::read_to_string(work.join("log")).unwrap_or_default()),
        Err(error) => Err(format!("TIDEWATER_TEST_KAFKA is not set and there is no mvn: {error}")),
    };
    let moved = result.and_then(|()| match fs::rename(work.join("libs"), &libs) {
        Err(error) if !libs.is_dir() => Err(format!("{}: {error}", libs.display())),
        _ => Ok(()),
    });
    drop(fs::remove_dir_all(&work));
    moved.map(|()| libs)
}

fn send(producer: &BaseProducer<Deliveries>, topic: &str, message: &TestMessage) {
    loop {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(message.partition);
        if let Some(key) = &message.key {
            record = record.key(key);
        }
        if let Some(value) = &message.value {
            record = record.payload(value);
        }
        if let Some(timestamp) = message.timestamp_ms {
            record = record.timestamp(timestamp);
        }
        let mut headers = OwnedHeaders::new();
        for (key, value) in &message.headers {
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        match producer.send(record.headers(headers)) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => panic!("could not produce: {error}"),
        }
    }
}

/// Tries until it works.
fn retried(what: &str, attempt: impl Fn() -> Result<(), String>) {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return,
            Err(reason) if began.elapsed() > START_PATIENCE => panic!("could not {what}: {reason}"),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Waits for one future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Says nothing about brokers that are not up yet.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}

    fn stats(&self, _: Statistics) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

#[derive(Default)]
struct Deliveries {
    failed: AtomicU32,
}

impl ClientContext for Deliveries {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
