//! Statements on connections to PostgreSQL, pipelined on each, by a thread with a loop of its own. A connection that is
//! lost is opened again for the next call.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use standin_config::PasswordSource;
use standin_config::sql::Translated;
use standin_tls::private;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Client, Config, NoTls};

use super::{Call, Database, DatabaseError, Done, Ended, Statement, bound};
use crate::origin::in_words;
use crate::recorder::FailureKind;
use crate::targets::operation::Failure;

/// A connection with its statements.
struct Session {
    client: Client,
    get: tokio_postgres::Statement,
    put: Option<tokio_postgres::Statement>,
    delete: Option<tokio_postgres::Statement>,
}

/// The place of a connection, which may be lost.
type Slot = Arc<Mutex<Option<Arc<Session>>>>;

/// The connection string with the password of this place.
pub(super) fn with_password(url: &str, source: &PasswordSource) -> Result<String, DatabaseError> {
    let lacks = |text: String| DatabaseError::Password(text);
    let password = match source {
        PasswordSource::Usual => return Ok(url.to_owned()),
        PasswordSource::Environment(name) => std::env::var(name)
            .map_err(|_| lacks(format!("the variable {name} is not set; export it")))?,
        PasswordSource::File(path) => {
            let bytes = private::password("password_file", path);
            let bytes = bytes.map_err(|error| lacks(error.to_string()))?;
            let why = format!(
                "password_file {} is no UTF-8; give a user another password",
                path.display()
            );
            String::from_utf8(bytes).map_err(|_| lacks(why))?
        }
        PasswordSource::Passfile(_) => return Err(DatabaseError::Access("the `passfile`")),
    };
    // The last one of a name counts, in both forms of a connection string.
    let is_url = url.contains("://");
    let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
    Ok(match is_url {
        true => {
            let encoded = percent_encoding::utf8_percent_encode(
                &password,
                percent_encoding::NON_ALPHANUMERIC,
            );
            let joint = if url.contains('?') { '&' } else { '?' };
            format!("{url}{joint}password={encoded}")
        }
        false => format!("{url} password='{quoted}'"),
    })
}

/// Starts the thread, and waits until all connections are open.
pub(super) fn start(
    database: &Database,
    url: &str,
    done: &Done,
) -> Result<UnboundedSender<Call>, DatabaseError> {
    let config: Config = url.parse().map_err(|_| {
        // The driver's own text may quote the password.
        DatabaseError::Refused(
            "the connection string can't be read; write postgres://user@host/database".to_owned(),
        )
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, calls) = unbounded_channel();
    let slots: Vec<Slot> = (0..database.connections.max(1)).map(|_| Slot::default()).collect();
    let opened = runtime.block_on(async {
        for slot in &slots {
            *slot.lock().await = Some(Arc::new(open(database, &config).await?));
        }
        Ok::<_, Failure>(())
    });
    opened.map_err(|failure| DatabaseError::Refused(failure.text))?;
    let (database, done) = (Arc::new(database.clone()), done.clone());
    std::thread::Builder::new().name("database".to_owned()).spawn(move || {
        runtime.block_on(serve(&database, &Arc::new(config), slots, calls, &done));
    })?;
    Ok(sender)
}

async fn serve(
    database: &Arc<Database>,
    config: &Arc<Config>,
    slots: Vec<Slot>,
    mut calls: UnboundedReceiver<Call>,
    done: &Done,
) {
    let mut next = 0;
    while let Some(call) = calls.recv().await {
        let slot = Arc::clone(&slots[next]);
        next = (next + 1) % slots.len();
        let (database, config, done) = (Arc::clone(database), Arc::clone(config), done.clone());
        tokio::spawn(async move {
            let within = database.timeout;
            let ended = match timeout(within, execute(&database, &config, &slot, &call)).await {
                Ok(ended) => ended,
                Err(_) => Err(overdue(within)),
            };
            done.push(call.ticket, ended);
        });
    }
}

async fn open(database: &Database, config: &Config) -> Result<Session, Failure> {
    let within = database.timeout;
    let connected = timeout(within, config.connect(NoTls)).await;
    let (client, connection) = connected.map_err(|_| overdue(within))?.map_err(|e| failure(&e))?;
    // It ends with the client.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the database has ended");
        }
    });
    let prepare = async |statement: Option<&Translated>| match statement {
        Some(statement) => client.prepare(&statement.text).await.map(Some),
        None => Ok(None),
    };
    let prepared = async {
        let get = client.prepare(&database.get.text).await?;
        Ok((get, prepare(database.put.as_ref()).await?, prepare(database.delete.as_ref()).await?))
    };
    let prepared = timeout(within, prepared).await.map_err(|_| overdue(within))?;
    let (get, put, delete) = prepared.map_err(|error: tokio_postgres::Error| failure(&error))?;
    Ok(Session { client, get, put, delete })
}

