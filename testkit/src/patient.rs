//! Reading from a socket with a timeout. A wait that the kernel interrupts ends with
//! [`ErrorKind::Interrupted`] there, although no signal has come, and nothing has happened.

use std::io::{self, ErrorKind, Read};

/// Reads what there is, at least one byte; 0 is the end.
///
/// # Errors
/// Those of [`Read::read`], except for an interruption.
pub fn read_some(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Interrupted(u32);

    impl Read for Interrupted {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(ErrorKind::TimedOut)?;
            if self.0 > 0 {
                return Err(ErrorKind::Interrupted.into());
            }
            into[0] = 7;
            Ok(1)
        }
    }

    #[test]
    fn an_interruption_is_no_end_and_other_errors_are() {
        let (mut from, mut byte) = (Interrupted(3), [0]);
        assert_eq!((read_some(&mut from, &mut byte).unwrap(), byte), (1, [7]));
        assert_eq!(read_some(&mut from, &mut byte).unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
