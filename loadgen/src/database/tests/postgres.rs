//! Statements on a real PostgreSQL: their time, what becomes of those that do not end, and who is connected to.

use standin_config::{ClientCertificate, RootCertificates, SslMode};
use standin_testkit::{Authority, Issued, Postgres, wait_until};

use super::*;

const SOON: Duration = Duration::from_secs(20);
/// A statement that takes as many seconds as the key says.
const SLEEP: &str = "SELECT CAST(:key AS text) FROM pg_sleep(CAST(CAST(:key AS text) AS float8))";

fn database_at(origin: &OriginConfig, timeout: Duration) -> Database {
    let place = Database::place(origin).unwrap();
    let keyspace = KeyspaceConfig { put: None, delete: None, get: SLEEP.to_owned(), ..keyspace() };
    let mut database = Database::new(place, &keyspace).unwrap();
    database.timeout = timeout;
    database
}

fn call(ticket: u64, key: &str) -> Call {
    let (statement, key, value) = (Statement::Get, key.into(), Vec::new());
    Call { ticket, statement, key, value, by: None }
}

/// The number of sessions that sleep, by a session of its own.
fn sleeping(postgres: &Postgres) -> i64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let target = target(&postgres.url(), &standin_config::PostgresAccess::default()).unwrap();
        let link = crate::postgres::connect(&target, SOON).await.unwrap();
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'";
        link.client.query_one(sql, &[]).await.unwrap().get(0)
    })
}

#[test]
fn a_statement_has_its_time_from_its_turn_on() {
    let Some(postgres) = Postgres::start_or_skip("database-turns") else { return };
    let origin = OriginConfig::postgres(&postgres.url());
    let database = database_at(&origin, Duration::from_secs(8));
    let done = Done::new().unwrap();
    let caller = database.connect(&done, &|| false).unwrap();
    // Together they take longer than one may.
    assert!((0..12).all(|ticket| caller.call(call(ticket, "0.75"))));
    let mut ended = Vec::new();
    wait_until(3 * SOON, "the ends", || {
        ended.append(&mut done.take());
        ended.len() == 12
    });
    assert!(ended.iter().all(|(_, end)| end == &Ok(Some(b"0.75".to_vec()))), "{ended:?}");
}

#[test]
fn an_overdue_connection_is_closed_and_its_statement_ended() {
    let Some(postgres) = Postgres::start_or_skip("database-overdue") else { return };
    let origin = OriginConfig::postgres(&postgres.url());
    let database = database_at(&origin, Duration::from_secs(1));
    let done = Done::new().unwrap();
    let caller = database.connect(&done, &|| false).unwrap();
    assert!(caller.call(call(1, "3600")) && caller.call(call(2, "0")));
    let mut ended = Vec::new();
    wait_until(SOON, "the ends", || {
        ended.append(&mut done.take());
        ended.len() == 2
    });
    for (_, end) in &ended {
        let failure = end.as_ref().unwrap_err();
        assert_eq!(failure.kind, FailureKind::DeadlineExceeded, "{failure:?}");
        assert!(failure.text.contains("no answer within 1s"), "{failure:?}");
    }
    wait_until(SOON, "the statement's end", || sleeping(&postgres) == 0);
    assert_eq!(ask(&caller, &done, Statement::Get, "0", b""), Ok(Some(b"0".to_vec())));

    // As for those whose client is gone.
    let patient = database_at(&origin, Duration::from_secs(3_600));
    let done = Done::new().unwrap();
    let caller = patient.connect(&done, &|| false).unwrap();
    assert!(caller.call(call(3, "3600")));
    wait_until(SOON, "the statement", || sleeping(&postgres) == 1);
    drop(caller);
    assert!(done.is_last(), "the thread was waited for");
    wait_until(SOON, "the statement's end", || sleeping(&postgres) == 0);
}