async fn execute(database: &Database, config: &Config, slot: &Slot, call: &Call) -> Ended {
    let translated = database.statement(call.statement)?;
    let session = {
        let mut place = slot.lock().await;
        match &*place {
            Some(session) if !session.client.is_closed() => Arc::clone(session),
            // Those that wait behind it find it open.
            _ => {
                let session = Arc::new(open(database, config).await?);
                *place = Some(Arc::clone(&session));
                session
            }
        }
    };
    let statement = match call.statement {
        Statement::Get => Some(&session.get),
        Statement::Put => session.put.as_ref(),
        Statement::Delete => session.delete.as_ref(),
    };
    let statement = statement.expect("a statement of the keyspace is prepared");
    let bound = bound(translated, call);
    let texts: Vec<Text<'_>> = bound.iter().map(|(_, bytes)| Text(bytes)).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> =
        texts.iter().map(|text| text as &(dyn ToSql + Sync)).collect();
    match call.statement {
        Statement::Get => {
            let row = session.client.query_opt(statement, &parameters).await;
            let Some(row) = row.map_err(|error| failure(&error))? else { return Ok(None) };
            let value = row.try_get::<_, Option<Bytes>>(0).map_err(|error| failure(&error))?;
            Ok(value.map(|bytes| bytes.0))
        }
        Statement::Put | Statement::Delete => {
            let done = session.client.execute(statement, &parameters).await;
            done.map(|_| None).map_err(|error| failure(&error))
        }
    }
}

fn overdue(within: Duration) -> Failure {
    let text = format!("PostgreSQL: no answer within {within:?}");
    Failure { kind: FailureKind::DeadlineExceeded, text }
}

fn failure(error: &tokio_postgres::Error) -> Failure {
    let kind = match error.as_db_error() {
        // Its class says that it is going or too busy.
        Some(db) if ["57", "53", "08"].iter().any(|class| db.code().code().starts_with(class)) => {
            FailureKind::OriginUnavailable
        }
        Some(_) => FailureKind::OriginRejected,
        None => FailureKind::OriginUnavailable,
    };
    Failure { kind, text: format!("PostgreSQL: {}", in_words(error)) }
}

/// Bytes for a column of any type: those of a `bytea` as they are, and otherwise a text that the database reads.
#[derive(Debug)]
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(ty, out)
    }

    fn encode_format(&self, ty: &Type) -> Format {
        match *ty {
            Type::BYTEA => Format::Binary,
            _ => Format::Text,
        }
    }
}

/// The bytes of a column whose type has the form of a text or of bytes.
struct Bytes(Vec<u8>);

impl<'a> FromSql<'a> for Bytes {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        // A number of its version goes before the text.
        let raw = if *ty == Type::JSONB { raw.get(1..).unwrap_or_default() } else { raw };
        Ok(Self(raw.to_vec()))
    }

    fn accepts(ty: &Type) -> bool {
        [Type::BYTEA, Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::JSON, Type::JSONB].contains(ty)
    }
}
