//! libCacheSim's oracleGeneral: packed little-endian records of `u32` seconds, `u64` object, `u32` bytes and `i64` next
//! access. The keys are the objects' numbers in decimal.

use std::io::{ErrorKind, Read};

use super::input::{Input, failed};
use super::record::SECOND_US;
use super::{Operation, Position, Record, TraceError};

const RECORD_BYTES: usize = 24;

pub(super) struct Oracle {
    input: Input,
    number: u64,
}

impl Oracle {
    pub(super) fn new(input: Input) -> Self {
        Self { input, number: 0 }
    }

    pub(super) fn read(&mut self, record: &mut Record) -> Result<bool, TraceError> {
        let mut bytes = [0; RECORD_BYTES];
        let mut filled = 0;
        while filled < RECORD_BYTES {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        if filled == 0 {
            return Ok(false);
        }
        self.number += 1;
        if filled < RECORD_BYTES {
            return Err(TraceError::Cut { record: self.number, bytes: filled });
        }
        let [t0, t1, t2, t3, id @ .., s0, s1, s2, s3, _, _, _, _, _, _, _, _] = bytes;
        record.time_us = u64::from(u32::from_le_bytes([t0, t1, t2, t3])) * SECOND_US;
        record.unit_us = SECOND_US;
        record.key.clear();
        crate::key_names::push_number(&mut record.key, u64::from_le_bytes(id), 1);
        record.value_bytes = u32::from_le_bytes([s0, s1, s2, s3]);
        record.operation = Operation::Get;
        record.ttl_s = 0;
        record.position = Position::Record(self.number);
        Ok(true)
    }
}
