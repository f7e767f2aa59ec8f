//! The sockets at which a proxy listens.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};
use standin_config::ListenAt;
use standin_protocol::bind::patiently;

/// The number of connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;

/// A socket that listens. The file of a Unix socket is removed when it is dropped.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub socket: OwnedFd,
    /// The file, and its device and inode.
    file: Option<(PathBuf, (u64, u64))>,
}

impl Listening {
    /// Listens at this place. `mode` is that of the file of a Unix socket.
    ///
    /// # Errors
    /// The system's, or that another process listens there.
    pub fn at(place: &ListenAt, mode: u32) -> io::Result<Self> {
        match place {
            ListenAt::Tcp(address) => patiently(|| {
                let domain = Domain::for_address(*address);
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                socket.bind(&(*address).into())?;
                socket.listen(BACKLOG)?;
                Ok(Self { socket: socket.into(), file: None })
            }),
            ListenAt::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
                let metadata = fs::metadata(path)?;
                let file = (path.clone(), (metadata.dev(), metadata.ino()));
                Ok(Self { socket: listener.into(), file: Some(file) })
            }
        }
    }
}

/// Removes a socket that a process has left which is no more. A file of another kind stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        let wrong = "there is a file that is no socket; remove it, or write another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, wrong));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) | Err(_) => {
            let wrong = "another process listens there; stop it, or write another path";
            Err(io::Error::new(io::ErrorKind::AddrInUse, wrong))
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some((path, own)) = &self.file else { return };
        // Another process may have put its own there meanwhile.
        let is_own = fs::metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == *own);
        if is_own {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use standin_testkit::scratch::Scratch;

    use super::*;

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let scratch = Scratch::new("place");
        let path = scratch.file("a.sock");
        let place = ListenAt::Unix(path.clone());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "nobody listens, and the file is there");
        let listening = Listening::at(&place, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        let refused = Listening::at(&place, 0o660).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(listening);
        assert!(!path.exists());
        fs::write(&path, "other").unwrap();
        let refused = Listening::at(&place, 0o660).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
    }

    #[test]
    fn the_socket_of_another_process_stays() {
        let scratch = Scratch::new("place");
        let path = scratch.file("a.sock");
        let listening = Listening::at(&ListenAt::Unix(path.clone()), 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let _others = UnixListener::bind(&path).unwrap();
        drop(listening);
        assert!(path.exists());
    }
}
