//! The sockets at which a proxy listens.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
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
            ListenAt::Unix(path) => patiently(|| Self::at_path(path, mode)),
        }
    }

    fn at_path(path: &Path, mode: u32) -> io::Result<Self> {
        let _lock = lock_folder(path)?;
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let metadata = fs::metadata(path)?;
        let own = (metadata.dev(), metadata.ino());
        let listening = Self { socket: socket.into(), file: Some((path.to_owned(), own)) };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        // Nobody can connect before this, whatever the mode was until now.
        SockRef::from(&listening.socket).listen(BACKLOG)?;
        Ok(listening)
    }
}

/// Locks the folder of a socket's file, so that no two processes look at a file, remove it and put their own
/// in its place at the same time.
fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = File::open(path.parent().filter(|p| *p != "").unwrap_or(Path::new(".")))?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::AddrInUse.into()),
        Err(TryLockError::Error(error)) => Err(error),
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
        let wrong = "there is a file that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, wrong));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) | Err(_) => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some((path, own)) = &self.file else { return };
        // A folder that can't be locked is one that another process works in right now.
        let _lock = lock_folder(path);
        // Another process may have put its own there meanwhile.
        let is_own = fs::metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == *own);
        if is_own {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

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
