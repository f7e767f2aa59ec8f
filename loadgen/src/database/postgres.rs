//! Statements on connections to PostgreSQL, pipelined on each, by a thread with a loop of its own. A connection that is
//! lost is opened again for the next call.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use standin_config::PasswordSource;
use standin_config::sql::Translated;
use standin_protocol::key::KeyForm;
use standin_tls::private;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type};
use tokio_postgres::{Client, Config, NoTls};

use super::keys::{KeysError, TakeKey};
use super::{Call, Database, DatabaseError, Done, Ended, Statement, bound};
use crate::origin::in_words;
use crate::recorder::FailureKind;
use crate::targets::operation::Failure;

/// Rows of keys that are fetched at once.
const KEY_ROWS: i32 = 10_000;
/// What makes a session read-only from its beginning on, as `options` of a connection string.
const READ_ONLY: &str = "-c default_transaction_read_only=on";
/// The time between two looks whether the run was interrupted.
const LOOK: Duration = Duration::from_millis(50);

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

fn config(url: &str) -> Result<Config, DatabaseError> {
    url.parse().map_err(|_| {
        // The driver's own text may quote the password.
        DatabaseError::Refused(
            "the connection string can't be read; write postgres://user@host/database".to_owned(),
        )
    })
}

/// Starts the thread, and waits until all connections are open.
pub(super) fn start(
    database: &Database,
    url: &str,
    done: &Done,
) -> Result<UnboundedSender<Call>, DatabaseError> {
    let config = config(url)?;
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

async fn connect(database: &Database, config: &Config) -> Result<Client, Failure> {
    let within = database.timeout;
    let mut config = config.clone();
    if database.is_read_only {
        // Not by a statement: behind a pooler, its effect would stay with a connection that others use.
        let options = format!("{} {READ_ONLY}", config.get_options().unwrap_or_default());
        config.options(options.trim_start());
    }
    let connected = timeout(within, config.connect(NoTls)).await;
    let (client, connection) = connected.map_err(|_| overdue(within))?.map_err(|e| failure(&e))?;
    // It ends with the client.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the database has ended");
        }
    });
    if database.is_read_only {
        let shown = client.query_one("SHOW transaction_read_only", &[]);
        let shown = timeout(within, shown).await.map_err(|_| overdue(within))?;
        let shown = shown.and_then(|row| row.try_get::<_, String>(0)).map_err(|e| failure(&e))?;
        if shown != "on" {
            let text = "the session is not read-only, although it was to begin so: connect to PostgreSQL itself, and to \
                        no pooler in front of it";
            return Err(Failure { kind: FailureKind::ConnectFailed, text: text.to_owned() });
        }
    }
    Ok(client)
}

async fn open(database: &Database, config: &Config) -> Result<Session, Failure> {
    let within = database.timeout;
    let client = connect(database, config).await?;
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

/// See [`Database::keys`].
pub(super) fn keys(
    database: &Database,
    url: &str,
    statement: &str,
    is_interrupted: &dyn Fn() -> bool,
    take: TakeKey<'_>,
) -> Result<(), KeysError> {
    let config = config(url)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(DatabaseError::System)?;
    runtime.block_on(async {
        let interrupted = async {
            while !is_interrupted() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            read = read_keys(database, &config, statement, take) => read,
            // The connection ends with the runtime, and the database ends the statement when it sees that.
            () = interrupted => Err(KeysError::Interrupted),
        }
    })
}

async fn read_keys(
    database: &Database,
    config: &Config,
    statement: &str,
    take: TakeKey<'_>,
) -> Result<(), KeysError> {
    let refused = |failure: Failure| DatabaseError::Refused(failure.text);
    let failed = |error: tokio_postgres::Error| refused(failure(&error));
    let mut client = connect(database, config).await.map_err(refused)?;
    let transaction = client.build_transaction().read_only(true).start().await.map_err(failed)?;
    let statement = transaction.prepare(statement).await.map_err(failed)?;
    match statement.columns() {
        [column] if !Bytes::accepts(column.type_()) => {
            return Err(KeysError::Type(column.type_().name().to_owned()));
        }
        [_] => {}
        columns => return Err(KeysError::Columns(columns.len())),
    }
    let portal = transaction.bind(&statement, &[]).await.map_err(failed)?;
    loop {
        let rows = transaction.query_portal(&portal, KEY_ROWS).await.map_err(failed)?;
        for row in &rows {
            let key = row.try_get::<_, Option<Bytes>>(0).map_err(failed)?;
            if !take(key.as_ref().map(|key| &key.0[..]))? {
                return Ok(());
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
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

/// The bytes of a column whose type has one form as a text, or is of bytes.
struct Bytes(Vec<u8>);

impl<'a> FromSql<'a> for Bytes {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        if let Kind::Domain(base) = ty.kind() {
            return Self::from_sql(base, raw);
        }
        Ok(Self(match *ty {
            // A number of its version goes before the text.
            Type::JSONB => raw.get(1..).unwrap_or_default().to_vec(),
            Type::INT2 => i16::from_be_bytes(raw.try_into()?).to_string().into_bytes(),
            Type::INT4 => i32::from_be_bytes(raw.try_into()?).to_string().into_bytes(),
            Type::INT8 => i64::from_be_bytes(raw.try_into()?).to_string().into_bytes(),
            Type::UUID => {
                let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
                let form = KeyForm::Uuid.bring(digits.as_bytes());
                form.ok_or("a UUID has 16 bytes")?.into_owned()
            }
            _ => raw.to_vec(),
        }))
    }

    fn accepts(ty: &Type) -> bool {
        const VERBATIM: [Type; 8] = [
            Type::BYTEA,
            Type::TEXT,
            Type::VARCHAR,
            Type::BPCHAR,
            Type::NAME,
            Type::JSON,
            Type::XML,
            Type::UNKNOWN,
        ];
        const CONVERTED: [Type; 5] = [Type::JSONB, Type::INT2, Type::INT4, Type::INT8, Type::UUID];
        match ty.kind() {
            Kind::Domain(base) => Self::accepts(base),
            Kind::Enum(_) => true,
            // The extension's type has no fixed OID.
            _ => VERBATIM.contains(ty) || CONVERTED.contains(ty) || ty.name() == "citext",
        }
    }
}
