//! Another client of the same PostgreSQL.

use standin_testkit::Postgres;

/// Another client's session, in which a transaction can be left open.
pub(super) struct Session {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Session {
    pub(super) fn open(postgres: &Postgres) -> Self {
        Self::open_by(&postgres.url())
    }

    /// Opens one by a connection string.
    pub(super) fn open_by(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let connecting = tokio_postgres::connect(url, tokio_postgres::NoTls);
        let (client, connection) = runtime.block_on(connecting).unwrap();
        runtime.spawn(connection);
        Self { runtime, client }
    }

    pub(super) fn run(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }
}
