//! PostgreSQL with the workload's table, behind a proxy that counts what is read.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use standin_loadgen::faults::proxy::{Call, Proxy};
use standin_loadgen::origin::{Rows, RunOrigin};
use standin_protocol::time::Micros;
use standin_testkit::Postgres;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement};

use super::Failure;

/// The workload's keyspace, as Standin's configuration.
pub const KEYSPACE: u8 = 1;

/// The database of one run.
#[derive(Debug)]
pub struct Database {
    origin: RunOrigin,
    proxy: Proxy,
    url: String,
}

/// One thread's connection.
#[derive(Debug)]
pub struct Connection {
    runtime: Runtime,
    client: Client,
    get: Statement,
    put: Statement,
}

impl Database {
    /// Makes and fills the table.
    ///
    /// # Errors
    /// PostgreSQL or the proxy refuses.
    pub fn prepare(postgres: &Postgres, folder: &Path, rows: Rows) -> Result<Self, Failure> {
        let origin = RunOrigin::prepare(Some(&postgres.url()), folder, rows)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let at = listener.local_addr()?;
        let upstream = SocketAddr::from(([127, 0, 0, 1], postgres.port()));
        let proxy = Proxy::start(listener, upstream)?;
        Ok(Self { origin, proxy, url: format!("postgres://standin@{at}/postgres") })
    }

    /// The address of the proxy.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The times of its reads.
    #[must_use]
    pub fn reads(&self) -> Vec<Micros> {
        self.proxy.calls(Call::Read)
    }

    /// A connection of its own, with the statements that Standin uses.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub fn connect(&self) -> Result<Connection, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (client, connection) = runtime.block_on(tokio_postgres::connect(&self.url, NoTls))?;
        drop(runtime.spawn(connection));
        let keyspace = RunOrigin::keyspace(KEYSPACE);
        let sql = |text: &str| text.replace(":key", "$1").replace(":value", "$2");
        let get = runtime.block_on(client.prepare(&sql(&keyspace.get)))?;
        let put = keyspace.put.ok_or("the keyspace has no put statement")?;
        let put = runtime.block_on(client.prepare(&sql(&put)))?;
        Ok(Connection { runtime, client, get, put })
    }

    /// Drops the table.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub fn remove(self) -> Result<(), Failure> {
        Ok(self.origin.remove()?)
    }
}

impl Connection {
    /// Reads a row.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        let row = self.runtime.block_on(self.client.query_opt(&self.get, &[&key]))?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Writes a row.
    ///
    /// # Errors
    /// PostgreSQL refuses.
    pub fn put(&mut self, key: &str, value: &[u8]) -> Result<(), Failure> {
        self.runtime.block_on(self.client.execute(&self.put, &[&key, &value]))?;
        Ok(())
    }
}
