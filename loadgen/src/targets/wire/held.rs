//! The bytes of requests that a connection must still hold back.

/// A queue of bytes. Taking some from the front moves the others only now and then: thousands of requests may wait
/// behind those that the pipeline has room for.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// So many bytes, from the front, are gone.
    gone: usize,
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.gone
    }

    /// The buffer, to write at its end.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Moves the first `count` bytes to the end of `out`.
    pub(super) fn take_into(&mut self, count: usize, out: &mut Vec<u8>) {
        if out.is_empty() && self.gone == 0 && count == self.bytes.len() {
            std::mem::swap(out, &mut self.bytes);
        } else {
            out.extend_from_slice(&self.bytes[self.gone..][..count]);
            self.discard(count);
        }
    }

    /// Drops the first `count` bytes.
    pub(super) fn discard(&mut self, count: usize) {
        self.gone += count;
        // So each byte is moved once at most, on average.
        if self.gone * 2 >= self.bytes.len() {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.gone = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_few_are_moved() {
        let (mut held, mut out) = (Held::default(), Vec::new());
        let mut moved = 0;
        for number in 0..10_000_u32 {
            held.buffer().extend_from_slice(&number.to_be_bytes());
        }
        for number in 10_000..20_000_u32 {
            held.buffer().extend_from_slice(&number.to_be_bytes());
            let gone = held.gone;
            held.take_into(4, &mut out);
            moved += if held.gone < gone { held.len() } else { 0 };
        }
        assert_eq!(held.len(), 40_000);
        assert!(moved <= 40_000 + out.len(), "{moved} bytes were moved for {} taken", out.len());
        held.discard(36_000);
        held.take_into(4_000, &mut out);
        assert_eq!(held.len(), 0);
        let numbers = out.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap()));
        assert!(numbers.eq((0..10_000).chain(19_000..20_000)));
    }

    #[test]
    fn all_at_once_is_not_copied() {
        let mut held = Held::default();
        held.buffer().extend_from_slice(b"get a\r\n");
        let place = held.buffer().as_ptr();
        let mut out = Vec::new();
        held.take_into(7, &mut out);
        assert_eq!((out.as_ptr(), &out[..], held.len()), (place, &b"get a\r\n"[..], 0));
        held.buffer().extend_from_slice(b"get b\r\n");
        held.clear();
        held.take_into(0, &mut out);
        assert_eq!(&out[..], b"get a\r\n");
    }
}