#[test]
fn the_opening_of_connections_can_be_ended() {
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://a@{}/b", silent.local_addr().unwrap());
    let database = database_at(&OriginConfig::postgres(&url), Duration::from_secs(3_600));
    let is_ended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_ended);
    let opening = std::thread::spawn(move || {
        let done = Done::new().unwrap();
        database.connect(&done, &|| flag.load(Ordering::Acquire)).map(drop)
    });
    let _taken = silent.accept().unwrap();
    is_ended.store(true, Ordering::Release);
    wait_until(SOON, "the end", || opening.is_finished());
    let ended = opening.join().unwrap();
    assert!(matches!(ended, Err(DatabaseError::Interrupted)), "{ended:?}");
}

#[test]
fn a_statement_for_keys_is_interrupted_and_ended() {
    let Some(postgres) = Postgres::start_or_skip("database-interrupted") else { return };
    let database = database_at(&OriginConfig::postgres(&postgres.url()), SOON);
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_interrupted);
    let reading = std::thread::spawn(move || {
        let sql = "SELECT CAST(pg_sleep(3600) AS text)";
        database.keys(sql, None, &flag, &mut |_: Option<&[u8]>| Ok(true))
    });
    wait_until(SOON, "the statement", || sleeping(&postgres) == 1);
    is_interrupted.store(true, Ordering::Release);
    wait_until(SOON, "the end", || reading.is_finished());
    let ended = reading.join().unwrap();
    assert!(matches!(ended, Err(KeysError::Interrupted)), "{ended:?}");
    wait_until(SOON, "the statement's end", || sleeping(&postgres) == 0);
}

#[test]
fn tls_and_certificates_are_those_of_the_cluster_file() {
    let Some(mut postgres) = Postgres::start_or_skip("database-tls") else { return };
    let scratch = Scratch::new("database-tls");
    let authority = Authority::new(scratch.path(), "authority");
    let other = Authority::new(scratch.path(), "other").root.certificate;
    let root = &authority.root.certificate;
    let port = postgres.port();
    let origin = |sslmode, roots: &std::path::Path, own: Option<&Issued>| {
        let url = format!("postgres://standin@localhost:{}/postgres", port);
        let mut origin = OriginConfig::postgres(&url);
        if let OriginKind::Postgres { access, .. } = &mut origin.kind {
            access.sslmode = Some(sslmode);
            access.sslrootcert = Some(RootCertificates::File(roots.to_owned()));
            access.client_certificate = own.map(|own| ClientCertificate {
                certificate: own.certificate.clone(),
                key: own.key.clone(),
            });
        }
        origin
    };
    let full = origin(SslMode::VerifyFull, root, None);
    let wrong = origin(SslMode::VerifyFull, &other, None);
    let own = authority.issue("client", "DNS:client");
    let with_own = origin(SslMode::VerifyFull, root, Some(&own));
    let asked = |origin: &OriginConfig| {
        let mut database = database_at(origin, SOON);
        // Its options go with TLS, too.
        database.is_read_only = true;
        let done = Done::new().unwrap();
        let caller = database.connect(&done, &|| false)?;
        assert_eq!(ask(&caller, &done, Statement::Get, "0", b""), Ok(Some(b"0".to_vec())));
        Ok::<_, DatabaseError>(())
    };
    let said = asked(&full).unwrap_err().to_string();
    assert!(said.contains("localhost does not have it") && said.contains("ssl = on"), "{said}");
    postgres.set_tls(&authority.issue("server", "DNS:localhost"), root);
    postgres.admit(&["hostssl all all 127.0.0.1/32 trust"]);
    asked(&full).unwrap();
    let error = asked(&wrong).unwrap_err();
    let is_tls = matches!(
        error,
        DatabaseError::Open(OpenError::Connect(standin_postgres::ConnectError::Tls(_)))
    );
    let said = error.to_string();
    assert!(is_tls && said.contains("write the file of its authority as `sslrootcert`"), "{said}");

    postgres.admit(&["hostssl all all 127.0.0.1/32 trust clientcert=verify-ca"]);
    let said = asked(&full).unwrap_err().to_string();
    assert!(said.contains("client certificate"), "{said}");
    asked(&with_own).unwrap();
}
