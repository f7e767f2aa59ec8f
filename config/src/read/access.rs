//! The keys of `[origin]` by which a server gets access to PostgreSQL: the place of the password, and
//! TLS. The files that they name are the servers' to read; clients have the same cluster file.

use std::path::Path;

use crate::database::{
    ClientCertificate, PasswordSource, PostgresAccess, RootCertificates, SslMode,
};
use crate::mistake::Report;
use crate::section::{At, Section};

/// All keys, for a section in which they have no place.
pub(super) const KEYS: [&str; 7] =
    ["password_env", "password_file", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey"];
/// The value of `sslrootcert` that names no file.
const SYSTEM: &str = "system";

/// The access, as far as it is right.
pub(super) fn read(
    section: &mut Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<PostgresAccess> {
    let password = read_password(section, base_dir, report);
    let sslmode = section.choice("sslmode", &SslMode::ALL, report).optional();
    let roots = section.text("sslrootcert", "root.crt", report).optional();
    let certificate = section.text("sslcert", "standin.crt", report).optional();
    let key = section.text("sslkey", "standin.key", report).optional();
    let (sslmode, roots, certificate, key) = (sslmode?, roots?, certificate?, key?);
    let is_half = match (certificate, key) {
        (Some(certificate), None) => Some((certificate.at, "sslcert", "sslkey")),
        (None, Some(key)) => Some((key.at, "sslkey", "sslcert")),
        _ => None,
    };
    if let Some((at, key, other)) = is_half {
        let wrong = format!("a certificate is used with its private key; write `{other}` as well");
        report.mistake(at, &section.key(key), wrong);
        return None;
    }
    let access = PostgresAccess {
        password: password?,
        sslmode: sslmode.as_ref().map(|mode| mode.value),
        sslrootcert: roots.as_ref().map(|roots| match roots.value {
            SYSTEM => RootCertificates::System,
            file => RootCertificates::File(base_dir.join(file)),
        }),
        client_certificate: certificate.zip(key).map(|(certificate, key)| ClientCertificate {
            certificate: base_dir.join(certificate.value),
            key: base_dir.join(key.value),
        }),
    };
    let Some((key, wrong)) = access.misfit() else { return Some(access) };
    let at = match key {
        "sslmode" => sslmode.map(|mode| mode.at),
        _ => roots.map(|roots| roots.at),
    };
    report.mistake(at.unwrap_or(section.at()), &section.key(key), wrong);
    None
}

/// The one place of the password that is written, or the usual ones.
fn read_password(
    section: &mut Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<PasswordSource> {
    let environment = section.text("password_env", "PGPASSWORD", report).optional();
    let file = section.text("password_file", "database.password", report).optional();
    let passfile = section.text("passfile", ".pgpass", report).optional();
    let (environment, file, passfile) = (environment?, file?, passfile?);
    let environment = environment.map(|name| At {
        value: ("password_env", PasswordSource::Environment(name.value.to_owned())),
        at: name.at,
    });
    let file = file.map(|file| At {
        value: ("password_file", PasswordSource::File(base_dir.join(file.value))),
        at: file.at,
    });
    let passfile = passfile.map(|file| At {
        value: ("passfile", PasswordSource::Passfile(base_dir.join(file.value))),
        at: file.at,
    });
    let mut written = [environment, file, passfile].into_iter().flatten();
    let first = written.next();
    if let (Some(first), Some(second)) = (&first, written.next()) {
        let wrong = format!("`{}` is the place of the password already; remove one", first.value.0);
        report.mistake(second.at, &section.key(second.value.0), wrong);
        return None;
    }
    let At { value: (key, source), at } = match first {
        Some(first) => first,
        None => return Some(PasswordSource::Usual),
    };
    if let PasswordSource::Environment(name) = &source
        && name.contains(['=', '\0'])
    {
        // Whoever writes the password here must not see it in a message.
        let wrong = "is not the name of an environment variable; write its name, such as \
                     `password_env = \"PGPASSWORD\"`, not the password";
        report.mistake(at, &section.key(key), wrong);
        return None;
    }
    Some(source)
}
